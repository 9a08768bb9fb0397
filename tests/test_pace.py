"""The number of threads that is found to be the fastest."""

from collections.abc import Callable
from pathlib import Path

import pytest
from builders import make_job, new_run

from dltrain.train import loop
from dltrain.train.callbacks import Callback
from dltrain.train.loop import fit
from dltrain.train.pace import TURNS, WARM_UP, Pace
from dltrain.train.shards import Crew

SECONDS: dict[str, tuple[Callable[[int], float], int]] = {
    "all are fastest": (lambda threads: 1 / threads, 8),
    "no difference": (lambda threads: 1, 8),
    "a difference by chance": (lambda threads: 1 + threads / 200, 8),
    "two": (lambda threads: abs(threads - 2) + 1, 2),
    "one": (lambda threads: threads, 1),
}


@pytest.mark.parametrize(("seconds", "expected"), SECONDS.values(), ids=SECONDS)
def test_what_is_chosen(seconds: Callable[[int], float], expected: int) -> None:
    crew, told = Crew(8), list[str]()
    pace = Pace(crew, told.append)
    for step in range(WARM_UP + 2 * TURNS * 3):
        pace.stepped(100 if step < WARM_UP else seconds(crew.threads))
    assert crew.threads == pace.chosen == expected
    assert told == ([f"goes on with threads: {expected} instead of 8, which is faster here"] if expected < 8 else [])


def test_one_slow_step_decides_nothing() -> None:
    crew = Crew(2)
    pace = Pace(crew, print)
    for step in range(WARM_UP + 2 * TURNS):
        assert pace.chosen is None
        pace.stepped(9 if step == WARM_UP else 1 / crew.threads)
    assert pace.chosen == 2


def test_nothing_to_choose_from() -> None:
    assert Pace(Crew(1), print).chosen == 1


def test_a_training_with_changing_threads_has_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used, plain = [], loop.train_step

    def watched(job: object, crew: Crew, *others: object) -> object:
        used.append(crew.threads)
        return plain(job, crew, *others)

    monkeypatch.setattr(loop, "train_step", watched)
    monkeypatch.setattr(loop, "available_cores", lambda: 4)
    found = [fit(make_job(), new_run(tmp_path), threads, Callback())["weights_sha256"] for threads in (None, 1)]
    assert found[0] == found[1]
    steps = len(used) // 2
    assert {4, 2} <= set(used[:steps]) and set(used[steps:]) == {1}
