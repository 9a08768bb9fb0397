"""What stands in a status.json, as far as others rely on it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from dltrain.errors import RunError
from dltrain.run.reader import read_json


@dataclass
class Resumed:
    """What is noted of a continuation."""

    step: int
    changed: dict[str, Any] = field(default_factory=dict)


@dataclass
class Status:
    """Should there be these keys."""

    status: str
    host: str | None = None
    started: str | None = None
    epochs: int | None = None
    steps: int | None = None
    train: dict[str, float | None] = field(default_factory=dict)
    validation: dict[str, float | None] = field(default_factory=dict)
    test: dict[str, float | None] = field(default_factory=dict)
    pictures: dict[str, float | None] = field(default_factory=dict)
    weights_sha256: str = ""
    last: str = ""
    best: str = ""
    resumed: list[Resumed] = field(default_factory=list)


_as_status = TypeAdapter(Status)  # to make one takes a hundred times longer than to use it


def read_status(path: Path) -> dict[str, Any]:
    """All of it, once it is known to be a status. Raises RunError."""
    status = read_json(path)
    try:
        _as_status.validate_json(json.dumps(status))
        if not all(isinstance(v, int | float | None) for key, v in status.items() if key.startswith("best_")):
            raise ValueError("the best figure is not a number")
    except ValueError as error:
        reason = " ".join(str(error).splitlines()[:3])[:200]
        raise RunError(f"{path}: cannot be read ({reason})") from None
    return status
