"""Inputs that do not fit into memory are made by threads ahead of whoever needs them, and never many at a time."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.backend.process import available_cores
from dltrain.data.source import OnDemand

Array = NDArray[Any]
WINDOW = 1 << 25  # bytes of examples that are made ahead
FEWEST = 64  # examples that are made ahead, however large


class Ahead:
    """Hands out examples of `inputs` as `inputs[indices]` would, but makes those that come next in the meantime.

    What is announced by `plan` and asked for in about that order is there when it is wanted; what is not announced is
    made on the spot. Several threads may ask at once.
    """

    def __init__(self, inputs: OnDemand):
        self.inputs = inputs
        self.window = max(FEWEST, WINDOW // max(1, inputs.bytes_each))
        self._pool = ThreadPoolExecutor(available_cores(), "ahead")  # they end when this object does
        self._lock = Lock()
        self._order: Array = np.empty(0, np.intp)
        self._place: Array = np.empty(0, np.intp)  # of each example in the order
        self._next = 0  # the first place in the order that is not begun
        self._begun: dict[int, Future[Array]] = {}  # by example, until it is handed out

    def plan(self, order: Array) -> None:
        """The examples will be asked for in about this order, each once."""
        with self._lock:
            for begun in self._begun.values():
                begun.cancel()
            self._begun.clear()
            self._order, self._next = order, 0
            self._place = np.full(len(self.inputs), -1)
            self._place[order] = np.arange(len(order))

    def __getitem__(self, indices: Array) -> Array:
        if self.inputs.quick:
            return self.inputs[indices]
        with self._lock:
            if len(self._order):
                self._begin(self._place[indices])
            found = [self._begun.pop(i) if i in self._begun else self._submit(i) for i in map(int, indices)]
        return np.stack([example.result() for example in found])

    def _submit(self, index: int) -> "Future[Array]":
        return self._pool.submit(self.inputs.example, index)

    def _begin(self, places: Array) -> None:
        """Those up to `window` examples after these; who starts in the middle of the order skips what comes before."""
        self._next = max(self._next, int(places.min()) - self.window)
        end = min(len(self._order), int(places.max()) + 1 + self.window)
        for i in map(int, self._order[self._next : end]):
            self._begun[i] = self._submit(i)
        self._next = max(self._next, end)


def parts(inputs: OnDemand, indices: Array) -> Iterator[Array]:
    """The examples of these indices, a few at a time."""
    ahead = Ahead(inputs)
    ahead.plan(indices)
    for first in range(0, len(indices), FEWEST):
        yield ahead[indices[first : first + FEWEST]]


def read_all(inputs: OnDemand) -> Array:
    """All examples, (N, *input_shape)."""
    everything = np.empty(inputs.shape, inputs.dtype)
    for number, part in enumerate(parts(inputs, np.arange(len(inputs)))):
        everything[number * FEWEST :][: len(part)] = part
    return everything
