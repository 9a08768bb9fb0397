"""Tells open pages what has changed, and looks for it only while there is such a page."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from dltrain.serve.system import Meter
from dltrain.serve.views import MOST_CURVES
from dltrain.serve.watch import Watch

LOGS, SWEEP, SYSTEM = 0.1, 2.0, 1.0  # seconds between two looks at logs that are followed, at all runs, at the machine
HEARTBEAT = 10.0  # seconds after which a reader that has left is noticed
KEPT = 600  # samples of the machine
Event = tuple[str, Any]


class Events:
    """One thread looks, each page waits for what it has found."""

    def __init__(self, watch: Watch):
        self._watch = watch
        self._wanted: Counter[str] = Counter()
        self._pages = 0
        self._ended = threading.Event()
        self._meter = Meter()
        self._samples: list[Any] = []
        self._sampled = 0

    def stop(self) -> None:
        self._ended.set()
        with self._watch.changed:
            self._watch.changed.notify_all()

    def run(self) -> None:
        """Until `stop`."""
        swept = sampled = 0.0
        self._watch.sweep()  # while the browser starts
        while not self._ended.wait(LOGS):
            with self._watch.changed:
                if not self._pages:
                    continue
                wanted = set(self._wanted)
            now = time.monotonic()
            if now - swept >= SWEEP:
                self._watch.sweep()
                swept = now
            while self._watch.follow(wanted) and not self._ended.is_set():
                wanted = set(self._wanted)
            if now - sampled >= SYSTEM:
                self._sample()
                sampled = now

    def _sample(self) -> None:
        """Of the machine and of the runs that train on it."""
        here = socket.gethostname()
        with self._watch.changed:
            statuses = {key: listed.status for key, listed in self._watch.runs.items()}
        training = {
            key: status["pid"]
            for key, status in statuses.items()
            if status.get("status") == "running" and status.get("host") == here and type(status.get("pid")) is int
        }
        sample = self._meter.sample(training)
        with self._watch.changed:
            self._samples = [*self._samples[-KEPT + 1 :], sample]
            self._sampled += 1
            self._watch.changed.notify_all()

    def of(self, wanted: set[str], since: str) -> Iterator[Event]:
        """(name, content) for a page that shows the curves of `wanted` and knows all that was there at version `since`.
        An empty name is sent that the reader may be found gone."""
        wanted = set(sorted(wanted)[:MOST_CURVES])
        watch, seen = self._watch, int(since) if since.isdecimal() and len(since) < 16 else 0
        with watch.changed:
            self._pages += 1
            self._wanted.update(wanted)
            sampled = self._sampled - len(self._samples)
        try:
            while not self._ended.is_set():
                with watch.changed:
                    if watch.version == seen and self._sampled == sampled:
                        watch.changed.wait(HEARTBEAT)
                    news = self._news(wanted, seen, sampled)
                    seen, sampled = watch.version, self._sampled
                yield from news or [("", None)]
        finally:
            with watch.changed:
                self._pages -= 1
                self._wanted.subtract(wanted)
                self._wanted += Counter()

    def _news(self, wanted: set[str], seen: int, sampled: int) -> list[Event]:
        watch = self._watch
        news: list[Event] = []
        rows = [listed.row for listed in watch.runs.values() if listed.version > seen]
        gone = [key for key, version in watch.removed.items() if version > seen]
        if rows or gone:
            news.append(("runs", {"runs": rows, "gone": gone}))
        logs = [key for key in wanted if key in watch.runs and watch.runs[key].log_version > seen]
        if logs:
            news.append(("logs", logs))
        if self._sampled > sampled:
            news.append(("system", self._samples[-(self._sampled - sampled) :]))
        return news
