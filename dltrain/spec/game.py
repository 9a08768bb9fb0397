"""`networks`, `values` and `updates` -> networks with shapes, the values that they make, and what is made small."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dltrain.data import Value as DataValue
from dltrain.data import vocabulary_of
from dltrain.data.values import BEFORE
from dltrain.errors import ConfigError
from dltrain.nn import (
    VALUES,
    Applied,
    Distribution,
    Drawn,
    Given,
    Inside,
    Loss,
    Network,
    Networks,
    OneHot,
    Term,
    Value,
    side_by_side,
)
from dltrain.nn.parameter import Shape
from dltrain.spec.foreign import our_word
from dltrain.spec.network import build_named, takes_input
from dltrain.spec.nodes import allowed
from dltrain.spec.paths import join
from dltrain.spec.runspec import Component, RunSpec

MOST_DEEP = 100  # values that are made of each other
Parts = tuple[Network, ...]


@dataclass(frozen=True)
class Game:
    """values: all that have a name, also the data's. updates: what each makes small, and what it trains."""

    model: Networks
    values: dict[str, Value]
    updates: dict[str, tuple[tuple[Term, ...], Parts]]


def build_game(spec: RunSpec, given: Iterable[DataValue]) -> Game:
    """given: the values of the data set. Raises ConfigError with all that does not fit."""
    return _Builder(spec, given).game()


