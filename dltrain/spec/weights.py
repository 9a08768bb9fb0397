"""`load` and `trainable` of a config: start values from a file or a run, and what training leaves alone."""

from pathlib import Path

from dltrain.errors import RunError, SettingError
from dltrain.nn import Network, Networks
from dltrain.run.checkpoint import weights_sha256
from dltrain.run.find import find_run
from dltrain.spec.nodes import allowed
from dltrain.spec.runspec import RunSpec
from dltrain.weights.files import is_torch, is_weights_file, read_weights
from dltrain.weights.match import LoadSettings, Match, match, name_pattern

RUNS = Path("runs")


def loads_of(spec: RunSpec) -> dict[str, LoadSettings]:
    """Where the config loads start values, `model.load` or `networks.NAME.load` -> what it says."""
    parts = {"model": spec.model} if spec.model else {f"networks.{k}": v for k, v in (spec.networks or {}).items()}
    return {f"{path}.load": part.load for path, part in parts.items() if part.load is not None}


def start_values(model: Network | Networks, loads: dict[str, LoadSettings]) -> dict[str, Match]:
    """Setting -> what is loaded there. Raises SettingError, DataError, RunError."""
    found = {}
    for setting, load in loads.items():
        if isinstance(model, Networks):
            name = setting.split(".")[1]
            found[setting] = start_from(model.networks[name], load, setting, f"{name}.")
        else:
            found[setting] = start_from(model, load, setting)
    return found


def start_from(network: Network, load: LoadSettings, setting: str, prefix: str = "") -> Match:
    """What a network starts from where values of a file or a run are loaded.

    setting: where the config says so. prefix: of all its layers, which the config and the file do not write. Raises
    SettingError where there is nothing to load or it does not fit, DataError and RunError for what is damaged.
    """
    path = Path(load.path)
    if is_weights_file(path) and not path.exists():
        what = f"{path}: no such file (a path is taken from the folder where the command runs)"
        raise SettingError(f"{setting}.path", what)
    if is_weights_file(path):
        arrays, is_theirs = read_weights(path), is_torch(path)
    else:
        try:
            run = find_run(load.path, RUNS)
        except RunError as error:
            what = f"{load.path} is neither a file of weights (.safetensors, .npz, .pth, .pt) nor a run: {error}"
            raise SettingError(f"{setting}.path", what) from None
        arrays, is_theirs = run.checkpoint(load.checkpoint).answering, False
    torch = load.layout == "torch" or (load.layout == "auto" and is_theirs)
    found = match(network, arrays, load, setting, torch, prefix)
    if load.sha256 is not None and (now := weights_sha256(found.arrays)) != load.sha256:
        what = f"the values in {load.path} have SHA-256 {now[:16]}…, not what is written here: they have changed"
        raise SettingError(f"{setting}.sha256", what)
    return found


def freeze(network: Network, trainable: bool | tuple[str, ...], setting: str, prefix: str = "") -> None:
    """Leave alone in training all layers but those that these patterns name, with `*` for any text. Raises SettingError
    for a pattern that fits no layer.

    prefix: of all names of layers, which patterns do not write.
    """
    if trainable is True:
        return
    if not trainable:
        network.freeze()
        return
    patterns = {text: name_pattern(text, setting) for text in trainable}
    names = {layer.name.removeprefix(prefix): layer for layer in network.layers}
    for name, layer in names.items():
        if not any(pattern.fullmatch(name) for pattern in patterns.values()):
            layer.freeze()
    weighty = [name for name, layer in names.items() if layer.parameters]
    for text, pattern in patterns.items():
        if not any(map(pattern.fullmatch, weighty)):
            raise SettingError(setting, f"no layer with parameters is called {text!r}{allowed(text, weighty)}")
