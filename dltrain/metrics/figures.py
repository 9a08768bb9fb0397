"""Figures of merit of the pictures that networks make. A config names them; keyword arguments are its keys.

Each is a number about one set of pictures, some beside real ones, some by what the network of another run, its judge,
says of them. The same is measured of what nobody had to make: `baselines`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from dltrain.metrics import distributions, pictures
from dltrain.registry import Count, Rate, Registry

Array = NDArray[Any]
Shade = Annotated[int, Interval(ge=0, le=255)]
Part = Literal["held out", "training"]
BASELINES = REAL, NOISE, MEAN, COPY, COLOURS, HISTOGRAMS = (
    "real", "noise", "mean picture", "copy", "colours matched", "histograms matched",
)  # fmt: skip
MATCHED = {COLOURS: pictures.match_colours, HISTOGRAMS: pictures.match_histograms}
AT_ONCE = 16  # pictures of which a judge's layers are looked at together
NEAR, SAME = 13.5, 0.5  # levels of 255 by which a pixel may differ from a region's colour, and from its like


@dataclass(frozen=True)
class Opinion:
    """What a judge says of N pictures. features: what its last layer gets, (N, D). probabilities: of each class or
    label, (N, K). exclusive: whether one of them alone can be right."""

    features: Array
    probabilities: Array
    exclusive: bool = True


class Looks(Protocol):
    """A judge. pixels: (N, H, W, C), 0 for black, 1 for white."""

    def __call__(self, pixels: Array) -> Opinion:
        """What it says of them."""

    def seen(self, pixels: Array, at: tuple[str, ...]) -> list[Array]:
        """What some of its layers make of them, (N, H, W, C) each, in the order of `at`."""


class Pictures:
    """pixels: (N, H, W, C), 0 for black, 1 for white. where: those that count, (N, H, W) of bool; None for all.
    classes: what each shows, (N,), or all of them. judge: gives an opinion of pixels."""

    def __init__(
        self,
        pixels: Array,
        where: Array | None = None,
        classes: Array | int | None = None,
        judge: Looks | None = None,
    ):
        self.pixels, self.where, self.classes, self.judge = pixels, where, classes, judge

    @cached_property
    def opinion(self) -> Opinion:
        assert self.judge
        return self.judge(self.pixels)


@dataclass(frozen=True, kw_only=True)
class Region:
    """The pixels that count: where another value of the same examples has a colour, or is like a third value.

    value: a picture by its name. colour: its red, green and blue there, 0 to 255, each to within 13. like: the name of
    the picture that it does not differ from there.
    """

    value: str
    colour: tuple[Shade, Shade, Shade] | None = None
    like: str | None = None

    def __call__(self, value: Array, like: Array | None) -> Array:
        """(N, H, W, C) of the values that it names -> (N, H, W)."""
        other = np.array(self.colour) / 255 if like is None else like
        levels = NEAR if like is None else SAME
        return np.asarray((np.abs(value - other) * 255 <= levels).all(axis=3))


def _common(*, of: str, examples: Count = 1000, name: str | None = None) -> None:
    """of: the value whose pictures are looked at. examples: how many, or as many as are held out. name: what the figure
    is called; its type and the value unless given: `frechet/fake`."""


FIGURES = Registry("picture figure", common=_common)


class Figure(ABC):
    """A subclass's settings may be to: the value that the real pictures have; in_: the run of its judge; where: the
    pixels that count."""

    against: ClassVar[Part | None] = None  # the real ones that it compares with: of the same examples, or to train on
    baselines: ClassVar[tuple[str, ...]] = (REAL, NOISE, MEAN, COPY)  # real: of the part that it does not compare with
    better: ClassVar[Literal["lower", "higher", "as real"]] = "lower"

    def setting(self, name: str) -> Any:
        """None where this figure has no such setting."""
        return getattr(self, name, None)

    @abstractmethod
    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        """real: what it compares with; not looked at where it does not. None where there is nothing to measure."""


def is_figure(key: str) -> bool:
    """Whether this may be the key of one, such as `frechet/fake`."""
    kind, slash, of = key.partition("/")
    return kind in FIGURES and bool(slash and of)


@dataclass(frozen=True)
class Asked:
    """A figure as the config asks for it. name: what it is called. type: of its registry."""

    name: str
    type: str
    of: str
    examples: int
    figure: Figure

    @property
    def key(self) -> str:
        """`frechet/fake`, `mae/bare_face`: what logs and `metrics.best` call it."""
        return self.name if self.name.startswith(f"{self.type}/") else f"{self.type}/{self.name}"


PAIRED = (NOISE, MEAN, COPY)


@FIGURES.register("frechet")
@dataclass(frozen=True, kw_only=True)
class Frechet(Figure):
    """How far a set of pictures is from real ones, which other examples have, in the features of a trained network: the
    Fréchet distance (Heusel et al., 2017). The features are what that network's last layer gets. It depends on the
    network and on the number of examples, so it compares with nobody else's; `real` beside it is what training examples
    get.
    """

    to: str
    in_: str
    against = "held out"

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        return distributions.frechet_distance(made.opinion.features, real.opinion.features)


@FIGURES.register("class_entropy")
@dataclass(frozen=True, kw_only=True)
class ClassEntropy(Figure):
    """How sure a classifier is of each picture, and how many classes occur: 1 to the number of classes (the score that
    Salimans et al., 2016, take of an Inception network)."""

    in_: str
    to: str | None = None
    better = "higher"

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        return distributions.class_entropy_score(made.opinion.probabilities)


@FIGURES.register("recognised")
@dataclass(frozen=True, kw_only=True)
class Recognised(Figure):
    """The share of pictures that a classifier takes for something.

    as: a class or label of it by name, or a value that holds the class of each example. sure: without `as`, the share
    is that of which some class is more probable than this.
    """

    in_: str
    as_: str | None = None
    sure: Rate = 0.9
    to: str | None = None
    better = "as real"

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        if made.classes is None:
            return distributions.surer_than(made.opinion.probabilities, self.sure)
        if not made.opinion.exclusive:
            assert isinstance(made.classes, int)
            return float((made.opinion.probabilities[:, made.classes] > 0.5).mean())
        return distributions.taken_for(made.opinion.probabilities, made.classes)


@FIGURES.register("spread")
@dataclass(frozen=True, kw_only=True)
class Spread(Figure):
    """How much pictures differ: the mean over all pairs of the root of their mean square difference; with `where` the
    standard deviation of the region's mean colour. It is 0 of a network that always makes the same."""

    to: str
    where: Region | None = None
    better = "as real"

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        if made.where is None:
            return pictures.spread(made.pixels)
        return pictures.colour_spread(made.pixels, made.where)


