"""An update: which networks are trained, by which optimizer, to make which loss small. A training has one or several,
and takes them in order in every step."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dltrain.nn import (
    Applied,
    Drawn,
    Given,
    Inside,
    Layer,
    Loss,
    Network,
    OneHot,
    Parameter,
    Penalty,
    Term,
    Value,
    in_order,
    taken_whole,
)
from dltrain.nn.loss import LabelsCrossEntropy
from dltrain.optim import Optimizer, Schedule

Arrays = dict[str, Any]


@dataclass(frozen=True)
class Pass:
    """A time that a network is applied while it is trained. mark: what tells its sums from those of the others; the
    first one's have none."""

    value: Applied
    mark: str

    @property
    def layers(self) -> list[Layer]:
        """Those that diagnostics look at."""
        return [layer for layer in self.value.network.layers if layer.observed]

    @property
    def parts(self) -> int:
        return self.value.over or 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Update:
    """name: empty where it is the only one. terms: of its loss. networks: those that it trains. every: how many steps
    it is taken once in. lr_factors: by the names of the parameters whose rate is not that of all."""

    name: str = ""
    terms: tuple[Term, ...]
    networks: tuple[Network, ...]
    optimizer: Optimizer
    schedule: Schedule
    penalty: Penalty
    clip_norm: float | None = None
    every: int = 1
    lr_factors: dict[str, float] = field(default_factory=dict)

    def called(self, key: str) -> str:
        """`loss/generator`; `loss` where it is the only update."""
        return f"{key}/{self.name}" if self.name else key

    def is_due(self, step: int) -> bool:
        return (step - 1) % self.every == 0

    def taken(self, step: int) -> int:
        """How many times it has been taken after this step, which is one of its own."""
        return (step - 1) // self.every + 1

    @cached_property
    def layers(self) -> list[Layer]:
        """Those that it trains."""
        return [layer for network in self.networks for layer in network.layers]

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Those that it trains, by name."""
        return {name: p for network in self.networks for name, p in network.trainable_parameters.items()}

    @cached_property
    def penalties(self) -> list[tuple[Penalty, list[Layer]]]:
        """Each penalty and the layers that it is for: the update's, and those of layers with one of their own."""
        own = [(layer.penalty, [layer]) for layer in self.layers if layer.penalty is not None]
        every = [(self.penalty, [layer for layer in self.layers if layer.penalty is None]), *own]
        return [(rule, layers) for rule, layers in every if rule.penalises]

    # --- what it computes -------------------------------------------------------------------------------------

    @cached_property
    def compared(self) -> list[Value]:
        """Those that its losses judge, and what they compare them with."""
        return [v for term in self.terms for pair in term.pairs for v in pair if isinstance(v, Value)]

    @cached_property
    def values(self) -> list[Value]:
        """All that its loss is computed from, each after what is below it."""
        return in_order(self.compared)

    @cached_property
    def given(self) -> list[Value]:
        """What it takes from the data and from chance."""
        return [value for value in self.values if isinstance(value, Given | Drawn | OneHot)]

    @cached_property
    def applied(self) -> list[Applied]:
        return [value for value in self.values if isinstance(value, Applied)]

    @cached_property
    def inside(self) -> dict[str, list[Inside]]:
        """Name of a value -> the layers in it that are asked for."""
        found: dict[str, list[Inside]] = {}
        for value in self.values:
            if isinstance(value, Inside):
                found.setdefault(value.whole.name, []).append(value)
        return found

    @cached_property
    def whole(self) -> set[str]:
        """The names of the values that are computed to the end: those that it trains, or of which more is taken than
        layers within."""
        return taken_whole(self.compared) | self.passes.keys()

    @cached_property
    def trained(self) -> set[str]:
        """The names of the values that depend on what it trains: a graph is kept of these alone."""
        found: set[str] = set()
        for value in self.values:
            own = isinstance(value, Applied) and any(value.network is network for network in self.networks)
            if own or any(below.name in found for below in value.below):
                found.add(value.name)
        return found

    @cached_property
    def passes(self) -> dict[str, Pass]:
        """Name of a value -> the pass that computes it, of the networks that it trains, in order."""
        counts: dict[int, int] = {}
        found: dict[str, Pass] = {}
        for value in self.applied:
            if any(value.network is network for network in self.networks):
                number = counts[id(value.network)] = counts.get(id(value.network), 0) + 1
                found[value.name] = Pass(value, "" if number == 1 else f"/{number}")
        return found

    @cached_property
    def answer(self) -> Term | None:
        """The term whose target is a class: of it one can say how many are right."""
        return next((term for term in self.terms if term.loss.classification), None)

    @property
    def answers(self) -> int:
        """How many there are in an example, of which some are right."""
        return 1 if self.answer is None else self.answer.answers

    @cached_property
    def verdicts(self) -> list[tuple[Value, float, bool]]:
        """Where a network that it trains is taught to tell apart: (value, the middle, whether it is to be above)."""
        found = []
        for term in self.terms:
            for of, target in term.pairs:
                judged = isinstance(of, Applied) and any(of.network is network for network in self.networks)
                if judged and isinstance(target, float):
                    found.append((of, 0.0 if isinstance(term.loss, LabelsCrossEntropy) else 0.5, target > 0.5))
        return found if {above for _, _, above in found} == {True, False} else []

    @cached_property
    def reads(self) -> list[Parameter]:
        """The parameters of all networks that it computes with."""
        networks = {id(value.network): value.network for value in self.applied}
        return [parameter for network in networks.values() for parameter in network.parameters.values()]

    # --- its optimizer ----------------------------------------------------------------------------------------

    @cached_property
    def by_rate(self) -> dict[float, list[str]]:
        """What the learning rate is multiplied by -> the parameters that have that rate."""
        found: dict[float, list[str]] = {}
        for name in self.parameters:
            found.setdefault(self.lr_factors.get(name, 1.0), []).append(name)
        return found

    def new_state(self) -> Arrays:
        """Of the optimizer, once the parameters have values."""
        own = self.optimizer.new_state({name: p.data for name, p in self.parameters.items()})
        return {f"{self.prefix}{name}": array for name, array in own.items()}

    def own_state(self, state: Arrays) -> Arrays:
        """Of all that the optimizers of a training keep, what is this one's, under the names that it knows."""
        if not self.prefix:
            return state
        start = len(self.prefix)
        return {name[start:]: array for name, array in state.items() if name.startswith(self.prefix)}

    @property
    def prefix(self) -> str:
        return f"{self.name}/" if self.name else ""


def lone_update(
    model: Network,
    loss: Loss,
    inputs: str,
    target: Given,
    *,
    optimizer: Optimizer,
    schedule: Schedule,
    penalty: Penalty,
    clip_norm: float | None,
    lr_factors: dict[str, float],
) -> Update:
    """Of a network that is trained alone, which is what `model` and `loss` say: `{model: image}` against `label`.

    inputs: their name among the values of the data set.
    """
    output = Applied("output", model.out_shape, model, (Given(inputs, model.in_shape),))
    return Update(
        terms=(Term(loss, ((output, target),)),),
        networks=(model,),
        optimizer=optimizer,
        schedule=schedule,
        penalty=penalty,
        clip_norm=clip_norm,
        lr_factors=lr_factors,
    )


def all_values(updates: Iterable[Update]) -> list[Value]:
    return in_order(value for update in updates for value in update.values)
