"""The computation graph of a model, read off the engine's own nodes after a forward pass."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import asdict, dataclass, replace
from functools import reduce
from math import isfinite, prod
from typing import Any

import numpy as np

from dltrain.backend import Device, to_host
from dltrain.engine import Tensor, ancestors, gradients
from dltrain.nn.connect import Connected
from dltrain.nn.layer import Context
from dltrain.nn.loss import Loss
from dltrain.nn.network import Network
from dltrain.nn.networks import Applied, Given, Inside, Term, Value, in_order
from dltrain.nn.parameter import Parameter, shape_text
from dltrain.ops import add

Array = Any
EXAMPLES = 2  # in the batch that makes an outline; every value shows N in their place
INPUT, PARAMETER, CONSTANT, LOSS = "input", "parameter", "constant", "loss"


@dataclass(frozen=True)
class Vertex:
    """A value of the graph and what made it.

    op: the engine's name for it, or `input`, or `parameter`. name: of a parameter, such as `conv1.weight`.
    layer: whose it is; `loss` beyond the last one. shape: with "N" for the number of examples.
    inputs: vertices before this one, by their place in the list. size: how many numbers a parameter holds.
    gradient: L2 norm of the loss's gradient with respect to this value; None where none was asked for.
    """

    op: str
    name: str
    layer: str
    shape: tuple[int | str, ...]
    inputs: tuple[int, ...]
    size: int
    gradient: float | None

    @property
    def shape_text(self) -> str:
        return shape_text(self.shape) or "1 number"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def outline(model: Network, device: Device, loss: Loss | None = None) -> list[Vertex]:
    """The graph of a forward pass before there are weights or data, up to the loss or else the model's output."""
    model = deepcopy(model)
    for part in model.state.values():
        part.data = device.xp.zeros(part.shape, device.dtype)  # takes no memory until it is written to

    def words(purpose: str, layer: str, words_each: int) -> Array:
        return device.xp.zeros((EXAMPLES, words_each), np.uint64)

    def measured(output: Tensor) -> Tensor:
        assert loss is not None
        shape, dtype = (output.shape[:-1], np.int64) if loss.classification else (output.shape, device.dtype)
        return loss(output, device.xp.zeros(shape, dtype), EXAMPLES)

    x = device.xp.zeros((EXAMPLES, *model.in_shape), device.dtype)
    return capture(model, x, Context(training=True, words=words), measured if loss else None)


def capture(
    model: Network, x: Array, context: Context, loss: Callable[[Tensor], Tensor] | None = None, backward: bool = False
) -> list[Vertex]:
    """Run x (N, *in_shape) through the model, and the output through `loss`; the vertices, each after its inputs.

    backward: also go back and measure the gradients, which needs a loss.
    """
    model = _activations_apart(model)
    start = Tensor(x)
    end, ends = start, []  # (the newest node when a layer was done, the layer's name)
    for layer, end in model.outputs(start, context):
        ends.append((end.node.id if end.node else -1, layer.name))
    if loss is not None:
        end = loss(end)
    return below(end, {INPUT: start}, ends, model.parameters, len(x), backward)


def _activations_apart(model: Network) -> Network:
    """The same with an op for each activation, as one draws it; layers compute most of them inside another op."""
    apart = copy(model)
    apart.layers = [x.with_activation_apart() if isinstance(x, Connected) else x for x in model.layers]
    return apart


def outline_together(losses: Mapping[str, Sequence[Term]], device: Device) -> list[Vertex]:
    """The graphs of several updates, one after the other, as `outline` makes them. losses: of each by its name. What is
    there several times is called `noise`, `noise #2` and so on."""
    found: list[Vertex] = []
    times: Counter[str] = Counter()
    for name, terms in losses.items():
        vertices = _of_terms(deepcopy(tuple(terms)), device, times)
        start = len(found)
        for vertex in vertices:
            layer = f"{LOSS} of {name}" if vertex.layer == LOSS and name else vertex.layer
            found.append(replace(vertex, layer=layer, inputs=tuple(start + i for i in vertex.inputs)))
    return found


def _numbered(name: str, times: Counter[str]) -> str:
    times[name] += 1
    return name if times[name] == 1 else f"{name} #{times[name]}"


