"""Initial weights.

fan_in: inputs that one output sums over; fan_out: outputs that one input feeds. Glorot and Bengio ("Understanding
the difficulty of training deep feedforward neural networks", 2010) keep the variance of values and gradients from
layer to layer with Var(w) = 2 / (fan_in + fan_out); He et al. ("Delving Deep into Rectifiers", 2015) make up for the
half that ReLU cuts off with 2 / fan_in; LeCun et al. ("Efficient BackProp", 1998) take 1 / fan_in.
A uniform distribution on ±a has variance a² / 3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.random import Generator

from dltrain.errors import ShapeError
from dltrain.registry import Positive, Registry

Array = Any
INITIALIZERS = Registry("initialisation")


class Initializer:
    """Called with (shape, fan_in, fan_out, generator); returns float64 on the CPU, whatever device will train."""

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
        raise NotImplementedError

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ShapeError where weights of this shape cannot start like this."""


@INITIALIZERS.register("constant")
@dataclass(frozen=True, kw_only=True)
class Constant(Initializer):
    """The same number everywhere: units that start equal stay equal."""

    value: float

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
        return np.full(shape, self.value)


@INITIALIZERS.register("zeros")
@dataclass(frozen=True, kw_only=True)
class Zeros(Initializer):
    """0 everywhere: right for biases; weights that start at 0 stay equal to each other."""

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
        return np.zeros(shape)


@INITIALIZERS.register("normal")
@dataclass(frozen=True, kw_only=True)
class Normal(Initializer):
    """Mean 0 and the given standard deviation, whatever the fans."""

    std: Positive = 0.05

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
        return rng.standard_normal(shape) * self.std


@INITIALIZERS.register("uniform")
@dataclass(frozen=True, kw_only=True)
class Uniform(Initializer):
    """Between -limit and limit, whatever the fans."""

    limit: Positive = 0.05

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
        return rng.uniform(-self.limit, self.limit, shape)


def _scaled(name: str, variance: Callable[[int, int], float], formula: str, uniform: bool) -> None:
    """Register a distribution whose variance follows from the fans."""

    @INITIALIZERS.register(name)
    @dataclass(frozen=True, kw_only=True)
    class Scaled(Initializer):
        def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
            v = variance(fan_in, fan_out)
            return rng.uniform(-sqrt(3 * v), sqrt(3 * v), shape) if uniform else rng.standard_normal(shape) * sqrt(v)

    Scaled.__doc__ = f"A {'uniform' if uniform else 'normal'} distribution with mean 0 and variance {formula}."


_scaled("glorot_uniform", lambda fan_in, fan_out: 2 / (fan_in + fan_out), "2 / (fan_in + fan_out)", uniform=True)
_scaled("glorot_normal", lambda fan_in, fan_out: 2 / (fan_in + fan_out), "2 / (fan_in + fan_out)", uniform=False)
_scaled("he_uniform", lambda fan_in, fan_out: 2 / fan_in, "2 / fan_in", uniform=True)
_scaled("he_normal", lambda fan_in, fan_out: 2 / fan_in, "2 / fan_in", uniform=False)
GLOROT_UNIFORM: Initializer = INITIALIZERS["glorot_uniform"]()
_scaled("lecun_normal", lambda fan_in, fan_out: 1 / fan_in, "1 / fan_in", uniform=False)


@INITIALIZERS.register("orthogonal")
@dataclass(frozen=True, kw_only=True)
class Orthogonal(Initializer):
    """Columns, or rows where there are fewer, that stand at right angles and have length `gain`.

    Weights (…, outputs) count as a matrix of all inputs by all outputs. Values then keep their length through any
    number of linear layers (Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", 2014).
    """

    gain: Positive = 1.0

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
        rows, columns = prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))  # without this some rotations would be likelier than others (Mezzadri, 2007)
        return (q if rows >= columns else q.T).reshape(shape) * self.gain


@INITIALIZERS.register("truncated_normal")
@dataclass(frozen=True, kw_only=True)
class TruncatedNormal(Initializer):
    """Mean 0 and the given standard deviation; what lies beyond two of them is drawn again, which leaves 0.88 of it."""

    std: Positive = 0.05

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
        drawn = rng.standard_normal(shape)
        while (beyond := np.abs(drawn) > 2).any():
            drawn[beyond] = rng.standard_normal(beyond.sum())
        return drawn * self.std


@INITIALIZERS.register("dirac")
@dataclass(frozen=True, kw_only=True)
class Dirac(Initializer):
    """1 in the middle of the kernel, 0 elsewhere: a convolution that passes its input on (Zagoruyko and Komodakis,
    "DiracNets", 2017).

    The n-th output channel takes the n-th input channel that it sees; where there are more, they begin again.
    """

    def check(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 3:
            raise ShapeError("init dirac passes positions on, so it is for conv; a dense layer has none")

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
        *kernel, inputs, outputs = shape
        w = np.zeros(shape)
        middle = w[tuple(size // 2 for size in kernel)]  # (inputs, outputs)
        middle[np.arange(outputs) % inputs, np.arange(outputs)] = 1
        return w


@INITIALIZERS.register("gaussian")
@dataclass(frozen=True, kw_only=True)
class Gaussian(Initializer):
    """A bell of the given standard deviation, in positions, that sums to 1: a convolution that blurs each channel.

    With `trainable: false` it stays one. Each output channel sees one input channel: with groups as many as there are
    channels, or the n-th sees the n-th.
    """

    sigma: Positive = 1.0

    def check(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 3:
            raise ShapeError("init gaussian blurs positions, so it is for conv; a dense layer has none")
        if shape[-2] not in (1, shape[-1]):
            raise ShapeError(
                f"init gaussian blurs channel by channel, but {shape[-1]} output channels see {shape[-2]} input "
                f"channels; give as many channels as come in, or groups"
            )

    def __call__(self, shape: tuple[int, ...], fan_in: int, fan_out: int, rng: Generator) -> Array:
        *kernel, inputs, outputs = shape
        bell = np.ones(())
        for size in kernel:
            distance = np.arange(size) - (size - 1) / 2
            bell = np.multiply.outer(bell, np.exp(-((distance / self.sigma) ** 2) / 2))
        bell /= bell.sum()
        return np.multiply.outer(bell, np.eye(inputs) if inputs == outputs else np.ones((inputs, outputs)))
