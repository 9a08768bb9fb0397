"""The judges that `metrics.pictures` names: networks of other runs."""

import logging
from pathlib import Path

from dltrain.errors import ConfigError, RunError
from dltrain.job.judge import Judge
from dltrain.run.find import find_run
from dltrain.run.rundir import GROUP, RunDir
from dltrain.spec.job import restore
from dltrain.spec.paths import join
from dltrain.spec.runspec import RunSpec
from dltrain.spec.shipped import shipped_configs

warn = logging.getLogger("dltrain").warning


def find_judges(spec: RunSpec, runs: Path, device_name: str, smoke: bool = False) -> dict[str, Judge]:
    """The networks that figures are judged by, by the names that the config has for their runs. Raises ConfigError
    where there is no such run; a smoke test does without, and says so."""
    if (runs / GROUP).is_file():  # the runs of a group are judged by one beside it
        runs = runs.parent
    judges: dict[str, Judge] = {}
    for component in spec.figures:
        name, path = component.settings.get("in"), join(component.path, "in")
        if name is None or name in judges:
            continue
        try:
            run = find_run(name, runs)
        except RunError as error:
            command = f"dltrain fit {name}" if name in shipped_configs() else f"dltrain fit CONFIG --name {name}"
            what = f"{path}: {error}; it judges pictures, so train it first: {command}"
            if not smoke:
                raise ConfigError(f"{spec.position(path)}  {what}") from None
            warn(f"left out, {what}")
            continue
        judges[name] = _judge(name, run, device_name)
    return judges


def _judge(name: str, run: RunDir, device_name: str) -> Judge:
    found = restore(run, "last", device_name)
    learned, size = found.checkpoint.preprocessing, found.spec.train.batch_size
    return Judge(name, run.path, found.network, found.loss, learned, found.device, size)