@dataclass
class _Builder:
    """named: name -> the value, None where it is wrong. uses: network -> where its shapes were settled."""

    spec: RunSpec
    data: Iterable[DataValue]
    lines: list[str] = field(default_factory=list)
    named: dict[str, Value | None] = field(default_factory=dict)
    unnamed: dict[str, Value] = field(default_factory=dict)
    networks: dict[str, Network | None] = field(default_factory=dict)
    uses: dict[str, str] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)

    def game(self) -> Game:
        spec = self.spec
        assert spec.networks is not None and spec.values is not None and spec.updates is not None
        for value in self.data:
            classes = len(value.classes or ()) if value.kind == "class" or value.is_text else None
            self.named[value.name] = Given(value.name, value.shape, classes, value.ends)
            if value.ends:
                self.named[f"{value.name}{BEFORE}"] = Given(f"{value.name}{BEFORE}", value.shape)
        for name in spec.values.keys() & self.named.keys():
            self._wrong(join("values", name), f"the data set has a value {name!r} already; take another name")
        for name in spec.values:
            self._named(name, join("values", name))
        updates = {name: self._update(name) for name in spec.updates}
        if not self.lines:
            self._check_networks(updates)
        if self.lines:
            raise ConfigError(list(dict.fromkeys(self.lines)))
        model = Networks({name: network for name in spec.networks if (network := self.networks[name])})
        values = {name: value for name, value in self.named.items() if value is not None}
        return Game(model, values, updates)

    def _wrong(self, path: str, what: str) -> None:
        self.lines.append(f"{self.spec.position(path)}  {path}: {what}")

    # --- values -----------------------------------------------------------------------------------------------

    def _named(self, name: str, path: str) -> Value | None:
        """path: of whoever asks for it."""
        assert self.spec.values is not None
        if name in self.named:
            return self.named[name]
        if name not in self.spec.values:
            known = dict.fromkeys([*self.named, *self.spec.values])
            self._wrong(path, f"there is no value {name!r}{allowed(name, known)}")
            return None
        if name in self.running:
            way = " → ".join([*self.running[self.running.index(name) :], name])
            self._wrong(path, f"values are made of each other in a circle: {way}")
            return None
        if len(self.running) >= MOST_DEEP:
            self._wrong(path, f"more than {MOST_DEEP} values are made of each other")
            return None
        self.running.append(name)
        self.named[name] = self._value(self.spec.values[name], name)
        self.running.pop()
        return self.named[name]

    def _value(self, component: Component, name: str | None = None) -> Value | None:
        """name: that of the config; else it is called by its text."""
        if component.type == "value":
            return self._named(component.settings["name"], component.path)
        if component.type == "number":
            self._wrong(component.path, "a number can be a target only")
            return None
        called = name or text(component)
        if name is None and called in self.unnamed:
            return self.unnamed[called]
        value: Value | None
        if component.type == "network":
            value = self._applied(component, called)
        elif component.type == "one_hot":
            value = self._one_hot(component, called)
        else:
            distribution: Distribution = component.build()
            value = Drawn(called, distribution.shape, distribution)
        if name is None and value is not None:
            self.unnamed[called] = value
        return value

    def _one_hot(self, component: Component, called: str) -> Value | None:
        of = self._value(component.settings["of"])
        if isinstance(of, Given) and of.classes is not None and not of.shape:
            return OneHot(called, (of.classes,), of)
        if of is not None:
            classes = [v.name for v in self.named.values() if isinstance(v, Given) and v.classes and not v.shape]
            what = f"classes here: {', '.join(classes)}" if classes else "the data set gives none"
            self._wrong(join(component.path, "of"), f"{of.name} is not the number of a class; {what}")
        return None

    def _applied(self, component: Component, called: str) -> Value | None:
        settings, path = component.settings, component.path
        name, over = settings["network"], settings["over"]
        assert self.spec.networks is not None
        if name not in self.spec.networks:
            kind = our_word(name, VALUES)
            other = f"; here it is `{kind}`" if kind else allowed(name, self.spec.networks)
            self._wrong(join(path, "network"), f"there is no network {name!r}{other}")
            return None
        of = [self._value(each) for each in settings["of"]]
        taken = [value for value in of if value is not None]
        if len(taken) < len(of):
            return None
        shapes = self._taken(name, taken, component)
        network = None if shapes is None else self._network(name, shapes, component)
        if not network:
            return None
        shape = network.out_shape if over is None else (over, *network.out_shape)
        by_batch = self.spec.networks[name].statistics == "batch"
        return Applied(called, shape, network, tuple(taken), over, settings["then"], f"{called}/", by_batch)

    def _taken(self, name: str, values: list[Value], component: Component) -> dict[str, Shape] | None:
        """The shapes of what a network takes by the names of its inputs."""
        assert self.spec.networks is not None
        inputs, over, path = self.spec.networks[name].inputs, component.settings["over"], component.path
        shapes = [value.shape for value in values]
        for number, value in enumerate(values):
            where = join(join(path, "of"), number)
            if isinstance(value, Given) and value.classes is not None and (value.ends or not value.shape):
                what = (
                    f"a sentence, which networks tell; they take {value.name}{BEFORE}"
                    if value.ends
                    else f"the number of a class; networks take `{{one_hot: {value.name}}}`"
                )
                self._wrong(where, f"{value.name} is {what}")
                return None
            if over is not None and value.shape[:1] != (over,):
                self._wrong(join(path, "over"), f"{value.name} has no {over} parts; its shape is {value.shape}")
                return None
        shapes = shapes if over is None else [shape[1:] for shape in shapes]
        layers = self.spec.networks[name].layers
        if not values and over is None and layers and not takes_input(layers[0]):
            return {}
        if not values:
            self._wrong(path, f"the network {name} takes a value: `{{{name}: VALUE}}`")
        elif inputs and len(inputs) != len(values):
            self._wrong(path, f"{name} has the inputs {', '.join(inputs)}, but takes {len(values)} here")
        elif inputs:
            return dict(zip(inputs, shapes, strict=True))
        elif (joined := shapes[0] if len(shapes) == 1 else side_by_side(shapes)) is None:
            many = " and ".join(f"{value.name} {shape}" for value, shape in zip(values, shapes, strict=True))
            self._wrong(join(path, "of"), f"do not fit side by side, where all but the channels must be equal: {many}")
        else:
            return {"input": joined}
        return None

    def _network(self, name: str, shapes: dict[str, Shape], component: Component) -> Network | None:
        if name not in self.networks:
            paths = {each: component.path for each in shapes}
            self.uses[name] = component.path
            self.networks[name] = None
            try:
                self.networks[name] = build_named(
                    self.spec, name, shapes, paths, vocabulary_of(self.data), {v.name: v.shape for v in self.data}
                )
            except ConfigError as error:
                self.lines += error.problems
        network = self.networks[name]
        if network and network.inputs != shapes:
            all_of = (", ".join(map(str, s.values())) or "nothing" for s in (network.inputs, shapes))
            first, was, now = self.uses[name], *all_of
            place = self.spec.position(first)
            self._wrong(component.path, f"{name} takes {now} here, but {was} in {first} ({place}); one shape only")
            return None
        return network

    # --- updates ----------------------------------------------------------------------------------------------

    def _update(self, name: str) -> tuple[tuple[Term, ...], Parts]:
        assert self.spec.networks is not None and self.spec.updates is not None
        update = self.spec.updates[name]
        for number, wanted in enumerate(update.networks):
            if wanted not in self.spec.networks:
                path = f"updates.{name}.networks[{number}]"
                what = f"there is no network {wanted!r}{allowed(wanted, self.spec.networks)}"
                self._wrong(path, f"{what}; an update is called like what it trains, or says `networks: […]`")
            elif not self.spec.networks[wanted].trainable:
                self._wrong(f"updates.{name}.networks[{number}]", f"{wanted} is not trainable")
        terms = [self._term(component) for component in update.minimise]
        networks = [self.networks.get(wanted) for wanted in update.networks]
        return tuple(filter(None, terms)), tuple(filter(None, networks))

    def _term(self, component: Component) -> Term | None:
        of, target = component.settings["of"], component.settings["target"]
        loss: Loss = component.build()
        judged = self._value(of)
        if (target is None) == loss.has_target:
            what = "needs a `target`" if loss.has_target else "takes no `target`"
            self._wrong(component.path, f"{component.type} {what}")
            return None
        numeric = target is None or target.type == "number"
        wanted: Value | float | None = (target.settings["value"] if target else 0.0) if numeric else self._value(target)
        if judged is None or wanted is None:
            return None
        fitting, pairs = self._fitting(component, loss, wanted), [(judged, wanted)]
        if fitting is None:
            return None
        if component.settings["at"]:
            pairs = self._inside(component, judged, wanted)
        if not all(self._comparable(component, fitting, a, b) for a, b in pairs):
            return None
        return Term(fitting, tuple(pairs), component.settings["weight"])

    def _fitting(self, component: Component, loss: Loss, target: Value | float) -> Loss | None:
        """The loss as it suits its target."""
        kind, where = component.type, join(component.path, "target")
        if isinstance(target, Given) and target.classes is not None:
            if target.shape and kind != "cross_entropy":
                self._wrong(where, f"{target.name} is a text, and {kind} is not for texts; use cross_entropy")
            elif not loss.classification:
                self._wrong(where, f"{target.name} is one of {target.classes} classes, and {kind} compares numbers")
            else:
                return loss
            return None
        numeric = loss.for_numbers()
        if numeric is None:
            what = f"the number {target:g}" if isinstance(target, float) else f"{target.name}, which is numbers"
            self._wrong(where, f"{kind} wants classes, not {what}; binary_cross_entropy, mse and mae take numbers")
        elif kind == "binary_cross_entropy" and isinstance(target, float) and not 0 <= target <= 1:
            self._wrong(where, f"binary_cross_entropy takes targets from 0 to 1, not {target:g}")
            return None
        return numeric

    def _comparable(self, component: Component, loss: Loss, of: Value, target: Value | float) -> bool:
        where = join(component.path, "of")
        if isinstance(of, Given) and of.classes is not None:
            self._wrong(where, f"{of.name} is the number of a class; what is judged are numbers that a network gives")
        elif isinstance(target, Given) and target.classes is not None:
            outputs = loss.outputs(target.classes)
            wanted = (*target.shape, outputs)
            if of.shape == wanted:
                return True
            must = f"it must have shape {wanted}" if outputs else "this loss is for two classes; use cross_entropy"
            what = f"tokens of {target.classes}" if target.shape else f"one of {target.classes}"
            self._wrong(where, f"{of.name} has shape {of.shape}, but {target.name} is {what}; {must}")
        elif loss.of_pictures and (len(of.shape) != 3 or (loss.has_target and not isinstance(target, Value))):
            than = " with those of another one" if loss.has_target else ""
            self._wrong(where, f"{component.type} compares positions of a picture (H, W, C){than}, not {of.shape}")
        elif isinstance(target, Value) and of.shape != target.shape:
            what = f"{of.name} has shape {of.shape}, but its target {target.name} {target.shape}"
            self._wrong(where, f"{what}; {component.type} compares them number by number")
        else:
            return True
        return False

    def _inside(self, component: Component, of: Value, target: Value | float) -> list[tuple[Value, Value | float]]:
        """The pairs at the layers that are named; none where one is not there."""
        pairs: list[tuple[Value, Value | float]] = []
        for number, name in enumerate(component.settings["at"]):
            where = f"{component.path}.at[{number}]"
            ends: list[Any] = [of, target]
            for place, value in enumerate(ends):
                if isinstance(value, float):
                    continue
                if not isinstance(value, Applied):
                    self._wrong(where, f"{value.name} is made by no network, so it has no layer {name!r}")
                    return []
                layers = self._layers_of(value)
                if name not in layers:
                    self._wrong(where, f"{value.name} is made by no layer {name!r}{allowed(name, layers)}")
                    return []
                layer = f"{self._name_of(value.network)}.{name}"
                ends[place] = Inside(f"{value.name}@{layer}", layers[name], value, layer)
            pairs.append((ends[0], ends[1]))
        return pairs

    def _layers_of(self, value: Applied) -> dict[str, Shape]:
        start = len(self._name_of(value.network)) + 1
        return {layer.name[start:]: layer.out_shape for layer in value.network.layers}

    def _name_of(self, network: Network) -> str:
        return next(name for name, other in self.networks.items() if other is network)

    # --- networks ---------------------------------------------------------------------------------------------

    def _check_networks(self, updates: Mapping[str, tuple[tuple[Term, ...], Parts]]) -> None:
        """That each is used and trained, and that what trains it depends on it."""
        assert self.spec.networks is not None and self.spec.updates is not None
        trained = {name: key for key, update in self.spec.updates.items() for name in update.networks}
        for name, settings in self.spec.networks.items():
            network, path = self.networks.get(name), join("networks", name)
            if network is None:
                self._wrong(path, f"no value is made by it; use it in `values`, as in `made: {{{name}: …}}`")
            elif name not in trained and settings.trainable:
                self._wrong(path, "no update trains it; name it in one, or say `trainable: false`")
            elif name not in trained:
                network.freeze()
        for key, update in self.spec.updates.items():
            for number, name in enumerate(update.networks):
                if (network := self.networks.get(name)) and not depends(updates[key][0], network):
                    path = f"updates.{key}.networks[{number}]"
                    self._wrong(path, f"nothing that {key} minimises depends on {name}, so it cannot learn")
            if not self.lines:
                self._check_terms(key, *updates[key])

    def _check_terms(self, key: str, terms: tuple[Term, ...], trained: Parts) -> None:
        """That each depends on something that the update trains."""
        assert self.spec.updates is not None
        for term, component in zip(terms, self.spec.updates[key].minimise, strict=True):
            if not any(depends([term], network) for network in trained):
                made = f"{term.pairs[0][0].name} is made by nothing that {key} trains"
                self._wrong(component.path, f"{made}, so this term teaches nothing")


def depends(terms: Iterable[Term], network: Network) -> bool:
    """Whether what is judged by one of the terms is made by the network, directly or not."""
    stack = [of for term in terms for of, _ in term.pairs]
    seen: set[int] = set()
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Applied) and value.network is network:
            return True
        stack += value.below
    return False


def text(component: Component) -> str:
    """`judge(parts, painted)`: what an expression without a name is called."""
    settings = component.settings
    if component.type == "value":
        return str(settings["name"])
    if component.type == "one_hot":
        return f"one_hot({text(settings['of'])})"
    if component.type != "network":
        own = ", ".join(f"{key} {value}" for key, value in settings.items() if key != "size")
        return f"{component.type}({settings.get('size')}{', ' if own else ''}{own})"
    inner = ", ".join(map(text, settings["of"]))
    over = f" over {settings['over']}" if settings["over"] else ""
    then = f" then {settings['then']}" if settings["then"] != "none" else ""
    return f"{settings['network']}({inner}){over}{then}"
