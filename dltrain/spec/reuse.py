"""`load` without `layers`: a network that is reused with the layers that it had, from a run or from another config."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

from dltrain.errors import ConfigError, DltrainError, RunError
from dltrain.run.find import find_run
from dltrain.spec.blocks import LIST, networks_in
from dltrain.spec.nodes import Mapping, Place, Problems, Scalar
from dltrain.spec.shipped import is_config, shipped_configs
from dltrain.weights.files import is_weights_file

RUNS = Path("runs")
COPIED = ("activation", "init", LIST)  # of what is reused; in the list every layer has all that it needs
MOST_DEEP = 5  # configs that reuse each other
Read = Callable[[Path], Mapping]


def is_of_load(path: str) -> bool:
    """Whether an override says what is loaded: `networks.eye.load.path`."""
    keys = path.lstrip("+~").split(".")
    return "load" in keys[1:3]


class Reuse:
    """Puts the layers of what is loaded into networks that have none of their own. read: a config file -> its tree.
    runs: the folder of the runs that names mean; where it is not the usual one, their paths take the place of names."""

    def __init__(self, read: Read, runs: Path):
        self.read, self.runs = read, runs
        self.taken: dict[str, str] = {}  # network -> from where

    def fill_in(self, root: Mapping, problems: Problems) -> None:
        """Doing it again changes only what is loaded from elsewhere by now."""
        for path, network in networks_in(root).items():
            load = network.entries.get("load")
            if isinstance(load, Mapping) and self.runs != RUNS:
                self._find(load)
            text = load.word("path") if isinstance(load, Mapping) else None
            if text is None or (network.holds(LIST) and self.taken.get(path, text) == text):
                continue
            assert isinstance(load, Mapping)
            try:
                self._copy(text, path, network, load.entries["path"].place)
            except DltrainError as error:
                what = error.problems[0] if isinstance(error, ConfigError) else str(error)
                problems.add(load.entries["path"].place, f"{path}.load.path", what)
                continue
            self.taken[path] = text

    def _find(self, load: Mapping) -> None:
        text = load.word("path")
        if text is None or is_weights_file(Path(text)):
            return
        with suppress(RunError):  # else it may be a config
            place = load.entries["path"].place
            load.entries["path"] = Scalar(place, str(find_run(text, self.runs).path))

    def _copy(self, text: str, path: str, network: Mapping, place: Place) -> None:
        file = origin(text)
        found, name = networks_in(self.read(file)), path.partition(".")[2]
        chosen = found.get("model") or found.get(path)
        if chosen is None:
            there = ", ".join(each.partition(".")[2] for each in found)
            wanted = f"none of them is called {name!r}" if name else "a `model` reuses one that was trained alone"
            raise ConfigError(f"{text} has the networks {there}; {wanted}")
        for key in COPIED:
            network.put(key, chosen.key_places.get(key, place), deepcopy(chosen.entries[key]))


def origin(text: str) -> Path:
    """The config of a run, or the config of that name or path, whose layers a network is to have. Raises ConfigError
    for what has none."""
    if is_weights_file(Path(text)):
        raise ConfigError(f"{text}: a file of weights says nothing of layers; write them down as `layers`")
    try:
        return find_run(text, RUNS).config
    except RunError as error:
        if is_config(text):
            return shipped_configs().get(text, Path(text))
        raise ConfigError(f"{text} is neither a run nor a config: {error}") from None
