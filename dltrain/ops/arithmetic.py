"""Arithmetic, element by element with broadcasting, and matrix products."""

from typing import Any

from dltrain.backend import Reference, array_module, kernels
from dltrain.engine import op

Array = Any


def unbroadcast(g: Array, like: Array) -> Array:
    """Sum a gradient back to the shape of an input that was broadcast: what was used often gets the sum."""
    shape = getattr(like, "shape", ())
    if g.shape == shape:
        return g
    k, leading = kernels(g), g.ndim - len(shape)
    g = k.sum(g, tuple(range(leading))).reshape(g.shape[leading:]) if leading else g
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return k.sum(g, stretched) if stretched else g


def _kernels(a: Array, b: Array) -> Reference:
    """Those for an array and another one, or a number."""
    return kernels(a if hasattr(a, "dtype") else b)


# --- one input ------------------------------------------------------------------------------------------------


@op
def negative(x: Array) -> Any:
    """-x"""
    return -x, (lambda g: -g,)


@op
def exp(x: Array) -> Any:
    """e to the x"""
    y = array_module(x).exp(x)
    return y, (lambda g: g * y,)


@op
def log(x: Array) -> Any:
    """The natural logarithm."""
    return array_module(x).log(x), (lambda g: g / x,)


@op
def sqrt(x: Array) -> Any:
    """The square root. At 0 the gradient is infinite."""
    y = array_module(x).sqrt(x)
    return y, (lambda g: g / (2 * y),)


@op
def abs(x: Array) -> Any:
    """|x|. At 0 the gradient is 0."""
    xp = array_module(x)
    return xp.abs(x), (lambda g: g * xp.sign(x),)


@op
def sin(x: Array) -> Any:
    """The sine of an angle in radians."""
    xp = array_module(x)
    return xp.sin(x), (lambda g: g * xp.cos(x),)


@op
def cos(x: Array) -> Any:
    """The cosine of an angle in radians."""
    xp = array_module(x)
    return xp.cos(x), (lambda g: -g * xp.sin(x),)


@op
def clip(x: Array, *, min: float | None = None, max: float | None = None) -> Any:
    """x, and the nearer bound where it is beyond one. The gradient is 0 there; on a bound itself it passes."""
    y = x if min is None else array_module(x).maximum(x, min)
    y = y if max is None else array_module(x).minimum(y, max)
    return y, (lambda g: g * (y == x),)


# --- two inputs -----------------------------------------------------------------------------------------------


@op
def add(a: Array, b: Array) -> Any:
    """a + b"""
    return _kernels(a, b).add(a, b), (lambda g: unbroadcast(g, a), lambda g: unbroadcast(g, b))


@op
def subtract(a: Array, b: Array) -> Any:
    """a - b"""
    k = _kernels(a, b)
    return k.subtract(a, b), (lambda g: unbroadcast(g, a), lambda g: unbroadcast(k.multiply(g, -1), b))


@op
def multiply(a: Array, b: Array) -> Any:
    """a * b"""
    k = _kernels(a, b)
    return k.multiply(a, b), (lambda g: unbroadcast(k.multiply(g, b), a), lambda g: unbroadcast(k.multiply(g, a), b))


@op
def divide(a: Array, b: Array) -> Any:
    """a / b"""
    y = a / b
    return y, (lambda g: unbroadcast(g / b, a), lambda g: unbroadcast(-g * (y / b), b))  # b² might overflow


@op
def power(a: Array, b: Array) -> Any:
    """a ** b. The gradient of the exponent needs a > 0, or a = 0 and b >= 0, where it is 0 as in PyTorch."""
    y = a**b
    xp = array_module(y)

    def of_base(g: Array) -> Array:
        """0 where b is 0, also at a = 0, where a^-1 is infinite."""
        if hasattr(b, "shape"):
            return unbroadcast(g * b * a ** xp.where(b == 0, 0, b - 1), a)
        return unbroadcast(g * b * a ** (b - 1 if b else 0), a)

    def of_exponent(g: Array) -> Array:
        """g · y · log a; at a = 0 its limit 0, not 0 · -∞."""
        base = xp.asarray(a, y.dtype)  # a plain number has no dtype of its own
        return unbroadcast(g * y * xp.log(xp.where((base == 0) & (b >= 0), 1, base)), b)

    return y, (of_base, of_exponent)


@op
def maximum(a: Array, b: Array) -> Any:
    """The larger of two. Equal ones share the gradient."""
    y = array_module(a if hasattr(a, "dtype") else b).maximum(a, b)
    return y, (lambda g: unbroadcast(_share(g, a, b, y), a), lambda g: unbroadcast(_share(g, b, a, y), b))


@op
def minimum(a: Array, b: Array) -> Any:
    """The smaller of two. Equal ones share the gradient."""
    y = array_module(a if hasattr(a, "dtype") else b).minimum(a, b)
    return y, (lambda g: unbroadcast(_share(g, a, b, y), a), lambda g: unbroadcast(_share(g, b, a, y), b))


def _share(g: Array, mine: Array, other: Array, y: Array) -> Array:
    return array_module(g).where(mine == other, 0.5 * g, g * (mine == y))


@op
def where(condition: Array, a: Array, b: Array) -> Any:
    """a where the condition holds, b elsewhere. condition: an array of bools, as `x > 0` gives; has no gradient.

    Each gets its gradient only where it was taken, so an infinite one on the other side does no harm here.
    """
    if getattr(condition, "dtype", "") != "bool":
        what = getattr(condition, "dtype", condition)
        raise TypeError(f"where chooses by an array of bools, such as x > 0 gives, not by {what}")
    xp = array_module(condition)
    y = xp.where(condition, a, b)
    return y, (
        None,
        lambda g: unbroadcast(xp.where(condition, g, 0), a),
        lambda g: unbroadcast(xp.where(condition, 0, g), b),
    )


# --- matrix products --------------------------------------------------------------------------------------------


@op
def matmul(a: Array, b: Array) -> Any:
    """The matrix product over the last two axes; axes before them broadcast. (…, n, k) @ (…, k, m).

    A vector is a row on the left and a column on the right, and the axis of length 1 is left out of the result, as
    in numpy: (…, n, k) @ (k,) is (…, n), (k,) @ (…, k, m) is (…, m), (k,) @ (k,) is a number.
    """
    if not (getattr(a, "ndim", 0) and getattr(b, "ndim", 0)):
        raise ValueError("matmul takes vectors and matrices; multiply by a number with *")
    row, column = a.shape[-1], b.shape[-2 if b.ndim > 1 else 0]
    if row != column:
        raise ValueError(f"matmul of shapes {a.shape} and {b.shape}: rows of {row} meet columns of {column}")
    left, right = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b

    def as_matrices(g: Array) -> Array:
        g = g[..., None] if b.ndim == 1 else g
        return g[..., None, :] if a.ndim == 1 else g

    def of_left(g: Array) -> Array:
        return unbroadcast(as_matrices(g) @ right.swapaxes(-1, -2), left).reshape(a.shape)

    def of_right(g: Array) -> Array:
        return unbroadcast(left.swapaxes(-1, -2) @ as_matrices(g), right).reshape(b.shape)

    return a @ b, (of_left, of_right)
