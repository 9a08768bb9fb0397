"""Reverse-mode differentiation on one page.

A Tensor holds an array. Every op that is applied to Tensors makes a Node: the op's inputs, and the
functions that carry a gradient back to them (vector-Jacobian products, "vjps"). `gradients` walks
the nodes from the newest to the oldest and applies the chain rule. The graph is built anew by every
computation (Chainer calls this define-by-run), so ordinary Python `if` and `for` may shape it.

Only first derivatives: gradients are arrays, not Tensors, and cannot be differentiated again.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import signature
from typing import Any

import numpy as np

from dltrain import spans
from dltrain.backend import array_module, is_array, kernels
from dltrain.errors import DltrainError

Array = Any  # numpy.ndarray, or its twin on another device

_recording: ContextVar[bool] = ContextVar("recording", default=True)
_node_ids = itertools.count()


class GraphError(DltrainError):
    """A gradient that cannot be taken: no scalar, or a graph that is gone."""


class Node:
    """One application of an op. Points only backwards, so that a graph is freed without a cycle collector.

    op: its name. inputs: the op's Tensors; None where an input was a plain array (a constant).
    outputs: how many Tensors the op returned. several: whether in a tuple, be it of one.
    vjps: one function `g -> gradient` per input (None for one that never has any), or one function
        `(g, needed) -> gradients of all inputs`, where `needed` says which of them anybody wants.
        `g` is a tuple where the op returned one. None once the graph has been freed.
    """

    __slots__ = ("id", "inputs", "op", "outputs", "several", "vjps")

    def __init__(self, op: str, inputs: Sequence["Tensor | None"], outputs: int, several: bool, vjps: Any):
        self.id = next(_node_ids)  # newer nodes have larger ids: a topological order for free
        self.op = op
        self.inputs = inputs
        self.outputs = outputs
        self.several = several
        self.vjps = vjps


class Tensor:
    """An array that remembers how it was computed.

    data: the values, floats. grad: dLoss/dThis, of the same shape, once `backward` was called on a loss that depends
    on it; None before. node: the op that made it, None for a Tensor made by hand. index: which output of that op.

    Numbers, lists and arrays of integers or bools become float64; floats keep their precision. An array of floats is
    held, not copied, and ops keep their inputs for the way back: whoever writes into such an array (`x[...] = 0`,
    `x += 1`) between computing a loss and taking its gradient gets the gradient at the new values, or a mixture. Assign
    a new one instead, as in `w.data = w.data - 0.1 * w.grad`: that leaves a standing graph alone.
    Raises TypeError for complex numbers, texts, objects, masked arrays and Tensors.
    """

    __slots__ = ("__weakref__", "data", "grad", "index", "node")

    # numpy must leave `array + tensor` to Tensor.__radd__ instead of looping over the array's elements
    __array_ufunc__ = None

    def __init__(self, data: Any, node: Node | None = None, index: int = 0):
        self.data: Array = _floats(data)
        self.grad: Array | None = None
        self.node = node
        self.index = index

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        made = "" if self.node is None else f", made by {self.node.op}"
        return f"Tensor({self.data!r}{made})"

    def backward(self, keep_graph: bool = False) -> None:
        """Fill `.grad` of every Tensor that this one was computed from, and its own (1).

        Overwrites: there is nothing to zero between two steps. Raises GraphError unless this is a scalar.
        """
        below = {_key(t): t for node in ancestors(self) for t in node.inputs if t is not None}
        tensors = [self, *below.values()]
        for tensor, gradient in zip(tensors, gradients(self, tensors, keep_graph), strict=True):
            tensor.grad = gradient


def _floats(data: Any) -> Array:
    """The values as an array of floats: as they are where they are one, in float64 where they are whole numbers."""
    if type(data) is np.ndarray and data.dtype.kind == "f":
        return data
    array, kind = data, type(data).__name__
    if not isinstance(data, Tensor | np.ma.MaskedArray):
        array = data if is_array(data) and not isinstance(data, np.ndarray) else np.asarray(data)
        if array.dtype.kind == "f":
            return array
        if array.dtype.kind in "biu":
            return array_module(array).asarray(array, "float64")
        listed = isinstance(data, list | tuple) and any(isinstance(part, Tensor) for part in data)
        kind = "Tensors, which ops.stack joins" if listed else f"{array.dtype} values"
    raise TypeError(f"a Tensor is made of floats, or of integers or bools, which become floats; not of {kind}")


def gradients(loss: Tensor, targets: Sequence[Tensor], keep_graph: bool = False) -> list[Array]:
    """dLoss/dTarget for each target, as arrays of the targets' shapes.

    Walks only what lies between the targets and the loss, and frees the graph as it goes unless
    `keep_graph`. A target that the loss does not depend on gets zeros. Raises GraphError when the loss
    is no scalar or its graph was freed by an earlier walk.
    """
    if loss.data.size != 1:
        raise GraphError(
            f"a gradient is taken of one number, but this Tensor has shape {loss.shape}; "
            "reduce it first, for example with .sum() or .mean()"
        )
    nodes = ancestors(loss)
    wanted = {_key(t) for t in targets}
    needed = set(wanted)  # the targets, and whatever depends on one of them
    for node in nodes:
        if any(t is not None and _key(t) in needed for t in node.inputs):
            needed.update((node.id, i) for i in range(node.outputs))

    arrived = {_key(loss): kernels(loss.data).one_like(loss.data)}
    while nodes:
        node = nodes.pop()
        outputs = [(node.id, i) for i in range(node.outputs)]
        g = [arrived.get(key) if key in wanted else arrived.pop(key, None) for key in outputs]
        needs = [t is not None and _key(t) in needed for t in node.inputs]
        if any(needs) and any(part is not None for part in g):
            for tensor, gradient in zip(node.inputs, _apply_vjps(node, g, needs), strict=True):
                if tensor is not None and gradient is not None and (key := _key(tensor)) in needed:
                    # The first gradient to arrive is borrowed: it may be the very array that another input got.
                    # So a second one makes a new array and is never added in place.
                    arrived[key] = gradient if key not in arrived else _sum(arrived[key], gradient)
        if not keep_graph:
            node.vjps, node.inputs = None, ()
    found = [arrived.get(_key(t)) for t in targets]
    return [array_module(t.data).zeros_like(t.data) if g is None else g for t, g in zip(targets, found, strict=True)]


def _sum(a: Array, b: Array) -> Array:
    return kernels(a).add(a, b)


def _key(tensor: Tensor) -> tuple[int, int]:
    """What names a value: the op and which of its outputs, or the Tensor itself where no op made it."""
    return (-1, id(tensor)) if tensor.node is None else (tensor.node.id, tensor.index)


def ancestors(loss: Tensor) -> list[Node]:
    """Every node that the loss depends on, oldest first. A stack instead of recursion: chains may be long."""
    found: dict[int, Node] = {}
    stack = [loss.node]
    while stack:
        node = stack.pop()
        if node is None or node.id in found:
            continue
        if node.vjps is None:
            raise GraphError(
                "this graph was already freed by an earlier backward walk; compute the loss again, "
                "or pass keep_graph=True to the first walk"
            )
        found[node.id] = node
        stack.extend(t.node for t in node.inputs if t is not None)
    return [found[i] for i in sorted(found)]


def _apply_vjps(node: Node, arrived: list[Array | None], wanted: list[bool]) -> Sequence[Array | None]:
    g = tuple(arrived) if node.several else arrived[0]
    if callable(node.vjps):
        result: Sequence[Array | None] = node.vjps(g, wanted)
        return result
    return [vjp(g) if want else None for vjp, want in zip(node.vjps, wanted, strict=True)]


OPS: dict[str, Callable[..., Any]] = {}  # every op by name, so that the tests can prove their table complete


def op(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make an op from a function on arrays that returns `(y, vjps)`; see Node for what vjps may be.

    Arrays are positional, and may be given by name; settings are keyword-only. `y` may be a tuple of arrays: then the
    op returns a tuple of Tensors, and a vjp gets a tuple of gradients, None for an output that nothing depends on.
    Inputs that are no Tensors are constants; a Tensor as a setting raises TypeError. Where nothing is recorded
    (`no_grad`, or only constants) the vjps are dropped.
    """
    arrays = [p.name for p in signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]

    @wraps(function)
    def call(*inputs: Any, **settings: Any) -> Any:
        for name in arrays[len(inputs) :]:
            if name not in settings:
                break
            inputs = (*inputs, settings.pop(name))
        for name, value in settings.items():
            if isinstance(value, Tensor):
                raise TypeError(f"{function.__name__} takes no gradient of its {name}: give an array, not a Tensor")
        values = [t.data if isinstance(t, Tensor) else t for t in inputs]
        if spans.recorder is None:
            y, vjps = function(*values, **settings)
        else:
            y, vjps = spans.timed_op(function, values, settings)
        tensors = [t if isinstance(t, Tensor) else None for t in inputs]
        several = isinstance(y, tuple)
        node = None
        if _recording.get() and any(t is not None for t in tensors):
            node = Node(function.__name__, tensors, len(y) if several else 1, several, vjps)
        if several:
            return tuple(Tensor(part, node, i) for i, part in enumerate(y))
        return Tensor(y, node)

    OPS[function.__name__] = call
    return call


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside, nothing is recorded: for evaluation, where the graph would only cost memory."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)
