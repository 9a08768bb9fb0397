"""Train a network that loses its units and draw what the terminal shows: python docs/make_terminal_picture.py"""

import io
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console

from dltrain.cli import console, live
from dltrain.cli.app import app

WORDS = ["fit", "digits_cnn", "optimizer.lr=2e-2", "schedule=constant", "train.epochs=9"]
WIDTH = 96


class Recorder:
    """Keeps what the live view shows in the middle of the training's last epoch but one."""

    def __init__(self, view: "Kept"):
        self.view = view

    def update(self, picture: Any, refresh: bool) -> None:
        if self.view._row["epoch"] <= 8:
            Kept.picture = self.view.lines, picture

    def stop(self) -> None:
        pass


class Kept(live.LiveView):
    picture: Any = None

    def __init__(self, *words: Any):
        super().__init__(*words)
        self.lines: list[str] = []
        self._say = self.lines.append

    def started(self, steps: int, epochs: int) -> None:
        with patch.object(console, "live", lambda: Recorder(self)):
            super().started(steps, epochs)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, patch.object(live, "LiveView", Kept):
        app([*WORDS, "--progress", "live", "--quiet", "--runs-dir", folder], standalone_mode=False)
    lines, picture = Kept.picture
    out = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    out.print(f"[bold green]$[/] [bold]dltrain {' '.join(WORDS[:4])}[/]")
    out.print("\n".join(line for line in lines[:7]), markup=False, highlight=False, no_wrap=True, overflow="ellipsis")
    out.print(picture)
    svg = re.sub(r"@font-face \{.*?\}", "", out.export_svg(title="dltrain"), flags=re.S)  # nothing from outside
    (Path(__file__).parent / "terminal.svg").write_text(svg.replace("Fira Code, ", ""), encoding="utf-8")


if __name__ == "__main__":
    main()
