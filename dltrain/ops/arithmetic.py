"""Arithmetic, element by element with broadcasting, and matrix products."""

from typing import Any

from dltrain.backend import array_module
from dltrain.engine import op

Array = Any


def unbroadcast(g: Array, like: Array) -> Array:
    """Sum a gradient back to the shape of an input that was broadcast: what was used often gets the sum."""
    shape = getattr(like, "shape", ())
    if g.shape == shape:
        return g
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=stretched, keepdims=True) if stretched else g


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


# --- two inputs -----------------------------------------------------------------------------------------------


@op
def add(a: Array, b: Array) -> Any:
    """a + b"""
    return a + b, (lambda g: unbroadcast(g, a), lambda g: unbroadcast(g, b))


@op
def subtract(a: Array, b: Array) -> Any:
    """a - b"""
    return a - b, (lambda g: unbroadcast(g, a), lambda g: unbroadcast(-g, b))


@op
def multiply(a: Array, b: Array) -> Any:
    """a * b"""
    return a * b, (lambda g: unbroadcast(g * b, a), lambda g: unbroadcast(g * a, b))


@op
def divide(a: Array, b: Array) -> Any:
    """a / b"""
    return a / b, (lambda g: unbroadcast(g / b, a), lambda g: unbroadcast(-g * a / b**2, b))


@op
def power(a: Array, b: Array) -> Any:
    """a ** b. The gradient of the exponent needs a > 0."""
    y = a**b
    xp = array_module(y)
    return y, (
        lambda g: unbroadcast(g * b * a ** (b - 1), a),
        lambda g: unbroadcast(g * y * xp.log(xp.asarray(a, y.dtype)), b),  # a plain number has no dtype of its own
    )


@op
def matmul(a: Array, b: Array) -> Any:
    """The matrix product over the last two axes; axes before them broadcast. (…, n, k) @ (…, k, m)."""
    if a.ndim < 2 or b.ndim < 2:
        raise ValueError(f"matmul takes matrices, not shapes {a.shape} and {b.shape}; reshape a vector to one row")
    return a @ b, (
        lambda g: unbroadcast(g @ b.swapaxes(-1, -2), a),
        lambda g: unbroadcast(a.swapaxes(-1, -2) @ g, b),
    )
