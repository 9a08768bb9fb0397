"""The layers of a config -> a Network: what each takes, their shapes, and containers written out, all in this place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dltrain.errors import ConfigError, SettingError, ShapeError
from dltrain.nn import INPUT, LAYERS, Container, Join, Layer, Network, Picture
from dltrain.nn.parameter import Shape
from dltrain.registry import VOCABULARY
from dltrain.spec.nodes import Mapping as Node
from dltrain.spec.nodes import allowed
from dltrain.spec.paths import join
from dltrain.spec.runspec import Component, RunSpec
from dltrain.spec.weights import freeze

Vocabulary = Sequence[str] | None
EMPTY: Mapping[str, Shape] = {}


@dataclass
class _Scope:
    """A list of layers. values: the names in it, as far as the network is built -> whose output they stand for."""

    components: dict[str, Component]
    values: dict[str, str] = field(default_factory=dict)


def build_network(spec: RunSpec, in_shape: Shape, vocabulary: Vocabulary = None) -> Network:
    """The model. vocabulary: of the text that the data have. Raises ConfigError where a layer does not fit what it
    takes, or takes what is not there."""
    assert spec.model
    network = _Builder(spec, {INPUT: in_shape}, {INPUT: "model.input"}, vocabulary).network(spec.model.layers)
    freeze(network, spec.model.trainable, "model.trainable")
    if network.parameters and not network.trainable_parameters and spec.model.trainable is not True:
        raise SettingError("model.trainable", "leaves nothing to train")
    return network


def build_named(
    spec: RunSpec,
    name: str,
    shapes: dict[str, Shape],
    paths: dict[str, str],
    vocabulary: Vocabulary = None,
    data: Mapping[str, Shape] = EMPTY,
) -> Network:
    """One of several networks, whose layers are called `NAME.LAYER`. shapes: of its inputs. paths: of what it takes
    for them. data: the shapes of the values of the data set. Raises ConfigError."""
    assert spec.networks
    settings = spec.networks[name]
    network = _Builder(spec, shapes, paths, vocabulary, data).network(settings.layers, f"{name}.")
    taken = {source for sources in network.sources.values() for source in sources}
    for number, each in enumerate(settings.inputs):
        if each not in taken:
            advice = f"no layer takes {each}; name it in one, as in `concat: {each}`, or leave it out"
            path = f"networks.{name}.inputs[{number}]"
            raise ConfigError(f"{spec.position(path)}  {path}: {advice}")
    freeze(network, settings.trainable, f"networks.{name}.trainable", f"{name}.")
    return network


class _Builder:
    """layers, sources: as in Network. shapes, paths: of all values, by name."""

    def __init__(
        self,
        spec: RunSpec,
        shapes: dict[str, Shape],
        paths: dict[str, str],
        vocabulary: Vocabulary,
        data: Mapping[str, Shape] = EMPTY,
    ):
        self.spec, self.tokens, self.data = spec, None if vocabulary is None else len(vocabulary), data
        self.layers: list[Layer] = []
        self.sources: dict[str, tuple[str, ...]] = {}
        self.inputs, self.shapes, self.paths = shapes, dict(shapes), dict(paths)

    def network(self, components: Sequence[Component], prefix: str = "") -> Network:
        first = next(iter(self.inputs), "")
        self.chain(components, first, prefix, [], {name: name for name in self.inputs})
        taken = {name for names in self.sources.values() for name in names}
        for layer in self.layers[:-1]:
            if layer.name not in taken:
                raise self._error(layer.name, "no layer takes its output; name it in a later one, or remove it")
        return Network(self.layers, self.inputs, self.sources)

    def chain(
        self,
        components: Sequence[Component],
        before: str,
        prefix: str,
        around: list[_Scope],
        known: dict[str, str] | None = None,
    ) -> str:
        """Add layers, the first of which takes the output of `before`; returns whose output the last one's is."""
        scope = _Scope({component.common["name"]: component for component in components}, known or {INPUT: before})
        for own_name, component in scope.components.items():
            name = f"{prefix}{own_name}"
            self.paths[name] = component.path
            sources = self._sources(component, name, before, [scope, *around])
            if _is(component, Container):
                before = self._container(component, name, sources[0], [scope, *around])
            else:
                before = self._layer(component, name, sources)
            scope.values[own_name] = before
        return before

    def _container(self, component: Component, name: str, source: str, around: list[_Scope]) -> str:
        settings = {key: value for key, value in component.settings.items() if key not in LAYERS.common}
        container: Container = LAYERS[component.type](**settings)
        if container.join and len(container.chains) < 2:
            raise self._error(name, "a branch has two paths or more; `[]` passes the input on", "paths")
        if self._block_of(component.path):
            around = []  # a block means the same wherever it is used
        ends = tuple(self.chain(chain, source, f"{name}.", around) for chain in container.chains)
        if container.join is None:
            return ends[0]
        try:
            layer: Layer = LAYERS[container.join](*(self.shapes[end] for end in ends), of=ends)
        except ShapeError as error:
            raise self._error(name, f"{self._given(ends)} do not join: {error}{container.advice}") from None
        return self._put(layer, name, component.type, ends)

    def _layer(self, component: Component, name: str, sources: tuple[str, ...]) -> str:
        if _is(component, Join) and len(sources) < 2:
            raise self._error(name, f"{component.type} joins two outputs or more; a list must name them all", "of")
        try:
            sizes = {key: self.tokens for key, value in component.own.items() if value == VOCABULARY and self.tokens}
            shapes = [self.shapes[source] for source in sources]
            if _is(component, Picture):
                shapes = [self._shape_of_data(component.own["start"], name)]
            layer: Layer = component.build(*shapes, **sizes)
        except ShapeError as error:
            if not sources:
                raise self._error(name, str(error)) from None
            one = f"does not fit its input {self.shapes[sources[0]]}"
            what = f"{self._given(sources)} do not join" if _is(component, Join) else one
            raise self._error(name, f"{what}: {error}") from None
        return self._put(layer, name, component.type, sources)

    def _shape_of_data(self, wanted: str, name: str) -> Shape:
        if wanted not in self.data:
            raise self._error(name, f"there is no value {wanted!r} in the data{allowed(wanted, self.data)}", "start")
        return self.data[wanted]

    def _put(self, layer: Layer, name: str, kind: str, sources: tuple[str, ...]) -> str:
        layer.name, layer.kind = name, kind
        self.layers.append(layer)
        self.sources[name], self.shapes[name] = sources, layer.out_shape
        return name

    # --- what layers take -------------------------------------------------------------------------------------

    def _sources(self, component: Component, name: str, before: str, scopes: list[_Scope]) -> tuple[str, ...]:
        of, own = component.settings.get("of", ()), component.common["from"]
        if not takes_input(component):
            if before or own:
                what = "takes no input; it stands first in a network whose name alone is a value, as in `values`"
                raise self._error(name, f"{component.type} {what}")
            return ()
        if of and own and not isinstance(of, str):
            raise self._error(name, "the list names all that is joined; put this name into it", "from")
        if isinstance(of, tuple) and of:
            return tuple(self._find(wanted, name, f"of[{number}]", scopes) for number, wanted in enumerate(of))
        before = self._find(own, name, "from", scopes) if own else before
        also = getattr(LAYERS[component.type], "also", "")
        if also and (wanted := component.settings[also]):
            return before, self._find(wanted, name, also, scopes)
        return (before, self._find(of, name, "of", scopes)) if of else (before,)

    def _find(self, wanted: str, name: str, key: str, scopes: list[_Scope]) -> str:
        """Whose output is called so: in this list, or else in one around it."""
        scope = next((scope for scope in scopes if wanted in scope.components or wanted in scope.values), None)
        if scope is None:
            known = [value for scope in scopes for value in scope.values]
            raise self._error(name, f"there is no layer {wanted!r} here{allowed(wanted, known)}", key)
        if wanted in scope.values:
            return scope.values[wanted]
        path, place = scope.components[wanted].path, self.spec.position(scope.components[wanted].path)
        if path == self.paths[name]:
            raise self._error(name, "takes its own output: a circle", key)
        if self.paths[name].startswith(f"{path}."):
            raise self._error(name, f"takes the output of {wanted!r} ({place}), of which it is a part: a circle", key)
        raise self._error(name, f"{wanted!r} comes later ({place}); layers take earlier ones, or run in a circle", key)

    # --- messages ---------------------------------------------------------------------------------------------

    def _error(self, name: str, what: str, key: str = "") -> ConfigError:
        path = self.paths[name]
        block = self._block_of(path, within=True)
        used = f" in the block {block.of_block!r} used at {block.place}" if block else ""
        place = self.spec.position(join(path, key) if key else path)
        return ConfigError(f"{place}  {path} ({name}{used}): {what}")

    def _given(self, sources: Sequence[str]) -> str:
        """Both shapes with their places."""
        places = {name: self.spec.position(self.paths[name]) for name in sources}
        return " and ".join(f"{self.shapes[name]} from {name} ({place})" for name, place in places.items())

    def _block_of(self, path: str, within: bool = False) -> Node | None:
        """The chain at this path, or the innermost one around it, where it was written out from a block."""
        nodes = [node for node in self.spec.way(path) if isinstance(node, Node)]
        return next((node for node in reversed(nodes if within else nodes[-1:]) if node.of_block), None)


def takes_input(component: Component) -> bool:
    entry = LAYERS[component.type]
    return not isinstance(entry, type) or getattr(entry, "takes_input", True)


def _is(component: Component, kind: type) -> bool:
    entry = LAYERS[component.type]
    return isinstance(entry, type) and issubclass(entry, kind)
