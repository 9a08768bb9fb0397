"""Dropout (Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014)."""

from math import prod
from typing import Any

from dltrain.backend import kernels
from dltrain.engine import op
from dltrain.random import LANES

Array = Any
LEVELS = 1 << 16  # a mask compares 16-bit numbers with a threshold


def dropout_words(shape: tuple[int, ...]) -> int:
    """Random words that one example of this shape needs: a 16-bit lane for each value."""
    return -(-prod(shape) // LANES)


@op
def dropout(x: Array, *, rate: float, words: Array) -> Any:
    """Zero each value with probability `rate` (to 1/65536) and scale the rest so that the expectation stays.

    words: (N, dropout_words(x.shape[1:])) random uint64.
    """
    threshold = min(round(rate * LEVELS), LEVELS - 1)  # below every lane's end: CuPy compares within 16 bits
    each = prod(x.shape[1:])
    bits, scale = words.view("uint16")[:, :each], LEVELS / (LEVELS - threshold)
    k = kernels(x)
    return k.dropout(x, bits, threshold, scale), (lambda g: k.dropout(g, bits, threshold, scale),)
