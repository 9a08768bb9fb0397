"""Running the command line: in this process, where it is quick, or in one of its own, where that is the point."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from dltrain.cli import console, main


def strict(text: str) -> Any:
    """JSON as everybody reads it: no NaN, no Infinity, no key twice, and nothing but the one value."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), "a key is there twice"
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=once)


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return strict(self.out)

    @property
    def errors(self) -> list[str]:
        """The messages: typer's own, about wrong usage, begin with a capital letter."""
        return [line[7:] for line in self.err.splitlines() if line.lower().startswith("error: ")]


def dltrain(*arguments: object) -> Said:
    """The command in this process, as if it were a new one; what it prints goes to pipes, as it were."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "strict", "\n", write_through=True) for _ in range(2))
    code: Any = None
    with (
        patch.multiple(console, _quiet=False, _tracebacks=False),
        patch.object(sys, "argv", ["dltrain", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return Said(code, *(file.buffer.getvalue().decode() for file in (out, err)))  # type: ignore[attr-defined]


def done(*arguments: object) -> Said:
    """The same, for what must succeed."""
    said = dltrain(*arguments)
    assert said.code == 0, said.err
    return said


def start(
    *arguments: object, cwd: Path | None = None, stderr: int = subprocess.PIPE, **environment: str
) -> "subprocess.Popen[str]":
    """The command in a process of its own, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "dltrain", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        encoding="utf-8",
    )


def in_a_process(*arguments: object, cwd: Path | None = None, **environment: str) -> Said:
    process = start(*arguments, cwd=cwd, **environment)
    out, err = process.communicate(timeout=60)
    return Said(process.returncode, out, err)
