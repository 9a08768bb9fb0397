"""Codes of several digits: a task for two networks, one that reads digits and one that knows the codes."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dltrain.data.pictures.mnist import Mnist
from dltrain.data.source import SOURCES, Source, Split
from dltrain.errors import SettingError
from dltrain.random import generator
from dltrain.registry import Count, NonNegative

Array = NDArray[Any]
DIGITS = 10
HELD_OUT = {"validation": 1000, "test": 2000}
MOST_CODES, MOST_DIGITS = 10_000, 16


@SOURCES.register("digit_codes")
class DigitCodes(Source):
    """Codes written by hand, with noise over them: (length, 28, 28, 1), 0 for black and 1 for white, as the value
    `digits`; the class is the code. 1,000 to validate and 2,000 to test.

    The digits are MNIST's; those that test are from its test part. Which codes there are, and the examples, never
    change.

    codes: how many there are. length: digits in each. noise: standard deviation of what is added to a pixel, before all
    are cut off at 0 and 1. examples: to train on. digits: "perfect" ones are (length, 10), 1 for the right digit and 0
    for the others: what somebody sees who reads without mistakes.
    """

    input_name = "digits"
    pixels = None

    def __init__(
        self,
        *,
        codes: Count = 100,
        length: Count = 5,
        noise: NonNegative = 0.5,
        examples: Count = 100,
        digits: Literal["handwritten", "perfect"] = "handwritten",
    ):
        if codes > MOST_CODES or length > MOST_DIGITS or 2 * codes > DIGITS**length:
            at_most = (
                f"at most {MOST_CODES:,} codes of at most {MOST_DIGITS} digits, no more than half of all there are"
            )
            raise SettingError("data.codes", at_most)
        self.count, self.length, self.noise, self.examples, self.digits = codes, length, noise, examples, digits

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.length, DIGITS) if self.digits == "perfect" else (self.length, 28, 28, 1)

    @cached_property
    def _codes(self) -> Array:
        """The digits of each code, (codes, length); no two are equal."""
        draw = generator(0, "digit_codes", "codes")
        found: dict[tuple[int, ...], None] = {}
        while len(found) < self.count:
            found[tuple(draw.integers(0, DIGITS, self.length).tolist())] = None
        return np.array([*found])

    @cached_property
    def classes(self) -> tuple[str, ...]:
        return tuple("".join(map(str, code)) for code in self._codes.tolist())

    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        wanted = [name for name in ("train", "validation", "test") if only in (None, name)]
        if self.digits == "perfect":
            return {name: self._perfect(name) for name in wanted}
        parts = {"test" if name == "test" else "train" for name in wanted}
        mnist = {name: Mnist().load(data_dir, only=name)[name] for name in sorted(parts)}
        return {name: self._written(name, mnist["test" if name == "test" else "train"]) for name in wanted}

    def _perfect(self, name: str) -> Split:
        """All codes over and over to train on, and each once to validate and test."""
        labels = np.arange(self.examples if name == "train" else self.count) % self.count
        return Split(np.eye(DIGITS, dtype=np.float32)[self._codes[labels]], labels)

    def _written(self, name: str, mnist: Split) -> Split:
        draw = generator(0, "digit_codes", name)
        labels = draw.integers(0, self.count, HELD_OUT.get(name, self.examples))
        places = np.empty((len(labels), self.length), np.int64)
        for digit in range(DIGITS):
            wanted = self._codes[labels] == digit
            places[wanted] = draw.choice(np.flatnonzero(mnist.targets == digit), int(wanted.sum()))
        pixels = np.asarray(mnist.inputs)[places].astype(np.float32) / 255
        pixels += self.noise * draw.standard_normal(pixels.shape, np.float32)
        return Split(np.clip(pixels, 0, 1, out=pixels), labels.astype(np.int64))
