"""OpenMoji: every emoji as a coloured picture and as a line drawing, from a folder or an npz file of the user's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from dltrain.data.files import MissingData
from dltrain.data.npz_file import open_npz
from dltrain.data.pictures.images import read_image
from dltrain.data.source import SOURCES, Source, Split
from dltrain.data.tables.columns import Column
from dltrain.data.tokens import sentence_numbers, sentence_vocabulary
from dltrain.data.values import Value
from dltrain.errors import DataError, SettingError
from dltrain.registry import Count, FilePath

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
TONES = "12345"  # of skin, light to dark
SEVERAL = ("kiss", "couple", "holding hands")  # people whose tones one digit does not say


@SOURCES.register("openmoji")
class OpenMoji(Source):
    """Emojis in colour, 32x32, and as the value `lines` their line drawings, (32, 32, 1); the class is the group.

    By the OpenMoji project, https://openmoji.org, CC BY-SA 4.0: what you publish of them is under the same terms. They
    do not come along. Flags, symbols, extras and other skin tones are left out; one picture in eight tests.

    target: `group`, or `name`: what the emoji is called, in words, without `:` and `,`.
    skin_tones: the hands and people instead that come in five skin tones; of each, one tone tests, so that a network
    has seen them and the tone, but not together.
    vocabulary: of names so many tokens, the most frequent words of the training part among them; one stands for all
    others. length: of the longest name, in words, and its end.

    path: an npz file with `color` (N, H, H, 3) and `black` (N, H, H, 1), bytes, H a multiple of 32, and `meta`, text
    (N, 6): code, group, subgroup, name, skin tone, code without it. Or a folder that holds the folders `color` and
    `black` of PNG files with equal names, as OpenMoji's releases unpack to; all of them are taken, for the first group.
    Taken from the folder where the command runs; without it openmoji/openmoji64.npz in the data folder.
    """

    input_shape = (SIZE, SIZE, 3)
    further = (Value("lines", "picture", (SIZE, SIZE, 1)),)

    def __init__(
        self,
        *,
        path: FilePath | None = None,
        target: Literal["group", "name"] = "group",
        skin_tones: bool = False,
        vocabulary: Annotated[int, Ge(3)] = 256,
        length: Count = 12,
    ):
        self.path = None if path is None else Path(path)
        self.tells, self.skin_tones, self.most, self.length = target == "name", skin_tones, vocabulary, length
        self._known: tuple[str, ...] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Of names the words once they are read; before that it is known how many there are."""
        if not self.tells:
            return KEPT
        return self._known or sentence_vocabulary([], self.most)

    @property
    def values(self) -> tuple[Value, ...]:
        inputs, target, *further = super().values
        if self.tells:
            target = Value("name", "sentence", (self.length,), self.classes)
        return inputs, target, *further

    def recall(self, columns: tuple[Column, ...] | None, classes: tuple[str, ...] | None) -> None:
        self._known = classes if self.tells else None

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        path = self.path or data_dir / FILE
        if self.path is None and not path.is_file():
            raise MissingData(
                f"{path}: is not here. Get the pictures from {PAGE} (color and black, PNG), and say with data.path "
                f"where the folder is that holds the two folders color and black"
            )
        if path.is_dir() and (self.tells or self.skin_tones):
            key = "target" if self.tells else "skin_tones"
            raise SettingError(f"data.{key}", f"{path} is a folder; an npz file says what pictures are called")
        found = _folder(path) if path.is_dir() else _file(path, self.skin_tones)
        order = np.random.RandomState(0).permutation(len(found.colour))
        tested = len(order) // TEST
        parts = {"train": order[tested:], "test": order[:tested]}
        if found.held_out is not None:
            parts = {"train": np.flatnonzero(~found.held_out), "test": np.flatnonzero(found.held_out)}
        if not all(map(len, parts.values())):
            raise DataError(f"{path}: holds {len(order)} such pictures; at least {TEST} are needed")
        targets = self._names(path, found.names, parts["train"]) if self.tells else found.groups
        return {
            name: Split(found.colour[chosen], targets[chosen], values={"lines": found.lines[chosen]})
            for name, chosen in parts.items()
            if only in (None, name)
        }

    def _names(self, path: Path, names: list[list[str]], train: Array) -> Array:
        """(N, length), as tokens."""
        if (longest := max(map(len, names))) >= self.length:
            what = f"{path}: the longest name has {longest} words; with its end that is {longest + 1}"
            raise SettingError("data.length", what)
        if self._known is None:
            self._known = sentence_vocabulary([names[i] for i in train.tolist()], self.most)
        return sentence_numbers(names, self._known, self.length)


@dataclass(frozen=True)
class _Found:
    """colour, lines: bytes (N, 32, 32, 3 or 1). groups: (N,). names: in words. held_out: those that test, (N,) of bool;
    None where chance decides."""

    colour: Array
    lines: Array
    groups: Array
    names: list[list[str]]
    held_out: Array | None = None


def _file(path: Path, skin_tones: bool) -> _Found:
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
        tone = np.isin(about[:, 4], [*TONES])
        alone = np.array([not any(word in name for word in SEVERAL) for name in about[:, 3].tolist()], bool)
        chosen = np.flatnonzero((tone & alone if skin_tones else about[:, 4] == "") & np.isin(about[:, 1], KEPT))
        groups = np.array([KEPT.index(group) for group in about[chosen, 1].tolist()], np.int64)
        names = [name.replace(":", "").replace(",", "").split() for name in about[chosen, 3].tolist()]
        held_out = _one_tone_each(about[chosen]) if skin_tones else None
        return _Found(
            _smaller(file.read("color")[chosen]), _smaller(file.read("black")[chosen]), groups, names, held_out
        )


def _one_tone_each(about: Array) -> Array:
    """Of each picture one of its five tones, another one for the next picture, (N,) of bool."""
    _, number = np.unique(about[:, 5], return_inverse=True)
    held_out: Array = (7 * number + 3 * about[:, 4].astype(np.int64)) % len(TONES) == 0
    return held_out


def _smaller(pictures: Array) -> Array:
    """Means of squares of pixels, rounded."""
    n, height, _, channels = pictures.shape
    each = height // SIZE
    sums = pictures.reshape(n, SIZE, each, SIZE, each, channels).sum(axis=(2, 4), dtype=np.uint32)
    means: Array = ((sums + each * each // 2) // (each * each)).astype(np.uint8)
    return means


def _folder(path: Path) -> _Found:
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
    return _Found(colour, lines, np.zeros(len(both), np.int64), [])
