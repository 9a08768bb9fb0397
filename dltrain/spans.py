"""Named stretches of a training step, for `fit --profile`.

Code says what it does with `span` and `timed`, and for which layer with `in_layer`. A `watcher` is told how long each
took; without one they cost a look at a variable.

A span is a thread's own: time inside another span counts there. So the own times of all spans add up to the time that
all threads together were busy.
"""

import threading
from collections.abc import Callable, Iterable
from functools import wraps
from time import perf_counter_ns
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Label(NamedTuple):
    """what: an op or a part of a step. layer: for whom, "" for nobody in particular. phase: forward, backward or ""
    outside ops.
    """

    what: str = ""
    layer: str = ""
    phase: str = ""


class Span(NamedTuple):
    """From start to end, in ns; own: what of it was spent in no other span."""

    label: Label
    thread: int
    start: int
    end: int
    own: int


Recorder = Callable[[Span], None]
WAITING = "waiting for threads"  # what such a span's own time is: no work


class Watcher(Protocol):
    def begin(self, part: str) -> Recorder | None:
        """A part of a step begins. What records its spans; None where nobody wants them."""

    def not_captured(self, what: Any, reason: str) -> None:
        """What goes through Python in every step, and why."""


class _Here(threading.local):
    """What a thread is in the middle of. inside: ns that spans within the running one took."""

    layer = ""
    label = Label()
    inside = 0


_here = _Here()
watcher: Watcher | None = None
recorder: Recorder | None = None  # set while a part of a step runs that is recorded


class span:
    """with span("norms"): ..."""

    __slots__ = ("_around", "_record", "_start", "phase", "what")

    def __init__(self, what: str, phase: str = ""):
        self.what, self.phase = what, phase

    def __enter__(self) -> None:
        self._record = recorder
        if self._record is not None:
            self._around = _here.label, _here.inside
            _here.label, _here.inside = Label(self.what, _here.layer, self.phase), 0
            self._start = perf_counter_ns()

    def __exit__(self, *error: object) -> None:
        if self._record is not None:
            end = perf_counter_ns()
            taken = end - self._start
            self._record(Span(_here.label, threading.get_ident(), self._start, end, taken - _here.inside))
            _here.label, inside = self._around
            _here.inside = inside + taken


class part_of_step(span):
    """The outermost span. Nothing outside of one is recorded: evaluation runs the same ops."""

    __slots__ = ()

    def __enter__(self) -> None:
        global recorder
        if watcher is not None:
            recorder = watcher.begin(self.what)
        super().__enter__()

    def __exit__(self, *error: object) -> None:
        global recorder
        super().__exit__(*error)
        recorder = None


class in_layer:
    """with in_layer(name): what is inside works for this layer, or for that around it where there is no name."""

    __slots__ = ("_around", "name")

    def __init__(self, name: str):
        self.name = name

    def __enter__(self) -> None:
        self._around = _here.layer
        _here.layer = self.name or self._around

    def __exit__(self, *error: object) -> None:
        _here.layer = self._around


def timed(what: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function all of which is a span."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*arguments: P.args, **settings: P.kwargs) -> R:
            if recorder is None:
                return function(*arguments, **settings)
            with span(what):
                return function(*arguments, **settings)

        return call

    return decorate


def timed_op(function: Callable[..., Any], arrays: Iterable[Any], settings: dict[str, Any]) -> Any:
    """An op's (y, vjps), with the time of both ways recorded."""
    name, layer = function.__name__, _here.layer
    with span(name, "forward"):
        y, vjps = function(*arrays, **settings)

    def backward(vjp: Callable[..., Any] | None) -> Callable[..., Any] | None:
        if vjp is None:
            return None

        def call(*g: Any) -> Any:
            with in_layer(layer), span(name, "backward"):
                return vjp(*g)

        return call

    return y, backward(vjps) if callable(vjps) else tuple(map(backward, vjps))


def label() -> Label:
    """Of the innermost span of this thread."""
    return _here.label


def add_calls(labels: Iterable[Label], times: Iterable[int], now: int) -> None:
    """Spans that a replay has measured itself, one after the other.

    times: when each began and when the last one ended, in ns of any clock. now: the last of these by `perf_counter_ns`.
    """
    if recorder is None:
        return
    moments = list(times)
    ahead = now - moments[-1]
    for of, start, end in zip(labels, moments, moments[1:], strict=False):
        recorder(Span(of, threading.get_ident(), start + ahead, end + ahead, end - start))
    _here.inside += moments[-1] - moments[0]
