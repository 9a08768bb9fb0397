"""Small coloured faces that come along, for networks that make pictures: with part maps, twins and attributes."""

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dltrain.data.npz_file import open_npz
from dltrain.data.pictures.face_sentences import Sentence, held_out, pair, sentences
from dltrain.data.source import SOURCES, Source, Split
from dltrain.data.tokens import sentence_numbers, sentence_vocabulary
from dltrain.data.values import Value
from dltrain.errors import DataError, SettingError

Array = NDArray[Any]
Pairs = Literal["none", "parts", "glasses"]
Attribute = Literal[
    "skin", "hair", "shirt", "eyes", "hair_length", "mood", "lenses", "glasses", "hat", "beard", "earrings",
    "hat_colour",
]  # fmt: skip
HoldOut = Literal["none", "sentences", "pairs"]
SENTENCE: Literal["sentence"] = "sentence"
ATTRIBUTES: tuple[str, ...] = get_args(Attribute)
SHIPPED = "faces.npz"
SHAPE = (16, 16, 3)
MIXED, PEOPLE, PAINTED = 6000, 5000, 4000  # faces of all kinds; people without and with glasses; those with part maps
SPELLED = {"true": "yes", "false": "no"}  # of what somebody has or has not


@dataclass(frozen=True)
class _File:
    """pixels: (20000, 16, 16, 3), those of all kinds, people without glasses, the same with them, those with part maps.
    parts: (4000, 16, 16, 3) of the latter. codes, names: of each attribute, (20000,) and in order."""

    pixels: Array
    parts: Array
    codes: dict[str, Array]
    names: dict[str, tuple[str, ...]]


@cache
def _read() -> _File:
    with as_file(files("dltrain.data").joinpath("files", SHIPPED)) as path, open_npz(path) as file:
        arrays = {name: file.read(name) for name in file.names}
    try:
        places = arrays["places"][..., None].astype(np.intp)
        pixels = _painted(arrays["palettes_colours"][arrays["palettes"]], places)
        parts = _painted(arrays["part_palettes_colours"][arrays["part_palettes"]], places[-PAINTED:])
        codes = {name: arrays[name].astype(np.int64) for name in ATTRIBUTES}
        names = {name: tuple(arrays[f"{name}_names"].tolist()) for name in ATTRIBUTES}
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(f"{SHIPPED} inside the package is damaged ({error}); install dltrain again") from error
    return _File(pixels, parts, codes, names)


def _painted(palettes: Array, places: Array) -> Array:
    """palettes: (N, 19, 3). places: (N, 256, 1), of each pixel's colour in its picture's palette."""
    return np.take_along_axis(palettes, places, axis=1).reshape(-1, *SHAPE)


