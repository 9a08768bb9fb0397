"""Are the gradients right? Every layer and the loss against finite differences, in float64."""

from typing import Any

import numpy as np

from dltrain.backend import open_device
from dltrain.check.finding import Finding, judged
from dltrain.check.subject import Subject
from dltrain.engine import GradientMismatch, Tensor, gradcheck
from dltrain.nn import Context, Embedding, Layer, Parameter
from dltrain.random import generator

Array = Any
TOLERANCE = 1e-5
# A kink (the 0 of a relu, a tie of a maximum) between the two points of a difference is no mistake. Nearer points
# are less likely to have one between them; a wrong gradient is wrong at every distance.
EPSILONS = (1e-6, 1e-8, 1e-9)


def gradient_check(subject: Subject) -> Finding:
    """Two examples of random values go through each layer by itself, or five where examples are normalised by each
    other: of two only the order would be left. See engine/gradcheck.py.

    The weights are random too, of usual size whatever model.init says: beside huge ones a small difference is lost in
    rounding, and weights that are all 0 leave every relu at its kink.
    """
    errors: dict[str, float] = {}
    wrong: list[str] = []
    for layer in subject.job.model.layers:
        try:
            errors[layer.name] = _worst_error(subject, layer)
        except GradientMismatch as mismatch:
            wrong.append(f"{layer.name}: {mismatch}")
    try:
        errors["loss"] = _of_the_loss(subject)
    except GradientMismatch as mismatch:
        wrong.append(f"loss: {mismatch}")
    shown = ", ".join(f"{name} {error:.0e}" for name, error in errors.items())
    return judged(
        "gradient_check",
        f"relative error in float64: {shown}" if shown else "no gradient is right",
        (bool(wrong), "failed", f"a derivative is wrong; {'; '.join(wrong)}"),
        errors=errors,
        wrong=wrong,
    )


def _worst_error(subject: Subject, layer: Layer) -> float:
    device = open_device(subject.job.device.name, np.float64)
    values = [device.asarray(_values(p, _rng(subject, f"{layer.name}.{n}"))) for n, p in layer.parameters.items()]
    rng = _rng(subject, layer.name)
    examples = 5 if layer.mixes_examples else 2
    given = [device.asarray(_input(layer, (examples, *shape), rng)) for shape in layer.in_shapes]
    context = Context(training=True, words=subject.words(examples))
    changes = not isinstance(layer, Embedding)  # nothing lies between two tokens

    def function(*tensors: Tensor) -> Tensor:
        twin = layer.computing_with(dict(zip(layer.parameters, tensors[-len(values) :] if values else (), strict=True)))
        return twin(*(tensors[: len(given)] if changes else given), context=context)

    return _nearer_and_nearer(function, *(given if changes else ()), *values)


def _values(parameter: Parameter, rng: np.random.Generator) -> Array:
    if parameter.kind == "weight":
        return rng.standard_normal(parameter.shape) / max(1, parameter.fan_in) ** 0.5
    return np.asarray(parameter.draw(rng), np.float64)


def _input(layer: Layer, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Tokens where it takes some."""
    if isinstance(layer, Embedding):
        return rng.integers(0, len(layer.weight), shape).astype(np.float64)
    return rng.standard_normal(shape)


def _of_the_loss(subject: Subject) -> float:
    job = subject.job
    device = open_device(job.device.name, np.float64)
    output = device.asarray(_rng(subject, "loss").standard_normal((4, *job.network.out_shape)))
    known = subject.train.targets()
    if subject.class_names is None:  # of the size of the outputs, for the same reason
        known = (known - known.mean(axis=0)) / (known.std(axis=0) + 1e-30)
    targets = device.asarray(known[:4])
    return _nearer_and_nearer(lambda y: job.loss(y, targets, job.loss.count(targets)), output[: len(targets)])


def _nearer_and_nearer(function: Any, *inputs: Any) -> float:
    for epsilon in EPSILONS[:-1]:
        try:
            return gradcheck(function, *inputs, directions=1, epsilon=epsilon, tolerance=TOLERANCE)
        except GradientMismatch:
            continue
    return gradcheck(function, *inputs, directions=1, epsilon=EPSILONS[-1], tolerance=TOLERANCE)


def _rng(subject: Subject, what: str) -> np.random.Generator:
    return generator(subject.job.seed, "check", what)
