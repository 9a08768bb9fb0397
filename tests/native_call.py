"""What a call of a kernel is, and how close to the specification its results must be."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dltrain.backend import Reference
from dltrain.ops.activation import FUSED

Array = Any
# positions of what is changed in place
CHANGED = {
    "sgd": (0,),
    "momentum": (0, 2),
    "nesterov": (0, 2),
    "adam": (0, 2, 3),
    "activate": (1,),
    "assign": (0,),
}
# what methods call in C where it has another name
FUNCTIONS = {
    "example_words": "philox", "column_sums": "observe", "activated": "activate", "add": "combine",
    "subtract": "combine", "multiply": "combine", "spread": "combine", "sum": "sum_middle", "packed": "assign",
    "concatenate": "assign", **dict.fromkeys(("rnn", "lstm", "gru"), "recurrent"),
    **dict.fromkeys(("rnn_grad", "lstm_grad", "gru_grad"), "recurrent_grad"),
}  # fmt: skip
RELU, TANH, SIGMOID = (FUSED[name] for name in ("relu", "tanh", "sigmoid"))
LEAKY = FUSED["leaky_relu"]
OTHERS = [a for a in FUSED.values() if a not in (RELU, TANH, SIGMOID)]  # which plain numpy computes


@dataclass(frozen=True)
class Call:
    """One call of a method of Reference. terms: how many numbers its longest sum adds."""

    method: str
    name: str
    arguments: tuple[Any, ...]
    terms: int = 1
    settings: dict[str, int] = field(default_factory=dict)

    def of(self, kernels: Reference, change: Callable[[Array], Array] = lambda a: a) -> list[Array]:
        """All arrays that the call makes or changes; its float32 arguments pass through `change` first."""

        def changed_in(a: Any) -> Any:
            if isinstance(a, tuple):
                return tuple(map(changed_in, a))
            return change(a) if isinstance(a, np.ndarray) and a.dtype == np.float32 else a

        given = [*map(changed_in, self.arguments)]
        changed = CHANGED.get(self.method, ())
        for position in changed:
            given[position] = given[position].copy()
        result = getattr(kernels, self.method)(*given, **self.settings)
        made = result if isinstance(result, tuple) else () if result is None else (result,)
        return [np.asarray(a) for a in made if a is not None] + [given[position] * 1 for position in changed]

    def of_reference(self) -> list[Array]:
        """The same by the specification in double precision."""
        with np.errstate(all="ignore"):
            return self.of(REFERENCE, lambda a: a.astype(np.float64))

    @property
    def function(self) -> str:
        """In C."""
        return FUNCTIONS.get(self.method, self.method)

    def __str__(self) -> str:
        return f"{self.method}: {self.name}"


TOLERANCE = 2e-6  # of the largest result, times the root of the number of terms: about 30 roundings
REFERENCE = Reference(np)


def assert_close(found: list[Array], expected: list[Array], call: Call) -> None:
    assert [a.shape for a in found] == [a.shape for a in expected], call
    for f, e in zip(found, expected, strict=True):
        finite = np.isfinite(e)
        tolerance = TOLERANCE * np.sqrt(call.terms) * np.abs(e).max(where=finite, initial=0)
        if not finite.all() or not (np.abs(f - e) <= tolerance).all():  # quick; the next line takes its time
            np.testing.assert_allclose(f, e, 0, tolerance, err_msg=str(call))


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)


def outputs(*shape: int, seed: int = 0) -> Array:
    """What relu, tanh or leaky_relu may have put out: half of it 0, all of it below 1."""
    return np.tanh(np.maximum(values(*shape, seed=seed), 0))