@SOURCES.register("faces")
class Faces(Source):
    """Drawn faces of 16x16 pixels in colour: 5,000 to train on and 1,000 to test.

    Design: "Pixel Art" (CC0 1.0) of DiceBear, https://www.dicebear.com/styles/pixel-art/. Values beside `image` and
    `label` (or `sentence`) are the attributes: skin, hair, shirt and eyes (colours), hair_length, mood, lenses (dark
    or light), glasses, hat, beard, earrings (yes or no) and hat_colour.

    pairs: "parts" are 4,000 other faces (the last 400 test), without hats, with a map of their parts in fixed colours
    as the value `parts`; "glasses" are 5,000 people without hats, of whom 2,200 are seen without glasses in the
    training, other 2,200 with them, and the last 600 both ways in the test part; the value `counterpart` is the same
    person the other way.
    target: the attribute that is the class; of several every value is a label of its own, such as "hair #bd1700". Or
    `sentence`: what the face looks like, in words.
    hold_out: which of the 6,000 faces test instead: those with one in five of all sentences, or of all pairs of a
    colour of hair and one of a shirt.
    only: faces with these attributes alone, such as {glasses: true, mood: sad}.
    """

    input_shape = SHAPE

    def __init__(
        self,
        *,
        pairs: Pairs = "none",
        target: Attribute | Literal["sentence"] | tuple[Attribute, ...] = "glasses",
        hold_out: HoldOut = "none",
        only: dict[str, str] | None = None,
    ):
        self.pairs, self.only = pairs, dict(only or {})
        self.targets: tuple[str, ...] = (target,) if isinstance(target, str) else target
        self._labels, self._tells, self.hold_out = not isinstance(target, str), target == SENTENCE, hold_out
        if hold_out != "none" and pairs != "none":
            raise SettingError("data.hold_out", f"is for faces of all kinds, without `pairs: {pairs}`")
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise SettingError("data.target", "names one attribute, or a list of different ones")
        for name, value in self.only.items():
            if name not in ATTRIBUTES:
                raise SettingError("data.only", f"there is no attribute {name!r}; there are {', '.join(ATTRIBUTES)}")
            known = self._file.names[name]
            self.only[name] = SPELLED.get(value, value) if "yes" in known else value
            if self.only[name] not in known:
                raise SettingError("data.only", f"{name} is never {value!r}; it is {', '.join(known)}")

    @property
    def _file(self) -> _File:
        return _read()

    @property
    def multilabel(self) -> bool:
        return self._labels

    @cached_property
    def classes(self) -> tuple[str, ...]:
        if self._tells:
            return sentence_vocabulary(self._sentences(self._places["train"]))
        if not self.multilabel:
            return self._file.names[self.targets[0]]
        return tuple(f"{name} {value}" for name in self.targets for value in self._file.names[name])

    @cached_property
    def _length(self) -> int:
        """Of the longest sentence, in words, and its end."""
        return 1 + max(len(sentence) for places in self._places.values() for sentence in self._sentences(places))

    def _sentences(self, places: Array) -> list[Sentence]:
        return sentences(self._file.codes, self._file.names, places)

    @property
    def values(self) -> tuple[Value, ...]:
        inputs, target, *further = super().values
        if self._tells:
            target = Value(SENTENCE, "sentence", (self._length,), self.classes)
        return inputs, target, *further

    @property
    def further(self) -> tuple[Value, ...]:
        pictures = {"none": (), "parts": ("parts",), "glasses": ("counterpart",)}[self.pairs]
        attributes = (Value(name, "class", (), self._file.names[name]) for name in ATTRIBUTES)
        return *(Value(name, "picture", SHAPE) for name in pictures), *attributes

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        return {split: self._split(split) for split in ("train", "test") if only in (None, split)}

    @cached_property
    def _places(self) -> dict[str, Array]:
        """Of the faces of each split in the file. Raises SettingError where `only` leaves none."""
        found = self._all_places()
        for split, places in found.items():
            for name, value in self.only.items():
                places = places[self._file.codes[name][places] == self._file.names[name].index(value)]
            if not len(places):
                wanted = ", ".join(f"{name}: {value}" for name, value in self.only.items())
                raise SettingError("data.only", f"no face of the {split} part has {wanted}")
            found[split] = places
        return found

    def _all_places(self) -> dict[str, Array]:
        if self.hold_out != "none":
            places = np.arange(MIXED)
            texts = [" ".join(s) if self.hold_out == "sentences" else pair(s) for s in self._sentences(places)]
            tests = held_out(texts)
            return {"train": places[~tests], "test": places[tests]}
        if self.pairs == "none":
            return {"train": np.arange(5000), "test": np.arange(5000, MIXED)}
        if self.pairs == "parts":
            first = MIXED + 2 * PEOPLE
            return {"train": first + np.arange(3600), "test": first + np.arange(3600, PAINTED)}
        bare, dressed = MIXED, MIXED + PEOPLE
        train = [bare + np.arange(2200), dressed + np.arange(2200, 4400)]
        test = [bare + np.arange(4400, PEOPLE), dressed + np.arange(4400, PEOPLE)]
        return {"train": np.concatenate(train), "test": np.concatenate(test)}

    def _split(self, split: str) -> Split:
        file, places = self._file, self._places[split]
        values: dict[str, Array] = {}
        if self.pairs == "parts":
            values["parts"] = file.parts[places - (MIXED + 2 * PEOPLE)]
        if self.pairs == "glasses":
            bare = places < MIXED + PEOPLE
            values["counterpart"] = file.pixels[np.where(bare, places + PEOPLE, places - PEOPLE)]
        values |= {name: file.codes[name][places] for name in ATTRIBUTES}
        return Split(file.pixels[places], self._targets(places), values=values)

    def _targets(self, places: Array) -> Array:
        codes, names = self._file.codes, self._file.names
        if self._tells:
            return sentence_numbers(self._sentences(places), self.classes, self._length)
        if not self.multilabel:
            return codes[self.targets[0]][places]
        hot = [np.eye(len(names[name]), dtype=np.float32)[codes[name][places]] for name in self.targets]
        return np.concatenate(hot, axis=1)
