"""What gelu computes, in plain array code, with the error function, which neither numpy nor CuPy's core has."""

from math import pi, sqrt
from types import ModuleType
from typing import Any

Array = Any

# W. J. Cody, "Rational Chebyshev Approximations for the Error Function", Mathematics of Computation 23, 1969.
# erf(x) = x · P(x²) / Q(x²) up to 0.46875; beyond, 1 - erf(x) = e^(-x²) · P(x) / Q(x). Highest powers first.
NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
FAR = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
BORDER = 0.46875
END = 6.0  # from here on erf is 1 in float64


def gelu(xp: ModuleType, x: Array, approximate: bool) -> tuple[Array, Array]:
    """x · Φ(x) and its derivative; approximate: with tanh in place of Φ, see ops/activation.py."""
    z = xp.maximum(xp.minimum(x, 40), -40)  # beyond, Φ is 0 or 1 anyway, and x³ might overflow
    if approximate:
        inner = xp.tanh(sqrt(2 / pi) * (z + 0.044715 * (z * z * z)))
        share = 0.5 * (1 + inner)  # Φ, and its derivative
        density = 0.5 * (1 - inner * inner) * sqrt(2 / pi) * (1 + 3 * 0.044715 * (z * z))
    else:
        share = 0.5 * (1 + erf(xp, z * sqrt(0.5)))
        density = xp.exp(-0.5 * (z * z)) * (1 / sqrt(2 * pi))
    return x * share, share + x * density


def erf(xp: ModuleType, x: Array) -> Array:
    """2/√π ∫ e^(-t²) dt from 0 to x, to about 1e-15 in float64."""
    size = xp.minimum(xp.abs(x), END)
    square = size * size
    near = x * _ratio(NEAR, square)
    far = xp.sign(x) * (1 - xp.exp(-square) * _ratio(FAR, size))
    return xp.where(size <= BORDER, near, far)


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    above, below = (_polynomial(each, x) for each in coefficients)
    return above / below


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """Horner's scheme."""
    y = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        y *= x
        y += c
    return y
