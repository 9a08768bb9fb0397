"""Calls of the kernels that combine, sum and copy arrays."""

from collections.abc import Iterator

import numpy as np
from native_call import Call, values

BROADCAST = [((1,), (1,)), ((7,), (7,)), ((4, 5), ()), ((4, 5), (5,)), ((4, 5), (4, 1)), ((2, 3, 4, 33), (2, 1, 1, 33)),
             ((2, 1, 3), (1, 4, 3)), ((3, 70, 65), (3, 70, 65)), ((0, 3), (3,)), ((5, 300), (300,))]  # fmt: skip


def broadcasts() -> Iterator[Call]:
    """Two arrays, one of them used again along some axes, and sums back over these; views, not in a row."""
    for a, b in BROADCAST:
        for method in ("add", "subtract", "multiply"):
            yield Call(method, f"{a} and {b}", (values(*a), values(*b, seed=1)))
            yield Call(method, f"{b} and {a}", (values(*b), values(*a, seed=1)))
        yield Call("multiply", f"{a} and a number", (values(*a), -3))
        yield Call("spread", f"{b} to {a}", (values(*b), np.broadcast_shapes(a, b), 3))
    for shape, axes in [((5,), (0,)), ((9, 3), (0,)), ((9, 300), (1,)), ((2, 700, 3), (1,)), ((2, 3, 4, 65), (1, 2)),
                        ((9000, 2), (0, 1)), ((4, 5000), (1,)), ((3, 4), ())]:  # fmt: skip
        for count in (1, 7):
            yield Call("sum", f"{shape} over {axes} by {count}", (values(*shape), axes, count), int(np.prod(shape)))
    x = values(2, 3, 4, 5, 6)
    views = [x.T, x[:, 1:], x[..., ::2], x[:, :, 1, None], x[..., 0], x.transpose(0, 2, 1, 4, 3), x[:, ::-1]]
    for view in views:
        yield Call("packed", f"{view.shape} {view.strides}", (view,))
        yield Call("assign", f"{view.shape} {view.strides}", (values(*view.shape, seed=1), view))
        yield Call("sum", f"{view.shape} {view.strides}", (view, (0,)), 6)
    for axis in range(3):
        parts = (np.moveaxis(values(n, 3, 5), 0, axis) for n in (1, 4, 2))
        yield Call("concatenate", f"along {axis}", (axis, *parts))
