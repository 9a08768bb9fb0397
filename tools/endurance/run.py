"""`python tools/endurance/run.py PART… [--count N] [--seed N]`: checks in their full number; writes results/PART.json.

A result is written only by a check that held throughout. Without a part it prints SECURITY.md's table.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "tests")]

from dltrain import __version__  # noqa: E402
from endurance import damage, death, disk, net, payloads, ranks, sweeps  # noqa: E402


class Part(NamedTuple):
    """check: called with a count, a seed and an empty folder, it gives what it found. full, few: the count in full, and
    in the tests."""

    check: Callable[[int, int, Path], dict[str, Any]]
    full: int
    few: int


PARTS = {
    "kills": Part(death.kills, 1000, 8),
    "signals": Part(death.signals, 100, 4),
    "ranks": Part(ranks.failures, 100, 0),
    "sweeps": Part(sweeps.kills, 500, 12),
    "failures": Part(disk.failures, 1, 15),
    "power": Part(disk.power, 2000, 60),
    "limits": Part(disk.limits, 50, 3),
    "full": Part(disk.full, 1, 0),
    "checkpoints": Part(damage.checkpoints, 20_000, 300),
    "configs": Part(damage.configs, 10_000, 40),
    "data": Part(damage.data, 5_000, 100),
    "weights": Part(damage.weights, 5_000, 100),
    "payloads": Part(payloads.check, 2, 50),
    "downloads": Part(net.downloads, 500, 20),
    "archives": Part(net.archives, 1, 1),
}


def table() -> str:
    """The rows of the table in SECURITY.md, from the results that are kept."""
    rows = []
    for part in PARTS:
        path = HERE / "results" / f"{part}.json"
        if path.is_file():
            kept = json.loads(path.read_text())
            found = "; ".join(f"{key}: {_plain(value)}" for key, value in kept["found"].items())
            rows.append(f"| `{part}` | {found} | {kept['seed']} | {kept['date']} | {kept['version']} |")
    return "\n".join(rows)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {key}" for key, count in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--count", type=int, help="a smaller number, for a try; nothing is written then")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    arguments = parser.parse_args()
    if not arguments.parts:
        print(table())
    for part in arguments.parts:
        check, full, _ = PARTS[part]
        count = arguments.count or full
        print(f"{part}: {count} times, seed {arguments.seed}", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = check(count, arguments.seed, Path(folder))
        minutes = round((time.monotonic() - started) / 60, 1)
        print(f"{part}: {json.dumps(found)} in {minutes} minutes", flush=True)
        if count == full:
            about = {
                "part": part, "seed": arguments.seed, "date": f"{date.today()}", "version": __version__,
                "python": platform.python_version(), "minutes": minutes, "found": found,
            }  # fmt: skip
            (HERE / "results" / f"{part}.json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
