"""How far long work has come. Loops say what they go over, and a command that shows a bar watches them; where nobody
watches, that costs a look at a variable. For the main thread alone."""

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
Tell = Callable[[str, float], None]  # is given the outermost loop's name, and which share of it is done
_tell: Tell | None = None
_loops: list[list[float]] = []  # the loops that run now, each in the one before it: [items done, items]


@contextmanager
def watched(tell: Tell) -> Iterator[None]:
    """Inside, `tell` hears of every item of every loop."""
    global _tell
    _tell = tell
    _loops.clear()
    try:
        yield
    finally:
        _tell = None


def over(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """The items. what: names the loop, unless it runs inside another one, of whose item it then is the course. total:
    how many there are, where they have no length; the loop may end before."""
    if _tell is None:
        yield from items
        return
    known = len(items) if isinstance(items, Sized) else total
    loop = [0.0, float(max(1, known or 1))]
    _loops.append(loop)
    try:
        for item in items:
            _report(what)
            yield item
            loop[0] += 1
        _report(what)
    finally:
        _loops[:] = [other for other in _loops if other is not loop]


def _report(what: str) -> None:
    share, part = 0.0, 1.0
    for done, items in _loops:
        part /= items
        share += done * part
    if _tell is not None:
        _tell(what if len(_loops) == 1 else "", min(1.0, share))
