"""Convolution with kernels of 3 lines by Winograd's minimal filtering along the first dimension, F(2, 3), in numpy.

4 multiplications for two lines of outputs, where a direct convolution takes 6 and winograd.py, along both dimensions,
the equal of 2 2/3. But less is moved: along the second dimension nothing is unrolled or transformed. Where lines lie
one after the other, with what pads them in between, the numbers under the window at position p are C · p and those that
follow, wide · C of them. Rows of a matrix must not overlap, so a product takes every wide-th position.

    even lines = p0 + p1 + p2     with p0 = (d0 - d2) ∗ w0                 p1 = (d1 + d2) ∗ (w0 + w1 + w2) / 2
    odd lines = p1 - p2 - p3           p2 = (d2 - d1) ∗ (w0 - w1 + w2) / 2 p3 = (d1 - d3) ∗ w2

of lines d0 to d3 of the input under two lines of outputs, which are a tile here, and lines w0 to w2 of the kernel.
Lavin and Gray ("Fast algorithms for convolutional neural networks", 2016), in one dimension.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby
from typing import Any

from dltrain.backend.views import evenly
from dltrain.window import Window

Array = Any
Combined = tuple[str, int, int | None]  # a function of two lines of a tile, and which ones

INPUTS: tuple[Combined, ...] = ("subtract", 0, 2), ("add", 1, 2), ("subtract", 2, 1), ("subtract", 1, 3)
# The adjoint of how outputs are made of products; that of p3 with the other sign.
OUTPUTS: tuple[Combined, ...] = ("add", 0, None), ("add", 0, 1), ("subtract", 0, 1), ("add", 1, None)
NUMBERS = 144 << 10  # of one combination of lines, worked on at a time
WORTH_IT = 32 * 32  # C · K: with fewer, products are too small


def fits(xp: Any, window: Window, groups: int, w: Array) -> bool:
    """Whether this way is possible for these weights, (3, wide, C, K), and faster than to unroll."""
    plain = len(window.kernel) == 2 and window.kernel[0] == 3 and window.stride == window.dilation == (1, 1)
    return xp.__name__ == "numpy" and plain and groups == 1 and w.shape[-2] * w.shape[-1] >= WORTH_IT


def conv(kernels: Any, x: Array, w: Array, window: Window, y: Array) -> Iterator[slice]:
    """Fill y with x ∗ w, some examples at a time: which ones. x: (N, *in, C), w: (3, wide, C, K), y: (N, *out, K)."""
    xp, filters = kernels.xp, w.shape[-1]
    matrices = _matrices(xp, w)
    for piece, lines in _pieces(kernels, x, window):

        def product(number: int, lines: "_Lines" = lines) -> Array:
            """(positions, K)"""
            made = xp.empty((lines.rows, window.kernel[1], filters), x.dtype)
            xp.matmul(lines.windows(number), matrices[number], out=made.swapaxes(0, 1))
            return made.reshape(-1, filters)

        even, other = product(1), product(2)
        odd = even - other
        even += other
        of_piece = y[piece]
        for first, combine, lines_of, last in (0, xp.add, even, product(0)), (1, xp.subtract, odd, product(3)):
            to = of_piece[:, first::2]  # of odd lines perhaps one fewer
            combine(*(lines.outputs(of)[:, : to.shape[1]] for of in (lines_of, last)), out=to)
        yield piece


def weight_grad(kernels: Any, g: Array, x: Array, w: Array, window: Window) -> Array:
    """dLoss/dw (3, wide, C, K) given g = dLoss/dy (N, *out, K)."""
    xp, wide, filters = kernels.xp, window.kernel[1], w.shape[-1]
    sums = xp.zeros((len(OUTPUTS), wide, wide * x.shape[-1], filters), w.dtype)  # by the window that a row begins with
    room = None
    for piece, lines in _pieces(kernels, x, window):
        for number, combined in enumerate(OUTPUTS):
            if room is None or kernels.at_once or len(room) != lines.rows:
                room = xp.zeros((lines.rows, wide, filters), g.dtype)
            _combine(xp, combined, g[piece], 0, lines.outputs(room.reshape(-1, filters)))
            sums[number] += xp.matmul(lines.windows(number).swapaxes(1, 2), room.swapaxes(0, 1))
    first, one, other, last = sums.sum(axis=1)
    dw = xp.empty(w.shape, w.dtype)
    of_lines = dw.reshape(3, -1, filters)
    outer = (one + other) * 0.5
    xp.add(first, outer, out=of_lines[0])
    xp.multiply(one - other, 0.5, out=of_lines[1])
    xp.subtract(outer, last, out=of_lines[2])
    return dw


def _matrices(xp: Any, w: Array) -> list[Array]:
    """What the combinations of lines are multiplied with: 4 of (wide · C, K)."""
    first, middle, last = w.reshape(3, -1, w.shape[-1])
    outer, inner = xp.add(first, last), xp.multiply(middle, 0.5)
    outer *= 0.5
    return [first, xp.add(outer, inner), xp.subtract(outer, inner), last]


def _pieces(kernels: Any, x: Array, window: Window) -> Iterator[tuple[slice, "_Lines"]]:
    """(which examples, theirs). Their number depends on shapes alone, so sums have one order."""
    lines = None
    most = max(1, NUMBERS // (_tiles(window) * _pitch(window) * x.shape[-1]))
    for piece in evenly(len(x), most):
        if lines is None or kernels.at_once or lines.n != piece.stop - piece.start:
            lines = _Lines(kernels, window, piece.stop - piece.start, x.shape[-1], x.dtype)
        lines.x = x[piece]
        yield piece, lines


def _tiles(window: Window) -> int:
    """Pairs of lines in a picture of outputs."""
    return (window.out_size[0] + 1) // 2


def _pitch(window: Window) -> int:
    """Positions from one line to the next: what pads the end of one pads the beginning of the next."""
    return max(window.in_size[1] + max(window.padding[1]), window.out_size[1])


class _Lines:
    """n pictures' combinations of lines."""

    def __init__(self, kernels: Any, window: Window, n: int, channels: int, dtype: Any):
        self.kernels, self.window, self.n, self.channels, self.dtype = kernels, window, n, channels, dtype
        self.shape = n, _tiles(window), _pitch(window)
        self.positions = n * self.shape[1] * self.shape[2]
        self.rows = -(-self.positions // window.kernel[1])  # of a product
        self.x: Array = None
        self._room: tuple[Array, Array] | None = None

    def windows(self, number: int) -> Array:
        """(wide, rows, wide · C): of each wide-th position, from the first, the second … on, what is under its window.

        Overwritten by the next number.
        """
        if self._room is None or self.kernels.at_once:
            self._room = self._new_room()
        inside, windows = self._room
        _combine(self.kernels.xp, INPUTS[number], self.x, -self.window.padding[0][0], inside)
        return windows

    def _new_room(self) -> tuple[Array, Array]:
        """Zeros: views of where lines go, (n, tiles, width, C), and of the windows."""
        xp, (_, wide), (left, _) = self.kernels.xp, self.window.kernel, self.window.padding[1]
        room = xp.zeros((max(left + self.positions, (self.rows + 1) * wide), self.channels), self.dtype)
        of_position, of_number = room.strides
        windows = xp.lib.stride_tricks.as_strided(
            room, (wide, self.rows, wide * self.channels), (of_position, wide * of_position, of_number)
        )
        inside = room[left : left + self.positions].reshape(*self.shape, -1)
        return inside[:, :, : self.window.in_size[1]], windows

    def outputs(self, positions: Array) -> Array:
        """A view of (positions, K) as lines of outputs, (n, tiles, width, K)."""
        return positions[: self.positions].reshape(*self.shape, -1)[:, :, : self.window.out_size[1]]


def _combine(xp: Any, combined: Combined, x: Array, first: int, out: Array) -> None:
    """Two lines of each tile, 0 where x has no such line. Line 0 is line 2 · tile + first of x: (n, lines, width, C).

    out: (n, tiles, width, C).
    """
    name, *lines = combined
    for tiles, *sources in _runs(x.shape[1], out.shape[1], *(None if line is None else first + line for line in lines)):
        getattr(xp, name)(*(0 if source is None else x[:, source] for source in sources), out=out[:, tiles])


@lru_cache(maxsize=256)  # a net asks for the same ones in every step
def _runs(height: int, tiles: int, one: int, other: int | None) -> list[tuple[slice, slice | None, slice | None]]:
    """Runs of tiles, with their lines 2 · tile + one and 2 · tile + other of a picture, None where it has none."""

    def there(tile: int) -> tuple[bool, bool]:
        return 0 <= 2 * tile + one < height, other is not None and 0 <= 2 * tile + other < height

    def lines(first: int, last: int, line: int | None) -> slice:
        assert line is not None
        return slice(2 * first + line, 2 * last + line + 1, 2)

    runs = []
    for (has_one, has_other), group in groupby(range(tiles), there):
        run = list(group)
        of_one = lines(run[0], run[-1], one) if has_one else None
        of_other = lines(run[0], run[-1], other) if has_other else None
        runs.append((slice(run[0], run[-1] + 1), of_one, of_other))
    return runs
