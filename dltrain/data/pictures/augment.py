"""Random changes to training images that keep their meaning. Pure functions of the images and of keyed random words."""

from abc import ABC, abstractmethod
from typing import Annotated, Any

from annotated_types import Interval

from dltrain.errors import ShapeError
from dltrain.registry import Count, Registry

Probability = Annotated[float, Interval(ge=0, le=1)]

AUGMENTATIONS = Registry("augmentation")


class Augmentation(ABC):
    """A random change, decided for each example by its own words.

    words_each: 64-bit random words that one example needs. Decisions are made from them in integers, so
    numpy and CuPy decide alike to the last bit.
    moves: whether it takes pixels to other places, and so those of every picture of an example, with the same words.
    """

    words_each: int
    moves = False

    def check(self, input_shape: tuple[int, ...]) -> None:
        """Raise ShapeError where the examples are not images (height, width, channels) that this can change."""
        if len(input_shape) != 3:
            name = type(self).__name__.lower()
            raise ShapeError(
                f"{name} needs images of shape (height, width, channels), but an example has shape {input_shape}"
            )

    @abstractmethod
    def __call__(self, xp: Any, images: Any, words: Any) -> Any:
        """Changed images: a new C-contiguous array like `images`.

        xp: the array module that both arrays belong to. images: (n, H, W, C), any dtype.
        words: uint64, (n, words_each).
        """


def uniform(words: Any, count: Any) -> Any:
    """Whole numbers from 0 to count - 1, int64 like `words`. count: a number, or one for each word."""
    limit = count if isinstance(count, int) else count.astype("uint64")
    return ((words >> 32) * limit >> 32).astype("int64")


@AUGMENTATIONS.register("flip")
class Flip(Augmentation):
    """Mirror an image left to right, with a probability (a multiple of 1/65536)."""

    words_each = 1
    moves = True

    def __init__(self, *, probability: Probability = 0.5):
        self.threshold = round(probability * 65536)

    def __call__(self, xp: Any, images: Any, words: Any) -> Any:
        mirrored = (words >> 48) < self.threshold  # (n, 1)
        column = xp.arange(images.shape[2])
        return _pick(xp, images, xp.arange(images.shape[1]), xp.where(mirrored, column[::-1], column))


@AUGMENTATIONS.register("crop")
class Crop(Augmentation):
    """Surround an image with `padding` zeros on every side, then cut out a window of the old size at random."""

    words_each = 2
    moves = True

    def __init__(self, *, padding: Count):
        self.padding = padding

    def check(self, input_shape: tuple[int, ...]) -> None:
        super().check(input_shape)
        if self.padding >= min(input_shape[:2]):
            raise ShapeError(
                f"crop with padding {self.padding} could leave nothing of images of shape {input_shape}; "
                f"it must be below {min(input_shape[:2])}"
            )

    def __call__(self, xp: Any, images: Any, words: Any) -> Any:
        n, height, width, channels = images.shape
        p = self.padding
        padded = xp.zeros((n, height + 2 * p, width + 2 * p, channels), images.dtype)
        padded[:, p : p + height, p : p + width] = images
        shift = uniform(words, 2 * p + 1)  # (n, 2)
        return _pick(xp, padded, shift[:, :1] + xp.arange(height), shift[:, 1:] + xp.arange(width))


def _pick(xp: Any, images: Any, rows: Any, columns: Any) -> Any:
    """The pixels where rows (n, H') or (H',) and columns (n, W') of each image cross: (n, H', W', C)."""
    n, height, width, channels = images.shape
    first = xp.arange(n)[:, None] * height  # the row number of each image's first row, all images in one column
    pixel = (first + rows)[:, :, None] * width + columns[:, None, :]
    return xp.take(images.reshape(-1, channels), pixel, axis=0)
