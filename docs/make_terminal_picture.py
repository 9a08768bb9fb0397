"""Run the commands that README shows and draw what a terminal shows: python docs/make_terminal_picture.py"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = [
    "dltrain inspect-params digits_cnn",
    "dltrain fit digits_cnn",
    "dltrain eval",
    "dltrain runs",
]


def main() -> None:
    console = Console(record=True, width=118, file=io.StringIO())
    binaries = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as folder:
        for command in COMMANDS:
            console.print(f"[bold green]$[/] [bold]{command}[/]")
            program, *arguments = command.split()
            done = subprocess.run(
                [binaries / program, *arguments], cwd=folder, text=True, check=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "COLUMNS": "110"},
            )  # fmt: skip
            console.print(Text("\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"))
    (Path(__file__).parent / "terminal.svg").write_text(console.export_svg(title="dltrain"))


if __name__ == "__main__":
    main()
