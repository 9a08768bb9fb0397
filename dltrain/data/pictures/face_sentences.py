"""What a drawn face looks like, in a sentence: a fixed grammar of 25 words over its attributes."""

from collections.abc import Mapping
from colorsys import rgb_to_hsv
from functools import cache
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Sentence = tuple[str, ...]


@cache
def colour_name(code: str) -> str:
    """`red` of #bd1700."""
    hue, saturation, value = rgb_to_hsv(*(int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)))
    hue *= 360
    if saturation < 0.15:
        return "white" if value > 0.85 else "grey" if value > 0.3 else "black"
    if value < 0.25:
        return "black"
    if hue < 15 or hue >= 335:
        return "red" if saturation > 0.55 else "pink"
    if hue < 50:
        return "brown" if value < 0.7 else "orange" if saturation > 0.75 else "blond"
    ends = {75: "yellow", 170: "green", 265: "blue", 335: "purple"}
    return next(name for end, name in ends.items() if hue < end)


def sentences(codes: Mapping[str, Array], names: Mapping[str, tuple[str, ...]], places: Array) -> list[Sentence]:
    """Of the faces at these places, such as `a happy face with long red hair and a beard under a blue hat in green`.

    codes: of each attribute, (N,). names: of each attribute, in the order of its codes.
    """
    columns = [[names[name][code] for code in codes[name][places].tolist()] for name in names]
    return [_sentence(dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def _sentence(face: Mapping[str, str]) -> Sentence:
    words = ["a", face["mood"], "face", "with", face["hair_length"], colour_name(face["hair"]), "hair"]
    if face["glasses"] == "yes":
        words += ["and", face["lenses"], "glasses"]
    if face["beard"] == "yes":
        words += ["and", "a", "beard"]
    if face["hat"] == "yes":
        words += ["under", "a", colour_name(face["hat_colour"]), "hat"]
    return (*words, "in", colour_name(face["shirt"]))


def pair(face: Sentence) -> str:
    """The colours of hair and shirt, which somebody who has seen both knows, if not together."""
    return f"{face[5]} {face[-1]}"


def held_out(texts: list[str]) -> Array:
    """(N,) of bool: one text in about five, wherever it stands, by its CRC-32."""
    return np.array([crc32(text.encode()) % 5 == 0 for text in texts], bool)
