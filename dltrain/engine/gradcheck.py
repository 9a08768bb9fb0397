"""Is this gradient right? Compare it with differences of the function itself.

For a random direction v and random weights u of the outputs, the derivative of <u, f(x)> along v
is both <vjp(u), v> and (<u, f(x + εv)> − <u, f(x − εv)>) / 2ε. Two evaluations check all entries at once.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dltrain.backend import array_module, to_host
from dltrain.engine.tensor import Tensor, gradients, op


class GradientMismatch(AssertionError):
    """The derivative along a direction differs from the finite difference."""


def gradcheck(
    function: Callable[..., Any],
    *inputs: Any,
    seed: int = 0,
    directions: int = 3,
    epsilon: float = 1e-6,
    tolerance: float = 1e-6,
) -> float:
    """Check d function / d input for every input, along random directions; return the worst relative error.

    inputs: float64 arrays, away from kinks (the 0 of a ReLU, ties of a maximum): nearer than ε the difference
    quotient looks at both sides of one. function: Tensors to a Tensor, or to a tuple of Tensors.
    Raises GradientMismatch when a gradient has another shape than its input, or when
    |analytic − numeric| > tolerance · max(|analytic|, |numeric|, scale), where scale = ‖gradient‖‖v‖ / √n keeps a
    direction that happens to be orthogonal to the gradient from being judged by rounding errors alone.
    """
    rng = np.random.default_rng(seed)
    xp = array_module(inputs[0])
    for x in inputs:
        if x.dtype != np.float64:
            raise TypeError(f"gradcheck works in float64, not {x.dtype}: in float32 differences are mostly rounding")

    def evaluate(arrays: Any) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        tensors = [Tensor(a) for a in arrays]
        result = function(*tensors)
        return tensors, result if isinstance(result, tuple) else (result,)

    def unit(shape: tuple[int, ...]) -> Any:
        """Entries of size about 1 and never near 0: an entry that is wrong must show."""
        return xp.asarray(rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape))

    worst = 0.0
    for _ in range(directions):
        tensors, outputs = evaluate(inputs)
        weights = [unit(y.shape) for y in outputs]
        analytic = gradients(weigh(*outputs, weights=weights), tensors)
        for i, x in enumerate(inputs):
            if analytic[i].shape != x.shape:
                raise GradientMismatch(f"input {i} of shape {x.shape} got a gradient of shape {analytic[i].shape}")
            v = unit(x.shape)

            def moved(step: float, i: int = i, v: Any = v, weights: Any = weights) -> float:
                arrays = [a + step * v if j == i else a for j, a in enumerate(inputs)]
                return _number(weigh(*evaluate(arrays)[1], weights=weights).data)

            numeric = (moved(epsilon) - moved(-epsilon)) / (2 * epsilon)
            along = _number((analytic[i] * v).sum())
            norm = _number((analytic[i] ** 2).sum()) ** 0.5
            scale = norm * _number((v**2).sum()) ** 0.5 / max(1, x.size) ** 0.5
            error = abs(along - numeric) / max(abs(along), abs(numeric), scale, 1e-300)
            worst = max(worst, error)
            if not error <= tolerance:
                raise GradientMismatch(
                    f"input {i} of shape {tuple(x.shape)}: the gradient says {along:.9g} along a random direction, "
                    f"finite differences say {numeric:.9g} (relative error {error:.2g} > {tolerance:g})"
                )
    return worst


def distinct(*shape: int, seed: int = 0, lowest: float = -2.0, highest: float = 2.0) -> Any:
    """Random-looking values for gradcheck that stay away from kinks. Shape as asked, float64, numpy.

    No two are equal and none is 0: their distances are at least (highest - lowest) / (4 · size), far above ε.
    """
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    cells = size + size % 2  # an even number of cells, so that 0 lies between two of them
    grid = (np.arange(cells) + rng.uniform(0.25, 0.75, cells)) / cells * (highest - lowest) + lowest
    return rng.permutation(grid)[:size].reshape(shape)


@op
def weigh(*outputs: Any, weights: list[Any]) -> Any:
    """Σ <weight, output>: one number from all the outputs of a function."""
    y = sum((w * x).sum() for w, x in zip(weights, outputs, strict=True))
    return y, tuple(lambda g, w=w: g * w for w in weights)


def _number(x: Any) -> float:
    return float(to_host(x))
