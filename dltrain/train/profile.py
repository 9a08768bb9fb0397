"""Where the time of training steps goes, for `fit --profile`: by layer and op, forward and backward, and outside ops.

For as long as a profile watches, timed functions stand in for those it knows: every op, the layers, and the stages of
a step in `STAGES`. Without a profile nothing is in the way and nothing is slower. The bits are the same either way.

A time is a thread's own: what happens inside another timed function counts there and not here. So the rows add up to
the time that all threads together were busy. On a GPU an op only starts its work: there these are times of starting.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from time import perf_counter_ns
from typing import Any

from dltrain.backend import eager
from dltrain.engine import OPS
from dltrain.train import loader, loop, parallel, step
from dltrain.train.job import Job

Row = dict[str, Any]
Function = Callable[..., Any]

WARM_UP = 5  # steps that are left out: the first ones wait for memory
STEPS = 20  # steps that are kept

STEP, LOG, WAITING = "checks and probes", "log", "waiting for threads"
STAGES: tuple[tuple[Any, str, str], ...] = (  # (where it is looked up, its name there, what a row calls it)
    (step, "shard_sums", "graph and layers in Python"),
    (loader.DataLoader, "examples", "batch"),
    (loader, "random_words", "random numbers"),
    (step, "random_words", "random numbers"),
    (step, "observe", "diagnostics"),
    (parallel, "add", "tree sums"),
    (parallel.ThreadPool, "tree_sum", WAITING),
    (step, "_square", "norms"),
    (step, "penalise", "penalty"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """One call: from start to end in ns; `own` is what of it was spent in no other timed call.

    what: an op or a stage. layer: for whom, "" for nobody in particular. phase: forward, backward or "" outside ops.
    """

    what: str
    layer: str
    phase: str
    thread: int
    start: int
    end: int
    own: int


class _Here(threading.local):
    """What a thread is in the middle of. inside: ns that calls within the running one took."""

    layer = ""
    inside = 0


class Profile:
    """Keeps the first WARM_UP + STEPS steps of a training; the report leaves out the first ones, at most half."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._steps = 0
        self._on = False
        self._here = _Here()
        self._layers: list[str] = []
        self._repeated = False

    @contextmanager
    def watching(self, job: Job) -> Iterator[None]:
        """Inside, the training of this job is timed. One profile of one training at a time."""
        self._layers = [layer.name for layer in job.model.layers]
        with ExitStack() as stack:

            def put(owner: Any, name: str, timed: Function, *arguments: str) -> None:
                stack.enter_context(_replaced(owner, name, timed(getattr(owner, name), *arguments)))

            for name, function in OPS.items():
                put(function, "__wrapped__", self._op, name)
            for kind in {type(layer) for layer in job.model.layers}:
                put(kind, "__call__", self._for_layer)
            put(type(job.loss), "__call__", self._for_layer, "loss")
            for owner, name, what in STAGES:
                put(owner, name, self._stage, what)
            self._repeated = step.replay_for(job) is not eager
            stack.enter_context(_replaced(loop, "replay_for", lambda job: eager))  # no op is called in a replay
            put(type(job.optimizer), "update_one", self._stage, "update")
            put(loop, "train_step", self._part_of_step, STEP)
            put(loop, "log_step", self._part_of_step, LOG)
            yield

    # --- timed functions --------------------------------------------------------------------------------------

    def _measure(self, function: Function, what: str, layer: str, phase: str, arguments: Any, settings: Row) -> Any:
        here = self._here
        around, here.inside = here.inside, 0
        start = perf_counter_ns()
        try:
            return function(*arguments, **settings)
        finally:
            end = perf_counter_ns()
            self._spans.append(Span(what, layer, phase, threading.get_ident(), start, end, end - start - here.inside))
            here.inside = around + end - start

    def _op(self, function: Function, name: str) -> Function:
        """The array function of an op; the functions that carry gradients back are timed as they are handed out."""

        @wraps(function)
        def timed(*arrays: Any, **settings: Any) -> Any:
            if not self._on:
                return function(*arrays, **settings)
            layer = self._here.layer
            y, vjps = self._measure(function, name, layer, "forward", arrays, settings)

            def backward(vjp: Function) -> Function:
                return lambda *g: self._measure(vjp, name, layer, "backward", g, {})

            return y, backward(vjps) if callable(vjps) else tuple(map(backward, vjps))

        return timed

    def _for_layer(self, function: Function, name: str = "") -> Function:
        """Says for whom the ops inside work: for `name`, or for the layer that is called."""

        @wraps(function)
        def named(layer: Any, *arguments: Any, **settings: Any) -> Any:
            before = self._here.layer
            self._here.layer = name or layer.name or before
            try:
                return function(layer, *arguments, **settings)
            finally:
                self._here.layer = before

        return named

    def _stage(self, function: Function, what: str) -> Function:
        @wraps(function)
        def timed(*arguments: Any, **settings: Any) -> Any:
            if not self._on:
                return function(*arguments, **settings)
            return self._measure(function, what, self._here.layer, "", arguments, settings)

        return timed

    def _part_of_step(self, function: Function, what: str) -> Function:
        """Only within these is anything timed: evaluation runs the same ops."""
        stage = self._stage(function, what)

        @wraps(function)
        def timed(*arguments: Any, **settings: Any) -> Any:
            self._steps += what == STEP
            self._on = self._steps <= WARM_UP + STEPS
            try:
                return stage(*arguments, **settings)
            finally:
                self._on = False

        return timed

    # --- what was found ---------------------------------------------------------------------------------------

    def report(self) -> Row:
        """Milliseconds a step: {"steps", "threads", "wall_ms", "busy_ms", "repeated", "rows"}.

        repeated: whether such steps, without a profile, would need Python only once.
        wall_ms: a step with its log. busy_ms: what its threads worked in that time, together; the rows add up to it.
        A row: {"layer", "what", "calls", "forward_ms", "backward_ms", "ms", "share"}, calls being forward ones;
        null for what does not apply.
        """
        spans, steps = self._kept()
        wall = sum(span.end - span.start for span in spans if span.what in (STEP, LOG))
        working = [span for span in spans if span.what != WAITING]
        busy = sum(span.own for span in working)
        groups: dict[tuple[str, str], list[Span]] = {}
        for span in working:
            groups.setdefault((span.layer, span.what), []).append(span)
        order = {layer: i for i, layer in enumerate([*self._layers, "loss"])}
        per_step = 1e6 * max(1, steps)

        def row(layer: str, what: str, group: list[Span]) -> Row:
            own = {phase: sum(s.own for s in group if s.phase == phase) / per_step for phase in ("forward", "backward")}
            total, is_op = sum(s.own for s in group), any(s.phase for s in group)
            return {
                "layer": layer or None,
                "what": what,
                "calls": round(sum(s.phase != "backward" for s in group) / max(1, steps), 2),
                "forward_ms": own["forward"] if is_op else None,
                "backward_ms": own["backward"] if is_op else None,
                "ms": total / per_step,
                "share": total / busy,
            }

        found = [row(layer, what, group) for (layer, what), group in groups.items()]
        found.sort(key=lambda row: (order.get(row["layer"], len(order)), -row["ms"]))
        return {
            "steps": steps,
            "threads": len({span.thread for span in working}),
            "wall_ms": wall / per_step,
            "busy_ms": busy / per_step,
            "repeated": self._repeated,
            "rows": found,
        }

    def trace(self) -> Row:
        """The same calls one by one, in Chrome's trace event format, which Perfetto (ui.perfetto.dev) opens."""
        spans, _ = self._kept()
        threads = {ident: number for number, ident in enumerate(dict.fromkeys(s.thread for s in self._by_start(spans)))}
        first = min((span.start for span in spans), default=0)
        names = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": f"thread {number}"}}
            for number in threads.values()
        ]
        calls = [
            {
                "ph": "X",
                "name": f"{span.layer} {span.what} {span.phase}".strip(),
                "cat": span.phase or "outside ops",
                "pid": 1,
                "tid": threads[span.thread],
                "ts": (span.start - first) / 1000,
                "dur": (span.end - span.start) / 1000,
            }
            for span in self._by_start(spans)
        ]
        return {"traceEvents": names + calls, "displayTimeUnit": "ms"}

    def _kept(self) -> tuple[list[Span], int]:
        """The calls of the steps that count, and how many steps these are."""
        starts = sorted(span.start for span in self._spans if span.what == STEP)
        left_out = min(WARM_UP, len(starts) // 2)
        begin = starts[left_out] if starts else 0
        return [span for span in self._spans if span.start >= begin], len(starts) - left_out

    @staticmethod
    def _by_start(spans: list[Span]) -> list[Span]:
        return sorted(spans, key=lambda span: (span.start, -span.end))


_ABSENT = object()


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """owner.name is value inside; afterwards as before, also where the owner had inherited it."""
    before = vars(owner).get(name, _ABSENT)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
