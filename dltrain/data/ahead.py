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
RUN, RUN_BYTES = 16, 1 << 16  # at most so much does a thread make at a time: small examples are handed out together


class Ahead:
    """Hands out examples of `inputs` as `inputs[indices]` would, but makes those that come next in the meantime.

    What is announced by `plan` and asked for in about that order is there when it is wanted; what is not announced is
    made on the spot. Several threads may ask at once.
    """

    def __init__(self, inputs: OnDemand):
        self.inputs = inputs
        each = max(1, inputs.bytes_each)
        self.run = max(1, min(RUN, RUN_BYTES // each))  # examples
        self.window = max(FEWEST, WINDOW // each) // self.run  # in runs
        self._pool = ThreadPoolExecutor(available_cores(), "ahead")  # they end when this object does
        self._lock = Lock()
        self._order: Array = np.empty(0, np.intp)
        self._place = np.full(len(inputs), -1)  # of each example in the order
        self._next = 0  # the first run that is not begun
        self._begun: dict[int, Future[Array]] = {}  # by run, until all its examples are handed out
        self._left: dict[int, int] = {}  # examples of each of these that are not

    def plan(self, order: Array) -> None:
        """The examples will be asked for in about this order, each once."""
        with self._lock:
            for begun in self._begun.values():
                begun.cancel()
            self._begun, self._left = {}, {}
            self._order, self._next = order, 0
            self._place = np.full(len(self.inputs), -1)
            self._place[order] = np.arange(len(order))

    def __getitem__(self, indices: Array) -> Array:
        if self.inputs.quick:
            return self.inputs[indices]
        examples = np.empty((len(indices), *self.inputs.shape[1:]), self.inputs.dtype)
        for rows, made, which in self._requested(indices):
            examples[rows] = made.result()[which]
        return examples

    def _requested(self, indices: Array) -> list[tuple[Array, "Future[Array]", Array]]:
        """Rows of the answer, who makes them, and which of what that makes they are."""
        found = []
        with self._lock:
            places = self._place[indices]
            if len(self._order):
                self._begin(int(places.min()) // self.run, int(places.max()) // self.run)
            for run in np.unique(places // self.run):
                rows = np.flatnonzero(places // self.run == run)
                if run in self._begun:
                    found.append((rows, self._begun[run], places[rows] % self.run))
                    self._left[run] -= len(rows)
                    if self._left[run] <= 0:
                        del self._begun[run], self._left[run]
                else:
                    pieces = np.split(rows, range(self.run, len(rows), self.run))
                    found += [(piece, self._submit(indices[piece]), np.arange(len(piece))) for piece in pieces]
        return found

    def _submit(self, indices: Array) -> "Future[Array]":
        return self._pool.submit(lambda: np.stack([self.inputs.example(i) for i in map(int, indices)]))

    def _begin(self, first: int, last: int) -> None:
        """Those up to `window` runs after these; who starts in the middle of the order skips what comes before."""
        self._next = max(self._next, first - self.window)
        end = last + 1 + self.window
        for run in range(self._next, min(-(-len(self._order) // self.run), end)):
            members = self._order[run * self.run :][: self.run]
            self._begun[run], self._left[run] = self._submit(members), len(members)
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
