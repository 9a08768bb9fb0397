"""Where the time of training steps goes, for `fit --profile`: by layer and op, forward and backward, and outside ops.

A step is measured as it really runs, replayed where it would be: see dltrain/spans.py. The bits are the same.
On a GPU an op only starts its work: there these are times of starting.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dltrain import spans
from dltrain.job.job import Job
from dltrain.spans import WAITING, Recorder, Span
from dltrain.train.loop import LOG, STEP
from dltrain.train.step import why_eager

Row = dict[str, Any]

WARM_UP = 5  # steps that are left out: the first ones are captured, and wait for memory
STEPS = 20  # steps that are kept


class Profile:
    """Keeps the first WARM_UP + STEPS steps of a training; the report leaves out the first ones, at most half.

    reasons: what goes through Python in every step -> why.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._spans: list[Span] = []
        self._steps = 0
        self._layers: list[str] = []

    @contextmanager
    def watching(self, job: Job) -> Iterator[None]:
        """Inside, the training of this job is timed. One profile of one training at a time."""
        self._layers = [layer.name for layer in job.model.layers]
        if reason := why_eager(job):
            self.not_captured("the step", reason)
        spans.watcher = self
        try:
            yield
        finally:
            spans.watcher = None

    def begin(self, part: str) -> Recorder | None:
        self._steps += part == STEP
        return self._spans.append if self._steps <= WARM_UP + STEPS else None

    def not_captured(self, what: Any, reason: str) -> None:
        self.reasons[what] = reason

    # --- what was found ---------------------------------------------------------------------------------------

    def report(self) -> Row:
        """Milliseconds a step: {"steps", "threads", "wall_ms", "busy_ms", "not_captured", "rows"}.

        not_captured: what goes through Python in every step instead of being replayed -> why.
        wall_ms: a step with its log. busy_ms: what its threads worked in that time, together; the rows add up to it.
        A row: {"layer", "what", "calls", "forward_ms", "backward_ms", "ms", "share"}, calls being forward ones (of C,
        where the step is replayed); null for what does not apply.
        """
        found, steps = self._kept()
        wall = sum(span.end - span.start for span in found if span.label.what in (STEP, LOG))
        working = [span for span in found if span.label.what != WAITING]
        busy = sum(span.own for span in working)
        groups: dict[tuple[str, str], list[Span]] = {}
        for span in working:
            groups.setdefault((span.label.layer, span.label.what), []).append(span)
        order = {layer: i for i, layer in enumerate([*self._layers, "loss"])}
        per_step = 1e6 * max(1, steps)

        def row(layer: str, what: str, group: list[Span]) -> Row:
            own = {"forward": 0.0, "backward": 0.0, "": 0.0}
            for span in group:
                own[span.label.phase] += span.own / per_step
            total, is_op = sum(s.own for s in group), any(s.label.phase for s in group)
            return {
                "layer": layer or None,
                "what": what,
                "calls": round(sum(s.label.phase != "backward" for s in group) / max(1, steps), 2),
                "forward_ms": own["forward"] if is_op else None,
                "backward_ms": own["backward"] if is_op else None,
                "ms": total / per_step,
                "share": total / busy,
            }

        rows = [row(layer, what, group) for (layer, what), group in groups.items()]
        rows.sort(key=lambda row: (order.get(row["layer"], len(order)), -row["ms"]))
        return {
            "steps": steps,
            "threads": len({span.thread for span in working}),
            "wall_ms": wall / per_step,
            "busy_ms": busy / per_step,
            "not_captured": self.reasons,
            "rows": rows,
        }

    def trace(self) -> Row:
        """The same calls one by one, in Chrome's trace event format, which Perfetto (ui.perfetto.dev) opens."""
        found, _ = self._kept()
        threads = {ident: number for number, ident in enumerate(dict.fromkeys(s.thread for s in self._by_start(found)))}
        first = min((span.start for span in found), default=0)
        names = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": f"thread {number}"}}
            for number in threads.values()
        ]
        calls = [
            {
                "ph": "X",
                "name": f"{span.label.layer} {span.label.what} {span.label.phase}".strip(),
                "cat": span.label.phase or "outside ops",
                "pid": 1,
                "tid": threads[span.thread],
                "ts": (span.start - first) / 1000,
                "dur": (span.end - span.start) / 1000,
            }
            for span in self._by_start(found)
        ]
        return {"traceEvents": names + calls, "displayTimeUnit": "ms"}

    def _kept(self) -> tuple[list[Span], int]:
        """The calls of the steps that count, and how many steps these are."""
        starts = sorted(span.start for span in self._spans if span.label.what == STEP)
        left_out = min(WARM_UP, len(starts) // 2)
        begin = starts[left_out] if starts else 0
        return [span for span in self._spans if span.start >= begin], len(starts) - left_out

    @staticmethod
    def _by_start(found: list[Span]) -> list[Span]:
        return sorted(found, key=lambda span: (span.start, -span.end))