@FIGURES.register("nearest")
@dataclass(frozen=True, kw_only=True)
class Nearest(Figure):
    """The mean distance to the nearest training picture, 0 of copies: where it is less than that of held-out ones,
    `real`, pictures were learnt by heart."""

    to: str
    against = "training"
    better = "as real"

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        return pictures.nearest(made.pixels, real.pixels)


@FIGURES.register("histogram")
@dataclass(frozen=True, kw_only=True)
class Histogram(Figure):
    """What the colours of all pictures and of the real ones have in common, wherever they are: 0 to 1 (Swain and
    Ballard, 1991)."""

    to: str
    where: Region | None = None
    against = "held out"
    better = "higher"

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        return pictures.histogram_intersection(made.pixels, real.pixels, made.where, real.where)


@FIGURES.register("mae")
@dataclass(frozen=True, kw_only=True)
class MeanAbsoluteError(Figure):
    """The mean absolute difference from the real picture of the same example; white less black is 1."""

    to: str
    where: Region | None = None
    against = "held out"
    baselines = PAIRED

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        return pictures.mean_absolute_error(made.pixels, real.pixels, made.where)


@FIGURES.register("psnr")
@dataclass(frozen=True, kw_only=True)
class Psnr(Figure):
    """The peak signal-to-noise ratio beside the real picture of the same example, in dB, 100 of equal ones."""

    to: str
    against = "held out"
    baselines = PAIRED
    better = "higher"

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        return pictures.psnr(made.pixels, real.pixels)


@FIGURES.register("ssim")
@dataclass(frozen=True, kw_only=True)
class Ssim(Figure):
    """The structural similarity to the real picture of the same example, 1 of equal ones (Wang et al., 2004)."""

    to: str
    against = "held out"
    baselines = PAIRED
    better = "higher"

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        return pictures.ssim(made.pixels, real.pixels)


class _Seen(Figure):
    """Compares what layers of a judge make of a picture and of the real one of the same example."""

    to: str
    in_: str
    at: tuple[str, ...]
    against = "held out"

    def __call__(self, made: Pictures, real: Pictures) -> float | None:
        assert made.judge
        total, count = 0.0, len(made.pixels)
        for start in range(0, count, AT_ONCE):
            some = slice(start, start + AT_ONCE)
            seen = (made.judge.seen(pixels[some], self.at) for pixels in (made.pixels, real.pixels))
            pairs = zip(*seen, strict=True)
            total += sum(float(self.distances(*pair).sum()) for pair in pairs)
        return total / (count * len(self.at))

    def distances(self, made: Array, real: Array) -> Array:
        """Of each example at one layer, (N,). made, real: (N, H, W, C)."""
        raise NotImplementedError


@FIGURES.register("gram")
@dataclass(frozen=True, kw_only=True)
class Gram(_Seen):
    """How far the texture is from that of another picture, a painting say: ‖G - G'‖² / ‖G'‖² of the Gram matrices of a
    judge's layers `at`, mean over these and the examples (Gatys, Ecker, Bethge, 2016, equation 3). The judge should
    have had no part in the training. Beside it stand the picture as it was and, since colours are half of a style, with
    the colours of the other: their means and deviations, and their whole histograms.
    """

    to: str
    in_: str
    at: tuple[str, ...]
    baselines = (NOISE, COPY, COLOURS, HISTOGRAMS)

    def distances(self, made: Array, real: Array) -> Array:
        return pictures.gram_distances(made, real)


@FIGURES.register("content")
@dataclass(frozen=True, kw_only=True)
class Content(_Seen):
    """How far what a picture shows is from what another one shows: ‖x - x'‖² / ‖x'‖² of the outputs of a judge's layers
    `at`, mean over these and the examples (Gatys, Ecker, Bethge, 2016, equation 1)."""

    to: str
    in_: str
    at: tuple[str, ...]
    baselines = PAIRED

    def distances(self, made: Array, real: Array) -> Array:
        return pictures.content_distances(made, real)
