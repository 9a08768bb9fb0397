"""What a data set is: examples in named splits, their shape and classes known before anything big is read."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from dltrain.data.augment import Augmentation
from dltrain.errors import DataError
from dltrain.registry import NonNegativeInt, Rate, Registry

Normalize = Literal["channel", "none"]


@dataclass(frozen=True, eq=False)
class Split:
    """Examples in memory.

    inputs: uint8 or float32, (N, *input_shape), images channels last.
    targets: class numbers, int64 (N,); or numbers to predict, float32 (N, k).
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(f"{len(self.inputs)} inputs but {len(self.targets)} targets")

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, indices: NDArray[Any]) -> "Split":
        return Split(self.inputs[indices], self.targets[indices])


class Source(ABC):
    """A data set. Its keyword-only arguments are its own keys in a config; `common_settings` are added to them."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of their numbers; None where numbers are to be predicted."""

    @property
    def outputs(self) -> int:
        """How many numbers a network must give for an example: one for each class, or for each target."""
        return len(self.classes or ())

    @property
    def white(self) -> float:
        """The input value that the brightest pixel (255) of an image file stands for, when `predict` reads one."""
        return 255.0

    @abstractmethod
    def load(self, data_dir: Path, *, only: str | None = None) -> dict[str, Split]:
        """The splits "train", "test" and perhaps "validation", those that the data set has.

        only: this split alone, so that nothing but its files is needed. Raises DataError.
        """


def common_settings(
    *,
    validation: NonNegativeInt | Rate = 0,
    normalize: Normalize = "channel",
    augment: tuple[Augmentation, ...] = (),
) -> None:
    """The settings that every data set takes.

    validation: how many examples, or which fraction, to cut from the training part for validation.
    normalize: "channel" brings every channel to mean 0 and standard deviation 1, "none" leaves the values.
    augment: changes made to training examples each time they are seen, in this order.
    """


SOURCES = Registry("data set", common_settings)
