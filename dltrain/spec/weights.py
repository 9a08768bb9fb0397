"""`load` and `trainable` of a config: start values from a file or a run, and what training leaves alone."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dltrain.errors import RunError, SettingError
from dltrain.job.start import Start
from dltrain.metrics.row import figures_in
from dltrain.nn import Layer, Network, Networks
from dltrain.run.checkpoint import weights_sha256
from dltrain.run.find import find_run
from dltrain.spec.load import load as load_config
from dltrain.spec.nodes import allowed
from dltrain.spec.runspec import RunSpec
from dltrain.spec.shipped import is_config
from dltrain.weights.files import file_of, is_torch, is_weights_file, read_weights
from dltrain.weights.match import LoadSettings, Match, match, name_pattern

RUNS = Path("runs")


class NothingThere(SettingError):
    """What a config loads has not been trained here yet, or is not installed."""


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
    arrays, is_theirs, load, figures = _read(load, setting, prefix)
    torch = load.layout == "torch" or (load.layout == "auto" and is_theirs)
    found = replace(match(network, arrays, load, setting, torch, prefix), figures=figures)
    if load.sha256 is not None and (now := weights_sha256(found.arrays)) != load.sha256:
        what = f"the values in {load.path} have SHA-256 {now[:16]}…, not what is written here: they have changed"
        raise SettingError(f"{setting}.sha256", what)
    return found


def _read(load: LoadSettings, setting: str, prefix: str) -> tuple[dict[str, Any], bool, LoadSettings, dict[str, Any]]:
    """The arrays, whether they are PyTorch's, how they are to be read, and the figures of the run they are from."""
    path = file_of(load.path)
    if is_weights_file(path):
        if not path.exists():
            raise NothingThere(f"{setting}.path", _missing_file(load.path, path))
        return read_weights(path), is_torch(path), load, {}
    try:
        run = find_run(load.path, RUNS)
    except RunError as error:
        if not is_config(load.path):
            what = f"{load.path} is neither a file of weights (.safetensors, .npz, .pth, .pt) nor a run: {error}"
            raise SettingError(f"{setting}.path", what) from None
        model = load_config(load.path).model
        if model is None or model.load is None:
            what = f"{load.path} has not been trained here; train it first: dltrain fit {load.path}"
            raise NothingThere(f"{setting}.path", what) from None
        names = {**(load.names or {}), **(model.load.names or {})}
        return _read(replace(model.load, names=names, strict=load.strict, sha256=load.sha256), setting, prefix)
    arrays = run.checkpoint(load.checkpoint).answering
    if own := {name: array for name, array in arrays.items() if prefix and name.startswith(prefix)}:
        arrays = {name.removeprefix(prefix): array for name, array in own.items()}
    status = run.status()
    figures = {split: figures_in(status[split]) for split in ("validation", "test") if status.get(split)}
    return arrays, False, load, figures


def _missing_file(text: str, path: Path) -> str:
    if text != str(path):
        return f"{text.partition(':')[0]} is not installed; pip install '.[style]' from the checkout brings it"
    return f"{path}: no such file (a path is taken from the folder where the command runs)"


def start_of(
    path: str, setting: str, found: Match, model: Network | Networks, lr_factors: Mapping[str, float]
) -> Start:
    """path: what was loaded. setting: `model.load` or `networks.NAME.load`. lr_factors: of all updates."""
    network, name, prefix = model, "model", ""
    if isinstance(model, Networks):
        name = setting.split(".")[1]
        network, prefix = model.networks[name], f"{name}."
    assert isinstance(network, Network)
    layers = {layer.name: layer for layer in network.layers}
    rows = [(*row, _training(layers[row[0]], lr_factors)) for row in found.rows(network, prefix)]
    return Start(name, path, found.figures, f"start values from {path}: {found}", tuple(rows))


def _training(layer: Layer, lr_factors: Mapping[str, float]) -> str:
    trained = [f"{layer.name}.{name}" for name, parameter in layer.parameters.items() if parameter.trainable]
    if not trained:
        return "stays"
    factor = lr_factors.get(trained[0])
    return "trained" if factor is None else f"trained, lr · {factor:g}"


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
