"""What needs the whole batch while a shard sees only a part of it."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from dltrain.engine import op

Array = Any

# (name, value) -> the sum of that value over all shards of the step; None where there are no shards
meeting: ContextVar[Callable[[str, Array], Array] | None] = ContextVar("meeting", default=None)


@op
def total(x: Array, *, name: str) -> Any:
    """The sum of x over all shards of the running step; x itself outside of one.

    Every shard's loss depends on the sum, so x gets the sum of all their gradients: `total` is its own backward.
    name: says which sum this is (the layer's name), so that shards that disagree are noticed.
    """
    meet = meeting.get()
    if meet is None:
        return x, (lambda g: g,)
    return meet(name, x), (lambda g: meet(f"gradient of {name}", g),)