def _of_terms(terms: Sequence[Term], device: Device, times: Counter[str]) -> list[Vertex]:
    """From the values that are given to the sum of the losses. times: how often each name has been given."""
    starts: dict[str, Tensor] = {}
    made: dict[str, Any] = {}
    ends: list[tuple[int, str]] = []
    parameters: dict[str, Parameter] = {}

    def words(purpose: str, layer: str, words_each: int) -> Array:
        return device.xp.zeros((EXAMPLES, words_each), np.uint64)

    def zeros(value: Value) -> Array:
        whole = isinstance(value, Given) and value.classes is not None
        return device.xp.zeros((EXAMPLES, *value.shape), np.int64 if whole else device.dtype)

    for value in in_order(v for term in terms for pair in term.pairs for v in pair if isinstance(v, Value)):
        if isinstance(value, Applied):
            value.network.layers = _activations_apart(value.network).layers
            for part in value.network.state.values():
                part.data = device.xp.zeros(part.shape, device.dtype)
            parameters |= value.network.parameters
            inside: dict[str, Any] = {layer.name: None for layer in value.network.layers}
            context = Context(training=value.network.trainable, words=words, examples=EXAMPLES)
            made[value.name] = value([made[below.name] for below in value.of], context, inside)
            ends += [(y.node.id, _numbered(layer, times)) for layer, y in inside.items() if y.node is not None]
            made |= {f"{value.name}@{layer}": y for layer, y in inside.items()}
        elif not isinstance(value, Inside):
            made[value.name] = zeros(value)
            if made[value.name].dtype == device.dtype:
                made[value.name] = starts[_numbered(value.name, times)] = Tensor(made[value.name])
    losses = []
    for term in terms:
        for of, target in term.pairs:
            wanted = made[target.name] if isinstance(target, Value) else target
            losses.append(term.loss(made[of.name], wanted.data if isinstance(wanted, Tensor) else wanted, EXAMPLES))
    end: Tensor = reduce(add, losses)
    return below(end, starts, ends, parameters, EXAMPLES)


def below(
    end: Tensor,
    starts: Mapping[str, Tensor],
    ends: Sequence[tuple[int, str]],
    parameters: Mapping[str, Tensor],
    examples: int,
    backward: bool = False,
) -> list[Vertex]:
    """The vertices that lead to `end`. starts: what is given, by name. ends: the newest node when a layer was done, and
    the layer's name, in order."""
    nodes = ancestors(end)
    owners = {node.id: next((name for last, name in ends if node.id <= last), LOSS) for node in nodes}
    names = {id(parameter): name for name, parameter in parameters.items()}

    used = [t for node in nodes for t in node.inputs if t is not None]
    tensors = list({id(t): t for t in [*starts.values(), *used, end]}.values())
    found = gradients(end, tensors, keep_graph=True) if backward else [None] * len(tensors)
    norms = {id(t): None if g is None else to_host((g * g).sum()) ** 0.5 for t, g in zip(tensors, found, strict=True)}

    vertices: list[Vertex] = []
    place: dict[int, int] = {}  # of a node or, where none made it, a Tensor

    def put(tensor: Tensor, op: str, layer: str, inputs: tuple[int, ...] = ()) -> None:
        place[id(tensor.node or tensor)] = len(vertices)
        name = names.get(id(tensor), "")
        batched = not name and tensor.shape[:1] == (examples,)
        shape: tuple[int | str, ...] = ("N", *tensor.shape[1:]) if batched else tensor.shape
        size, gradient = prod(tensor.shape) if name else 0, _number(norms[id(tensor)])
        vertices.append(Vertex(op, name, layer, shape, inputs, size, gradient))

    met = {id(tensor) for tensor in used}
    for name, start in starts.items():
        if id(start) in met or not nodes:
            put(start, INPUT, name)
    made = {id(t.node): t for t in tensors if t.node is not None}
    for node in nodes:
        inputs = [t for t in node.inputs if t is not None]
        for tensor in inputs:
            if id(tensor.node or tensor) not in place:
                put(tensor, PARAMETER if id(tensor) in names else CONSTANT, owners[node.id])
        put(made[id(node)], node.op, owners[node.id], tuple(place[id(t.node or t)] for t in inputs))
    return vertices


def _number(value: Any) -> float | None:
    return None if value is None or not isfinite(value) else float(value)
