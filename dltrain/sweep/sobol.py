"""Points of the unit cube that fill it more evenly than random ones (Sobol, "On the distribution of points in a cube
and the approximate evaluation of integrals", 1967), in the base 2 digits of 32 bits.

Direction numbers: Joe and Kuo, "Constructing Sobol sequences with better two-dimensional projections", SIAM J. Sci.
Comput. 30, 2008, the first lines of their file new-joe-kuo-6.21201.
"""

from collections.abc import Sequence
from functools import cache

BITS = 32
# Dimension 2, 3, …: the inner coefficients of its primitive polynomial as one number, and its initial numbers m, of
# which there are as many as the polynomial's degree.
DIRECTIONS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (0, (1,)), (1, (1, 3)), (1, (1, 3, 1)), (2, (1, 1, 1)), (1, (1, 1, 3, 3)), (4, (1, 3, 5, 13)),
    (2, (1, 1, 5, 5, 17)), (4, (1, 1, 5, 5, 5)), (7, (1, 1, 7, 11, 19)), (11, (1, 1, 5, 1, 1)),
    (13, (1, 1, 1, 3, 11)), (14, (1, 3, 5, 5, 31)), (1, (1, 3, 3, 9, 7, 49)), (13, (1, 1, 1, 15, 21, 21)),
    (16, (1, 3, 1, 13, 27, 49)), (19, (1, 1, 1, 15, 7, 5)), (22, (1, 3, 1, 15, 13, 25)), (25, (1, 1, 5, 5, 19, 61)),
    (1, (1, 3, 7, 11, 23, 15, 103)), (4, (1, 3, 7, 13, 13, 15, 69)),
)  # fmt: skip
MOST_DIMENSIONS = len(DIRECTIONS) + 1


def sobol(number: int, dimensions: int) -> list[int]:
    """Point `number`, counted from 0, as whole numbers below 2**32; of at most MOST_DIMENSIONS dimensions."""
    point = [0] * dimensions
    for dimension in range(dimensions):
        for bit, direction in enumerate(_directions(dimension)):
            if number >> bit & 1:
                point[dimension] ^= direction
    return point


@cache
def _directions(dimension: int) -> Sequence[int]:
    """v_1 … v_32: m_k / 2**k as digits, with the recurrence of m of the paper's equation (2)."""
    if dimension == 0:
        return [1 << (BITS - k) for k in range(1, BITS + 1)]
    coefficients, initial = DIRECTIONS[dimension - 1]
    degree, m = len(initial), list(initial)
    for k in range(degree, BITS):
        value = m[k - degree] ^ (m[k - degree] << degree)
        for i in range(1, degree):
            if coefficients >> (degree - 1 - i) & 1:
                value ^= m[k - i] << i
        m.append(value)
    return [value << (BITS - k) for k, value in enumerate(m, start=1)]
