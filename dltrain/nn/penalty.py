"""Penalties: what keeps weights small, added to the loss or taken off after an update."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge

from dltrain.backend import array_module
from dltrain.engine import Tensor
from dltrain.nn.parameter import Parameter
from dltrain.ops import absolute_sum, concatenate, p_norm, reshape, square_sum
from dltrain.registry import NonNegative

Array = Any


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """l1 · Σ|w| + l2 · Σw² + norm · ‖w‖, with ‖w‖ = (Σ|w|^p)^(1/p): the plain L2 norm unless p says otherwise.

    over: whether ‖w‖ is that of each layer, added up, or of all weights of the model together; Σ is the same for both.
    biases: whether they are penalised like weights, and with them the scales and shifts of normalisations.
    method: "gradient" adds the l1 term to the loss, where weights come close to 0 and oscillate about it. "proximal"
    takes l1 times the optimizer's rate off the size of each weight after every update and stops at 0, so that weights
    become exactly 0 (Parikh and Boyd, "Proximal Algorithms", 2014, section 6.5.2). The rate is how far a gradient of
    1 that lasts moves the weight: lr with sgd, lr / (1 - momentum) with momentum and nesterov, lr / (√v̂ + ε) with
    adam and its like. So each of them comes to rest where the loss with the term is smallest (momentum on the
    gradient alone, steps in the metric of the optimizer: Yun, Lozano, Yang, "Adaptive Proximal Gradient Methods for
    Structured Neural Networks", 2021).
    """

    l1: NonNegative = 0.0
    l2: NonNegative = 0.0
    norm: NonNegative = 0.0
    p: Annotated[float, Ge(1)] = 2.0
    over: Literal["layer", "model"] = "layer"
    biases: bool = False
    method: Literal["gradient", "proximal"] = "gradient"

    @property
    def penalises(self) -> bool:
        """Whether anything at all."""
        return bool(self.l1 or self.l2 or self.norm)

    def covers(self, parameter: Parameter) -> bool:
        kinds = ("weight", "bias", "scale", "shift") if self.biases else ("weight",)
        return parameter.trainable and parameter.kind in kinds

    def terms(self, layers: list[list[Parameter]]) -> tuple[Tensor | None, Tensor | None]:
        """(what is part of the loss, what proximal steps take care of) for the parameters of each layer.

        None where nothing is penalised.
        """
        every = [p for layer in layers for p in layer if self.covers(p)]
        smooth: list[Any] = []
        stepped: list[Any] = []
        if self.l1:
            (stepped if self.method == "proximal" else smooth).extend(absolute_sum(p) * self.l1 for p in every)
        if self.l2:
            smooth += [square_sum(p) * self.l2 for p in every]
        if self.norm:
            together = [every] if self.over == "model" else [[p for p in layer if self.covers(p)] for layer in layers]
            smooth += [self._norm(parameters) * self.norm for parameters in together if parameters]
        return _sum(smooth), _sum(stepped)

    def _norm(self, parameters: list[Parameter]) -> Any:
        """Of all of them together: the norm of their norms."""
        norms = [reshape(p_norm(w, p=self.p), shape=(1,)) for w in parameters]
        return p_norm(concatenate(*norms), p=self.p)

    def after_update(self, parameters: Mapping[str, Parameter], rate_of: Callable[[str], Array]) -> None:
        """The proximal step: in place, each weight rate · l1 nearer to 0. rate_of: a parameter's name -> its rate."""
        if self.method == "gradient" or not self.l1:
            return
        for name, parameter in parameters.items():
            if self.covers(parameter):
                w = parameter.data
                xp = array_module(w)
                w[...] = xp.sign(w) * xp.maximum(xp.abs(w) - rate_of(name) * self.l1, 0)


def _sum(terms: list[Any]) -> Any:
    total: Any = None
    for term in terms:
        total = term if total is None else total + term
    return total
