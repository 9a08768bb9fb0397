"""What advice the shipped configs get when they are trained to their end: python benchmarks/advice.py [RUNS [CONFIG …]]
→ results/advice.json

Runs that are in the folder RUNS already are not trained again; of configs that are not named, what was found before is
kept. Needs CIFAR-10 and MNIST below DLTRAIN_DATA.
"""

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from record import RESULTS, write

import dltrain
from dltrain.errors import DivergedError
from dltrain.report.record import Record
from dltrain.run.rundir import RunDir, all_runs
from dltrain.spec import load, shipped_configs


def trained(name: str, runs: Path) -> RunDir:
    """A whole training of the config, of which `runs` may have one."""
    for run in all_runs(runs):
        if run.path.name[16:] == name and run.status()["status"] in ("done", "diverged"):
            return run
    with suppress(DivergedError):
        dltrain.load(name).fit(runs_dir=runs)
    return all_runs(runs)[-1]


def main() -> None:
    named = sys.argv[2:]
    found = json.loads((RESULTS / "advice.json").read_text())["configs"] if named else {}
    with tempfile.TemporaryDirectory() as fresh:
        runs = Path(sys.argv[1] if len(sys.argv) > 1 else fresh)
        for name, path in shipped_configs().items():
            if load(path).data is not None and name in (named or shipped_configs()):
                found[name] = {advice.rule: advice.text for advice in Record.read(trained(name, runs)).advice}
                print(name, found[name], flush=True)
    write("advice", {"configs": found})


if __name__ == "__main__":
    main()
