"""OpenMoji: every emoji as a coloured picture and as a line drawing, from a folder or an npz file of the user's."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.files import MissingData
from dltrain.data.images import read_image
from dltrain.data.npz_file import open_npz
from dltrain.data.source import SOURCES, Source, Split
from dltrain.data.values import Value
from dltrain.errors import DataError
from dltrain.registry import FilePath

Array = NDArray[Any]
PAGE = "https://github.com/hfg-gmuend/openmoji/releases"
SIZE = 32
FILE = Path("openmoji") / "openmoji64.npz"  # below the data folder
GROUPS = (
    "activities", "animals-nature", "component", "flags", "food-drink", "objects", "people-body", "smileys-emotion",
    "symbols", "travel-places", "extras-openmoji", "extras-unicode",
)  # fmt: skip
LEFT_OUT = ("flags", "symbols", "extras-openmoji", "extras-unicode")  # colours that nothing in the lines tells
KEPT = tuple(group for group in GROUPS if group not in LEFT_OUT)
TEST = 8  # one in so many tests


@SOURCES.register("openmoji")
class OpenMoji(Source):
    """Emojis in colour, 32x32, and as the value `lines` their line drawings, (32, 32, 1); the class is the group.

    By the OpenMoji project, https://openmoji.org, CC BY-SA 4.0: what you publish of them is under the same terms. They
    do not come along. Flags, symbols, extras and other skin tones are left out; one picture in eight tests.

    path: an npz file with `color` (N, H, H, 3) and `black` (N, H, H, 1), bytes, H a multiple of 32, and `meta`, text
    (N, 6): code, group, subgroup, name, skin tone, code without it. Or a folder that holds the folders `color` and
    `black` of PNG files with equal names, as OpenMoji's releases unpack to; all of them are taken, for the first group.
    Taken from the folder where the command runs; without it openmoji/openmoji64.npz in the data folder.
    """

    input_shape = (SIZE, SIZE, 3)
    further = (Value("lines", "picture", (SIZE, SIZE, 1)),)
    classes = KEPT

    def __init__(self, *, path: FilePath | None = None):
        self.path = None if path is None else Path(path)

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        path = self.path or data_dir / FILE
        if self.path is None and not path.is_file():
            raise MissingData(
                f"{path}: is not here. Get the pictures from {PAGE} (color and black, PNG), and say with data.path "
                f"where the folder is that holds the two folders color and black"
            )
        colour, lines, groups = _folder(path) if path.is_dir() else _file(path)
        order = np.random.RandomState(0).permutation(len(colour))
        tested = len(colour) // TEST
        parts = {"train": order[tested:], "test": order[:tested]}
        if not tested:
            raise DataError(f"{path}: holds {len(colour)} pictures; at least {TEST} are needed")
        return {
            name: Split(colour[chosen], groups[chosen], values={"lines": lines[chosen]})
            for name, chosen in parts.items()
            if only in (None, name)
        }


def _file(path: Path) -> tuple[Array, Array, Array]:
    with open_npz(path) as file:
        if missing := {"color", "black", "meta"} - {*file.names}:
            raise DataError(f"{path}: there is no array {min(missing)!r}; it needs color, black and meta")
        colour, black, meta = file.header("color"), file.header("black"), file.header("meta")
        count, *size = colour.shape
        if (
            colour.dtype != np.uint8 or black.dtype != np.uint8 or meta.dtype.kind != "U"
            or len(size) != 3 or size[2] != 3 or size[0] % SIZE or size[1] != size[0]
            or black.shape != (count, *size[:2], 1) or meta.shape != (count, 6)
        ):  # fmt: skip
            raise DataError(
                f"{path}: color, black and meta must be bytes (N, H, H, 3) and (N, H, H, 1), H a multiple of {SIZE}, "
                f"and text (N, 6), not {colour}, {black} and {meta}"
            )
        about = file.read("meta")
        chosen = np.flatnonzero((about[:, 4] == "") & np.isin(about[:, 1], KEPT))
        groups = np.array([KEPT.index(group) for group in about[chosen, 1].tolist()], np.int64)
        return _smaller(file.read("color")[chosen]), _smaller(file.read("black")[chosen]), groups


def _smaller(pictures: Array) -> Array:
    """Means of squares of pixels, rounded."""
    n, height, _, channels = pictures.shape
    each = height // SIZE
    sums = pictures.reshape(n, SIZE, each, SIZE, each, channels).sum(axis=(2, 4), dtype=np.uint32)
    means: Array = ((sums + each * each // 2) // (each * each)).astype(np.uint8)
    return means


def _folder(path: Path) -> tuple[Array, Array, Array]:
    found = []
    for name in ("color", "black"):
        if not (path / name).is_dir():
            raise DataError(f"{path}: has no folder {name!r}; it needs color and black, with PNG files of equal names")
        found.append({file.name: file for file in sorted((path / name).rglob("*.png"))})
    both = sorted(found[0].keys() & found[1].keys())
    colour, lines = (
        np.stack([read_image(files[name], (SIZE, SIZE, channels)) for name in both]) if both else np.empty(0)
        for files, channels in zip(found, (3, 1), strict=True)
    )
    return colour, lines, np.zeros(len(both), np.int64)
