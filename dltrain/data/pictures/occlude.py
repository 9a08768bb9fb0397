"""Augmentations that hide a part of an image, so that a network does not rely on any single one."""

from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from dltrain.data.pictures.augment import AUGMENTATIONS, Augmentation, Probability, uniform
from dltrain.errors import ShapeError
from dltrain.registry import Count

Share = Annotated[float, Interval(ge=0.001, le=1)]
GRID = 32  # shares and aspects of a rectangle are each one of so many


@AUGMENTATIONS.register("cutout")
class Cutout(Augmentation):
    """Set a square of `size` pixels to 0, its centre anywhere in the image, so that some of it may lie outside.

    DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.
    """

    words_each = 2

    def __init__(self, *, size: Count):
        self.size = size

    def __call__(self, xp: Any, images: Any, words: Any) -> Any:
        height, width = images.shape[1:3]
        top = uniform(words[:, 0], height) - self.size // 2
        left = uniform(words[:, 1], width) - self.size // 2
        return _without(xp, images, top, left, self.size, self.size)


@AUGMENTATIONS.register("random_erasing")
class RandomErasing(Augmentation):
    """With a probability, set a rectangle to 0 that lies in the image.

    Its share of the area is between the two of `area`, its height over its width between `aspect` and 1 / `aspect`,
    both by 32 equal steps, of the logarithm for the aspect. Zhong et al., Random Erasing Data Augmentation, 2017
    (with 0 in the place of random values, RE-0).
    """

    words_each = 4

    def __init__(self, *, probability: Probability = 0.5, area: tuple[Share, Share] = (0.02, 0.4), aspect: Share = 0.3):
        self.threshold, self.area, self.aspect = round(probability * 65536), area, aspect

    def check(self, input_shape: tuple[int, ...]) -> None:
        super().check(input_shape)
        if not len(self.rectangles(*input_shape[:2])):
            raise ShapeError(f"random_erasing: no rectangle with these shares of the area fits {input_shape}")

    def rectangles(self, height: int, width: int) -> NDArray[Any]:
        """Heights and widths (n, 2) of all rectangles that fit into the image."""
        shares = np.linspace(*self.area, GRID)[:, None] * (height * width)
        aspects = np.exp(np.linspace(np.log(self.aspect), -np.log(self.aspect), GRID))
        sizes = np.stack([np.sqrt(shares * aspects), np.sqrt(shares / aspects)], axis=-1).round().astype(np.int64)
        sizes = sizes.reshape(-1, 2)
        fitting: NDArray[Any] = sizes[(sizes.min(axis=1) > 0) & (sizes <= (height, width)).all(axis=1)]
        return fitting

    def __call__(self, xp: Any, images: Any, words: Any) -> Any:
        sizes = xp.asarray(self.rectangles(*images.shape[1:3]))
        erased = (words[:, 0] >> 48) < self.threshold
        chosen = sizes[uniform(words[:, 1], len(sizes))] * erased[:, None]
        top = uniform(words[:, 2], images.shape[1] - chosen[:, 0] + 1)
        left = uniform(words[:, 3], images.shape[2] - chosen[:, 1] + 1)
        return _without(xp, images, top, left, chosen[:, 0], chosen[:, 1])


def _without(xp: Any, images: Any, top: Any, left: Any, height: Any, width: Any) -> Any:
    """The images with a rectangle of each set to 0. top, left: (n,); height, width: (n,) or a number for all."""
    rows = xp.arange(images.shape[1]) - top[:, None]
    columns = xp.arange(images.shape[2]) - left[:, None]
    inside_rows = (rows >= 0) & (rows < (height if isinstance(height, int) else height[:, None]))
    inside_columns = (columns >= 0) & (columns < (width if isinstance(width, int) else width[:, None]))
    hidden = inside_rows[:, :, None, None] & inside_columns[:, None, :, None]
    return xp.where(hidden, 0, images)
