"""How many threads are fastest? Found out in the first steps, for no bit depends on it.

Small networks are done before several threads have been woken, and the cores of a virtual machine may be one in two
guises.
"""

from collections.abc import Callable
from statistics import median

from dltrain.train.shards import Crew

WARM_UP = 2  # steps that find the caches and the heap empty
TURNS = 4  # steps of each kind, in turn
FASTER = 0.95  # of the time, or it was chance


class Pace:
    """Halves the threads of a crew as long as that is faster. chosen: None until that is known, and then told."""

    def __init__(self, crew: Crew, tell: Callable[[str], None]):
        self.crew, self.all, self.tell = crew, crew.threads, tell
        self.chosen: int | None = None
        self._warm_up = WARM_UP
        self._try(crew.threads)

    def stepped(self, seconds: float) -> None:
        """A step of the usual size took so long."""
        if self.chosen is not None:
            return
        if self._warm_up:
            self._warm_up -= 1
            return
        self._seconds[self.crew.threads].append(seconds)
        self.crew.threads = self._fewer if self.crew.threads == self._most else self._most
        times = [self._seconds[count] for count in (self._most, self._fewer)]
        if min(map(len, times)) == TURNS:
            most, fewer = map(median, times)
            if fewer < FASTER * most:
                self._try(self._fewer)
            else:
                self._choose(self._most)

    def _try(self, most: int) -> None:
        self.crew.threads = self._most = most
        self._fewer = most // 2
        self._seconds: dict[int, list[float]] = {self._most: [], self._fewer: []}
        if self._fewer == 0:
            self._choose(most)

    def _choose(self, threads: int) -> None:
        self.crew.threads = self.chosen = threads
        if threads < self.all:
            self.tell(f"goes on with threads: {threads} instead of {self.all}, which is faster here")
