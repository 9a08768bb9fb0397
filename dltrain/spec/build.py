"""RunSpec -> the data set and the model that it describes. Shapes are settled here; no weights, no files of data."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from dltrain.data import MissingPath, Source
from dltrain.errors import ConfigError, SettingError, ShapeError
from dltrain.nn import Loss, Network
from dltrain.spec.network import build_network
from dltrain.spec.runspec import RunSpec
from dltrain.train.settings import CLASSES, NUMBERS

P = ParamSpec("P")
T = TypeVar("T")


def placed(build: Callable[Concatenate[RunSpec, P], T]) -> Callable[Concatenate[RunSpec, P], T]:
    """What is built from a spec says where a setting was written that does not suit the data, or leads nowhere."""

    @wraps(build)
    def with_place(spec: RunSpec, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return build(spec, *args, **kwargs)
        except SettingError as error:
            raise ConfigError(f"{spec.position(error.setting)}  {error}") from None
        except MissingPath as error:
            for key, value in spec.data.settings.items() if spec.data else ():
                if error.path and isinstance(value, str) and Path(value) == error.path:
                    error.args = (f"{spec.position(f'data.{key}')}  data.{key}: {error}",)
                    error.path, error.exit_code = None, 2
            raise

    return with_place


def build_source(spec: RunSpec) -> Source | None:
    """The data set, checked to suit its augmentations. None for a config without `data`. Raises ConfigError."""
    if spec.data is None:
        return None
    source: Source = spec.data.build()
    for number, augmentation in enumerate(spec.data.common["augment"]):
        try:
            augmentation.check(source.input_shape)
        except ShapeError as error:
            path = f"data.augment[{number}]"
            raise ConfigError(f"{spec.position(path)}  {path}: {error}") from None
    return source


@placed
def build_model(spec: RunSpec) -> Network:
    """The model for the config's data set, or for `model.input` where there is none.

    Raises ConfigError, with the position of the layer, where one does not fit or the last one does not suit the data.
    """
    source = build_source(spec)
    model = build_network(spec, source.input_shape if source else spec.model.input or ())
    if source:
        _check_outputs(spec, source, model.out_shape)
    return model


def _check_outputs(spec: RunSpec, source: Source, shape: tuple[int, ...]) -> None:
    assert spec.data
    loss, data, last = spec.loss.type, spec.data.type, spec.model.layers[-1]
    built: Loss = spec.loss.build()
    if built.classification != (source.classes is not None):
        has = "numbers to predict" if source.classes is None else f"{len(source.classes)} classes"
        wants = "classes" if source.classes is None else "numbers to predict"
        raise ConfigError(f"{spec.position('loss')}  loss: {loss} is for {wants}, but {data} has {has}")
    known = ("loss", *(NUMBERS if source.classes is None else CLASSES))
    for name in (spec.metrics.best, *spec.metrics.report):
        if name not in known:
            path = "metrics.best" if name == spec.metrics.best else "metrics.report"
            raise ConfigError(f"{spec.position(path)}  {path}: {data} has no {name}; it has {', '.join(known)}")
    outputs = source.outputs if source.classes is None else built.outputs(source.outputs)
    what = f"{data} has {source.outputs} {'numbers to predict' if source.classes is None else 'classes'}"
    if outputs is None:
        raise ConfigError(f"{spec.position('loss')}  loss: {loss} is for two classes, but {what}; use cross_entropy")
    if shape != (outputs,):
        where = f"{spec.position(last.path)}  {last.path} ({last.common['name']})"
        raise ConfigError(
            f"{where}: the last layer gives {shape}, but {what}; "
            f"it must give ({outputs},){'' if outputs == source.outputs else f' with {loss}'}"
        )
