"""A little of what `tools/endurance` does in great numbers: processes and disks that die, files from strangers."""

import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from endurance.harness import Child, Place
from endurance.run import PARTS, table

from dltrain.train import loop


@pytest.mark.parametrize("name", [name for name, part in PARTS.items() if part.few])
def test_a_few(name: str, tmp_path: Path) -> None:
    seed = time.time_ns() % 10**9
    print("seed", seed)
    assert PARTS[name].check(PARTS[name].few, seed, tmp_path)


def test_out_of_memory(tmp_path: Path) -> None:
    place = Place(tmp_path)

    def begin() -> int:
        plain = loop.train_step

        def hungry(*args: Any) -> Any:
            if args[4].step == 8:
                resource.setrlimit(resource.RLIMIT_AS, (1 << 34, 1 << 34))
                np.empty(1 << 36)
            return plain(*args)

        loop.train_step = hungry
        return place.begin()

    code, told, _ = Child(begin).wait()
    assert code == 1 and told.startswith("error: out of memory (") and len(told.split("error: ")) == 2
    run = place.only_run()
    assert run.status()["status"] == "failed" and run.checkpoint("last").position.step == 6
    place.finish()


def test_a_second_signal_in_the_same_moment_ends_it_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    both = (signal.SIGINT, signal.SIGTERM)

    def begin() -> int:
        plain = loop.train_step

        def interrupted(*args: Any) -> Any:
            if args[4].step == 8:
                signal.pthread_sigmask(signal.SIG_BLOCK, both)
                for number in both:
                    signal.raise_signal(number)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
            return plain(*args)

        loop.train_step = interrupted
        return place.begin()

    code, told, _ = Child(begin).wait()
    assert code == -signal.SIGTERM and told == ""
    place.finish()


def test_security_says_what_was_found() -> None:
    security = (Path(__file__).parent.parent / "SECURITY.md").read_text(encoding="utf-8")
    assert table() in security, "run `python tools/endurance/run.py` and put its table there"
    assert all(f"`{part}`" in security for part in PARTS)
