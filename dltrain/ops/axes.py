"""Which axes are meant."""

from collections.abc import Sequence
from operator import index
from typing import SupportsIndex

Axis = SupportsIndex | Sequence[SupportsIndex] | None


def axes_of(ndim: int, axis: Axis) -> tuple[int, ...]:
    """Counted from 0, as given; all for None. Raises ValueError where one does not exist or comes twice."""
    if axis is None:
        return tuple(range(ndim))
    given = [index(a) for a in (axis if isinstance(axis, Sequence) else (axis,))]
    missing = [a for a in given if not -ndim <= a < ndim]
    if missing:
        raise ValueError(f"there is no axis {missing[0]} in an array of {ndim} dimension{'s' * (ndim != 1)}")
    found = tuple(a % ndim for a in given)
    if len(set(found)) < len(found):
        raise ValueError(f"axis {axis} names an axis of an array of {ndim} dimensions twice")
    return found


def axis_of(ndim: int, axis: SupportsIndex) -> int:
    """One of them."""
    return axes_of(ndim, axis)[0]
