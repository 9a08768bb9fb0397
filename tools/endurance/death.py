"""Processes that are killed or asked to end at any moment."""

import random
import signal
import time
from pathlib import Path

from dltrain.errors import DltrainError
from endurance.harness import EVERY, Child, Place


def kills(count: int, seed: int, folder: Path) -> dict[str, int]:
    """kill -9 at random moments, every other one inside a save, of trainings that are continued until the next kill.

    After each, the training must go on, repeat at most the steps of one save interval, and end as if nothing had been.
    """
    rng = random.Random(seed)
    place = Place(folder)
    started = time.monotonic()
    Child(place.begin).wait()
    whole = time.monotonic() - started
    place.clear()
    killed = in_a_save = before_a_run = most_repeated = finished = 0
    while killed < count:
        child = Child(place.go_on)
        if rng.random() < 0.6:
            child.until("S", rng.randint(1, 8))
            time.sleep(rng.random() * 0.004)
        else:
            time.sleep(rng.random() * whole)
        child.kill()
        code, told, _ = child.wait()
        if code != -signal.SIGKILL:  # it was done before
            assert code == 0, told
            finished += 1
            place.finish()
            place.clear()
            continue
        killed += 1
        in_a_save += child.in_a_save
        if not place.has_run():
            before_a_run += 1
            continue
        run = place.only_run()
        try:
            saved = run.checkpoint("last").position.step if run.has_checkpoint() else 0
        except DltrainError as error:
            raise AssertionError(f"after kill {killed}: {error}") from None
        lines = [line for line in run.metrics.read_bytes().split(b"\n")[:-1] if b'"event": "step"' in line]
        most_repeated = max(most_repeated, len(lines) - saved)
        assert len(lines) - saved <= EVERY, f"{len(lines)} steps were logged and only {saved} saved"
        if rng.random() < 0.2:
            place.finish()
            place.clear()
    if place.has_run():
        place.finish()
    return {
        "kills": killed, "inside a save": in_a_save, "before there was a run": before_a_run,
        "most steps repeated": most_repeated, "steps between saves": EVERY, "unresumable": 0, "orphans": 0,
    }  # fmt: skip


def signals(count: int, seed: int, folder: Path) -> dict[str, float]:
    """SIGINT or SIGTERM while it trains: it ends in time with the documented code and goes on to the same end."""
    rng = random.Random(seed)
    place = Place(folder)
    slowest, second = 0.0, 0
    for _ in range(count):
        place.clear()
        number = rng.choice([signal.SIGINT, signal.SIGTERM])
        child = Child(place.begin)
        child.until("b", rng.randint(1, 14))
        time.sleep(rng.random() * 0.01)
        child.kill(number)
        twice = rng.random() < 0.3
        if twice:
            time.sleep(rng.random() * 0.003)
            child.kill(rng.choice([signal.SIGINT, signal.SIGTERM]))
        code, told, seconds = child.wait()
        slowest, second = max(slowest, seconds), second + twice
        run = place.only_run()
        if twice:  # the second one may come before the first was noted, after the end, or in between
            assert code in (130, 143, -signal.SIGTERM, 0) and "Traceback" not in told, told
        else:
            assert code == 128 + number and "is saved in" in told, told
            status = run.status()
            assert status["status"] == "interrupted"
            assert run.checkpoint("last").position.step == status["steps"] == child.events.count("b")
        assert seconds < 10
        place.finish()
    return {"signals": count, "followed by a second one": second, "slowest end in seconds": round(slowest, 2)}
