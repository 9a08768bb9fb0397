"""The pictures that networks made of the same noise and the same examples, step after step, for the page."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dltrain.report.data_uri import png_uri
from dltrain.report.grid import draw_values, png, to_bytes
from dltrain.run.reader import read_bytes
from dltrain.run.rundir import RunDir
from dltrain.train.callbacks import Callback

MOST_FRAMES = 24  # in the page
MOST_BYTES, MOST_PIXELS = 1 << 20, 1 << 24  # of a picture; a training's have some 20 KB
HEAD = struct.Struct(">8s8xII")  # of a PNG file: its signature, then width and height in its first part
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Film(Callback):
    """Keeps the pictures of a training in its run."""

    def __init__(self, run: RunDir):
        self._run = run

    def pictured(self, step: int, make: Callable[[], dict[str, Any]]) -> None:
        shown = {name: to_bytes(shades) for name, shades in make().items()}
        title = f"{', '.join(shown)} after {step:,} steps"
        self._run.write(self._run.sample(step), png(draw_values(title, shown)))


@dataclass(frozen=True)
class Frame:
    """picture: a data URI. width, height: in pixels."""

    step: int
    picture: str
    width: int
    height: int


def frames(run: RunDir) -> list[Frame]:
    """Some of the steps at equal distances, the first and the last among them. What is no PNG is left out."""
    steps = run.sampled_steps()
    places = {round(i * (len(steps) - 1) / (MOST_FRAMES - 1)) for i in range(MOST_FRAMES)} if steps else ()
    found = (_frame(run, steps[place]) for place in sorted(places))
    return [frame for frame in found if frame]


def _frame(run: RunDir, step: int) -> Frame | None:
    try:
        content = read_bytes(run.sample(step), MOST_BYTES)
        signature, width, height = HEAD.unpack_from(content)
    except (OSError, ValueError, struct.error):
        return None
    fits = signature == SIGNATURE and 0 < width * height <= MOST_PIXELS
    return Frame(step, png_uri(content), width, height) if fits else None
