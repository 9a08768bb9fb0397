"""Do two sets of kernels compute the same? Layer by layer, forward and backward, in float32 and in float64.

Every layer gets the very input, and on the way back the very output and its gradient, that it had with the first set of
kernels. So what a row shows is that layer's own difference, and a value that rounding moves across the kink of a relu
spoils nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dltrain.backend import choose_kernels, open_device, to_host
from dltrain.check.subject import Subject, Trace, trace
from dltrain.engine import Tensor, gradients
from dltrain.errors import ConfigError
from dltrain.job.job import Job
from dltrain.nn import INPUT, Context

Array = Any
BACKENDS = ("reference", "numpy", "native", "cupy")
TOLERANCES = {"float32": 1e-4, "float64": 1e-10}  # of ‖a - b‖ / ‖b‖


@dataclass(frozen=True)
class Difference:
    """‖a - b‖ / ‖b‖, b by the first backend. backward: the largest of the gradients of input and parameters; None where
    a row has none. layer: or "data", or "loss".
    """

    backend: str
    dtype: str
    layer: str
    forward: float
    backward: float | None

    @property
    def is_beyond(self) -> bool:
        limit = TOLERANCES[self.dtype]
        return not (self.forward <= limit and (self.backward is None or self.backward <= limit))

    def to_json(self) -> dict[str, Any]:
        """null stands for a difference that is no number."""
        row = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(self).items()}
        return row | {"beyond": self.is_beyond}


def parse(text: str) -> list[str]:
    """`numpy,cupy` -> names, the first one of which the others are compared with. Raises ConfigError."""
    names = [name.strip() for name in text.split(",")]
    if len(names) < 2 or len(set(names)) < len(names) or not set(names) <= set(BACKENDS):
        raise ConfigError(f"--backends {text}: expected two or three of {', '.join(BACKENDS)}, as in numpy,cupy")
    return names


def compare(make_job: Callable[[str, str], Job], names: list[str]) -> Iterator[Difference]:
    """make_job(device, dtype): the same job on `cpu` or `cuda`. Raises DeviceError where a backend is not there."""
    for name in names:  # what is not there is said before anything is computed
        open_device("cuda") if name == "cupy" else choose_kernels(name)
    for dtype in TOLERANCES:
        reference, *others = names
        first = _subject(make_job, reference, dtype)
        x, targets = first.train.examples(first.first_batch, 0, first.step_key)
        context = Context(training=True, words=first.words(len(targets)))
        seen, x = trace(first.job, x, targets, context), to_host(x)
        for name in others:
            subject = _subject(make_job, name, dtype)
            for layer, forward, backward in _differences(subject, seen, x):
                yield Difference(name, dtype, layer, forward, backward)


def _subject(make_job: Callable[[str, str], Job], backend: str, dtype: str) -> Subject:
    if backend == "cupy":
        return Subject(make_job("cuda", dtype)).initialised()
    choose_kernels(backend)
    return Subject(make_job("cpu", dtype)).initialised()


def _differences(subject: Subject, seen: Trace, x: Array) -> Iterator[tuple[str, float, float | None]]:
    """(layer, forward, backward)"""
    job, asarray = subject.job, subject.job.device.asarray
    data, targets = subject.train.examples(subject.first_batch, 0, subject.step_key)
    yield "data", _relative(data, x), None
    context = Context(training=True, words=subject.words(len(targets)))
    traces = {t.layer.name: t for t in seen.layers}
    users = Counter(name for sources in job.network.sources.values() for name in sources)
    for layer in job.model.layers:
        was, sources = traces[layer.name], job.network.sources[layer.name]
        given = [Tensor(asarray(x if name == INPUT else traces[name].output)) for name in sources]
        y = layer(*given, context=context)
        difference = _relative(y.data, was.output)
        y.data[...] = asarray(was.output)
        objective: Any = y * asarray(was.gradient)
        found = gradients(objective.sum(), [*given, *layer.parameters.values()])
        # What a layer passes on is all of its input's gradient where no other takes that input.
        wanted = [traces[name].gradient if name != INPUT and users[name] == 1 else None for name in sources]
        wanted += [seen.gradients[f"{layer.name}.{name}"] for name in layer.parameters]
        both = [_relative(a, b) for a, b in zip(found, wanted, strict=True) if b is not None]
        yield layer.name, difference, max(both, default=None)
    output = Tensor(asarray(seen.layers[-1].output))
    loss = job.loss(output, targets, job.loss.count(targets))
    found = gradients(loss, [output])
    yield "loss", _relative(loss.data, np.array(seen.loss)), _relative(found[0], seen.layers[-1].gradient)


def _relative(a: Array, b: Array) -> float:
    """‖a - b‖ / ‖b‖; 0 where both are 0 everywhere."""
    a, b = to_host(a).astype(np.float64), np.asarray(b, np.float64)
    distance, size = float(np.linalg.norm(a - b)), float(np.linalg.norm(b))
    return distance / size if size else (0.0 if distance == 0 else float("inf"))
