"""The gradient of a matrix as one sum over a whole batch, instead of one for each shard.

For y = x w it is x'g: a sum over examples, as large as w however few they are. Where a batch comes in shards, to write
one for each and to add them up moves more memory than the products take. So a shard hands over its x and g, and
whoever has those of all shards computes the sum once.
"""

from typing import Any

from dltrain.backend.product import parts

Array = Any
LATE = "late"
Needed = list[bool | str]  # which gradients of an op's inputs are wanted: LATE where one of these will do
LARGE = 1 << 15  # numbers of a matrix; a smaller one is as well computed by every shard


class Late:
    """x'g, not computed yet. parts: x (n, in) and g (n, out) for some of the examples, in order."""

    __array_ufunc__ = None  # numpy leaves `array + late` to __radd__

    def __init__(self, kernels: Any, *parts: tuple[Array, Array]):
        self.kernels = kernels
        self.parts = parts

    def __add__(self, other: Any) -> Any:
        return Late(self.kernels, *self.parts, *other.parts) if isinstance(other, Late) else self.value() + other

    def __radd__(self, other: Array) -> Array:
        return other + self.value()

    def pieces(self) -> tuple[Array, list[tuple[Array, list[Array], Array]]]:
        """The result, (in, out), still empty, and what to give to `kernels.outer` to fill it, in any order.

        The rows of a piece depend on the shape alone, so its bits do.
        """
        xs, gs = zip(*self.parts, strict=True)
        xp, inputs, outputs = self.kernels.xp, xs[0].shape[1], gs[0].shape[1]
        g = gs[0] if len(gs) == 1 else xp.concatenate(gs)
        result = xp.empty((inputs, outputs), g.dtype)
        rows = parts(inputs, result.size, self.kernels.piece_of_product)
        return result, [(result[part], [x[:, part] for x in xs], g) for part in rows]

    def value(self) -> Array:
        result, pieces = self.pieces()
        for piece in pieces:
            self.kernels.outer(*piece)
        return result
