"""What a config says once it is read: plain frozen data. The fields of RunSpec are the schema of the file.

`Annotated[Component, REGISTRY]` is a component of that registry.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal

from dltrain.data import SOURCES
from dltrain.job.settings import (
    AdviceSettings,
    CheckpointSettings,
    DiagnosticsSettings,
    LoggingSettings,
    ShowSettings,
    TrainSettings,
    WriteSettings,
)
from dltrain.metrics.settings import MetricsSettings
from dltrain.nn import INITIALIZERS, LAYERS, LOSSES, TERMS, VALUES, ActivationName, Penalty
from dltrain.optim import OPTIMIZERS, SCHEDULES
from dltrain.registry import Count, Positive, Registry, Seed, as_arguments
from dltrain.spec.nodes import DEFAULT, Mapping, Node
from dltrain.spec.paths import step, steps
from dltrain.spec.writer import yaml_text
from dltrain.weights.match import LoadSettings


@dataclass(frozen=True)
class Component:
    """`{type: conv, channels: 32}`: the name of an entry of a registry and its settings, every default filled in."""

    registry: Registry
    type: str
    settings: dict[str, Any]
    path: str

    @property
    def own(self) -> dict[str, Any]:
        """The arguments of this type alone, components among them built."""
        return {key: _built(value) for key, value in self.settings.items() if key not in self.registry.common}

    @property
    def common(self) -> dict[str, Any]:
        """The arguments that every entry of the registry has, such as a layer's name or a data set's `augment`."""
        return {key: _built(value) for key, value in self.settings.items() if key in self.registry.common}

    def build(self, *positional: Any, **extra: Any) -> Any:
        """Call the registered class or function with its own settings, or others in their place."""
        return self.registry[self.type](*positional, **as_arguments(self.own | extra))


def _built(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_built, value))
    return value.build() if isinstance(value, Component) else value


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """input: the shape of one example, (*size, channels), only where no data set says it.

    load: start values from a file or a run; a path alone stands for its `path`. Without `layers` the model has those of
    the run.
    trainable: false, or the names of the layers that are trained, with `*` for any text; the others keep the values
    that they start with, and batch_norm among them uses its running statistics.
    """

    input: tuple[Count, ...] | None
    activation: ActivationName
    init: Annotated[Component, INITIALIZERS]
    load: LoadSettings | None
    trainable: bool | tuple[str, ...]
    layers: tuple[Annotated[Component, LAYERS], ...]


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """One of several. A list of layers alone is short for `layers`, the name of a block for a list of it.

    inputs: what layers call the values that it takes; one that is called `input` where nothing is said.
    statistics: whether batch_norm, when the network is asked and not trained, takes the running ones, or those of the
    batch. load, trainable: as of a model; no update may change what is not trainable.
    """

    inputs: tuple[str, ...] = ()
    activation: ActivationName
    init: Annotated[Component, INITIALIZERS]
    statistics: Literal["running", "batch"] = "running"
    load: LoadSettings | None = None
    trainable: bool | tuple[str, ...] = True
    layers: tuple[Annotated[Component, LAYERS], ...]


@dataclass(frozen=True, kw_only=True)
class UpdateSpec:
    """One of the updates of a step. A list alone is short for `minimise`; then the update is called like the network
    that it trains.

    networks: those that it trains. minimise: the losses whose sum it makes smaller. every: of so many steps it is taken
    in one, the first of them. What it does not say of penalty, optimizer, schedule and clip_norm is that of the config;
    `optimizer: {lr: 1e-4}` changes that one's rate alone.
    """

    networks: tuple[str, ...]
    minimise: tuple[Annotated[Component, TERMS], ...]
    penalty: Penalty
    optimizer: Annotated[Component, OPTIMIZERS]
    schedule: Annotated[Component, SCHEDULES]
    clip_norm: Positive | None
    every: Count = 1


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """A whole config.

    text: the file as it was read. nodes: the tree it became, overrides included, which knows where all came from.
    model and loss are of one network that is trained alone; else there are networks, values and updates.
    """

    text: str = field(kw_only=False, compare=False, repr=False)
    nodes: Mapping = field(kw_only=False, compare=False, repr=False)
    version: Literal[1]
    seed: Seed
    device: Literal["auto", "cpu", "cuda"]
    data: Annotated[Component, SOURCES] | dict[str, Annotated[Component, SOURCES]] | None
    model: ModelSpec | None
    loss: Annotated[Component, LOSSES] | None
    networks: dict[str, NetworkSpec] | None
    values: dict[str, Annotated[Component, VALUES]] | None
    updates: dict[str, UpdateSpec] | None
    penalty: Penalty
    optimizer: Annotated[Component, OPTIMIZERS]
    schedule: Annotated[Component, SCHEDULES]
    train: TrainSettings
    metrics: MetricsSettings
    show: ShowSettings
    checkpoint: CheckpointSettings
    logging: LoggingSettings
    diagnostics: DiagnosticsSettings
    advice: AdviceSettings
    write: WriteSettings | None

    @property
    def sources(self) -> dict[str, Component]:
        """The data sets by name, "" for a lone one; empty without `data`."""
        return self.data if isinstance(self.data, dict) else {"": self.data} if self.data else {}

    @property
    def has_several_sources(self) -> bool:
        """Whether the data sets have names, were it but one."""
        return isinstance(self.data, dict)

    @property
    def figures(self) -> tuple[Component, ...]:
        """Those of pictures."""
        return self.metrics.pictures  # type: ignore[return-value]

    def position(self, path: str) -> str:
        """Where `model.layers[2].kernel` was written, as file:line:column; for a default, where it would belong."""
        places = [node.place for node in self.way(path) if node.place != DEFAULT]
        return str(places[-1])

    def way(self, path: str) -> Iterator[Node]:
        """The nodes that lead there, as far as there are any."""
        node: Node | None = self.nodes
        for key in [*steps(path), ""]:
            if node is None:
                return
            yield node
            node = step(node, key)

    def resolved(self) -> dict[str, Any]:
        """Dicts, lists and plain values in the long form with every default: what `loads` reads back to this."""
        return {key: value for key, value in _plain(self).items() if value is not None or key not in (*FORMS, "write")}

    def to_yaml(self) -> str:
        """The resolved config as text, each line with a comment that says where its value came from."""
        return yaml_text(self.resolved(), self.nodes)


ALONE, TOGETHER = ("model", "loss"), ("networks", "values", "updates")  # the two forms of a config
FORMS = (*ALONE, *TOGETHER)

# What stands where a config says nothing, in its own language; sections and components have defaults of their own.
DEFAULTS = """
version: 1
seed: 0
device: auto
data: null
penalty: {}
optimizer: adam
schedule: constant
train: {}
metrics: {}
show: {}
checkpoint: {}
logging: {}
diagnostics: {}
advice: {}
write: null
"""
FORM_DEFAULTS = {
    "alone": "{loss: cross_entropy, networks: null, values: null, updates: null}",
    "together": "{model: null, loss: null, values: {}}",
}
MODEL_DEFAULTS = """
input: null
activation: relu
init: he_normal
load: null
trainable: true
"""
NETWORK_DEFAULTS = """
activation: relu
init: he_normal
"""


def _plain(value: Any) -> Any:
    if isinstance(value, Component):
        if value.type in ("value", "number") and value.registry is VALUES:
            (short,) = value.settings.values()
            return short
        names_first = sorted(value.settings.items(), key=lambda setting: setting[0] not in ("name", "from"))
        return {"type": value.type} | {key: _plain(setting) for key, setting in names_first}
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.kw_only}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
