"""The network before its first step: is it in a state from which it can learn?"""

from math import log
from typing import Any

import numpy as np

from dltrain.backend import to_host
from dltrain.check.finding import WEIGHTS, Finding, judged, skipped
from dltrain.check.subject import LayerTrace, Subject, rms
from dltrain.nn import Join, Loss, Network, shape_text
from dltrain.nn.summary import summarise
from dltrain.train.step import penalise

Array = Any


def shapes(subject: Subject) -> Finding:
    """Shapes, parameters, and how the training is cut into steps."""
    job, size = subject.job, subject.train.size
    counted = summarise(job.network, job.train.batch_size)
    shape = " → ".join(shape_text(s) for s in (job.network.in_shape, job.network.out_shape))
    mebibytes = counted["activation_bytes"] / 2**20
    memory = f"{mebibytes:,.0f} MiB" if mebibytes >= 1 else "< 1 MiB"
    found = f"{shape} in {len(job.model.layers)} layers, {counted['total']:,} parameters; {size:,} examples, "
    found += f"{job.steps_per_epoch:,} steps an epoch; activations {memory} per batch"
    return judged(
        "shapes",
        found,
        (
            job.train.step_size > size,
            "warning",
            f"a step takes {job.train.step_size:,} examples, more than there are: each epoch is one step",
        ),
        parameters=counted["total"],
        steps_per_epoch=job.steps_per_epoch,
    )


def output(subject: Subject) -> Finding:
    """The last layer's activation must let through what the loss wants to see."""
    job = subject.job
    if subject.class_names is not None or job.loss.multilabel:
        return last_activation(job.network, job.loss)
    targets = to_host(subject.train.targets_of(np.arange(subject.train.size)))  # as the network should give them
    return last_activation(job.network, job.loss, (float(targets.min()), float(targets.max())))


def last_activation(model: Network, loss: Loss, span: tuple[float, float] | None = None) -> Finding:
    """The same before there are any data. span: of numbers to predict, where it is known."""
    backwards = reversed(model.layers)
    last = next((layer for layer in backwards if layer.observed or isinstance(layer, Join)), None)
    activation, name = (last.activation, last.name) if last else (None, "")
    remedy = f"give {name} `activation: none`" if last and last.parameters else f"remove {name}"
    ends = f"{name} ends in {activation}" if activation else "the last layer has no activation"
    if loss.classification or loss.multilabel:
        advice = f"{remedy}: the loss wants numbers of any size and does the rest itself"
        return judged("output", ends, (bool(activation), "failed", advice))
    bounds = {"relu": (0.0, np.inf), "sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0), "tanh": (-1.0, 1.0)}
    least, most = bounds.get(activation or "", (-np.inf, np.inf))
    beyond = f"{remedy}: {activation} gives numbers from {least:g} to {most:g} only"
    unable = f"{remedy}: for a single number softmax is always 1, and several add up to 1"
    dying = f"{remedy}: where relu is 0 it passes no gradient, and a unit that is 0 for all examples stays so"
    return judged(
        "output",
        f"{ends}, targets from {span[0]:.4g} to {span[1]:.4g}" if span else ends,
        (activation == "softmax", "failed", unable),
        (span is not None and (span[0] < least or span[1] > most), "failed", beyond),
        (activation == "relu", "warning", dying),
    )


def loss_at_start(subject: Subject) -> Finding:
    """A network that knows nothing should be as wrong as guessing: all outputs 0, or the mean of the targets.

    Weights scaled for relu (he_normal) give outputs of variance 2 and, after max_pool, more: a few more are healthy.
    """
    loss, guess = subject.trace.loss, subject.guess
    if subject.class_names is not None:
        even = log(len(subject.class_names))
        found = f"{loss:.4g}; chance level {'' if abs(guess - even) > 1e-4 else f'ln {len(subject.class_names)} = '}"
        scale = guess / even if even else 1.0
        warn, fail = guess + 5 * scale, guess + 20 * scale
    else:
        found = f"{loss:.4g}; predicting the mean gives "
        warn, fail = 10 * guess, 1000 * guess
    advice = f"the outputs are too large at the start: normalise the inputs, or {WEIGHTS}"
    low = "better than chance before the first step: does the input contain the answer?"
    return judged(
        "loss_at_start",
        f"{found}{guess:.4g}; below {warn:.4g} is normal",
        (not np.isfinite(loss), "failed", advice),
        (loss > fail, "failed", advice),
        (loss > warn, "warning", advice),
        (loss < guess / 2, "warning", low),
        loss=loss,
        guess=guess,
    )


def activations(subject: Subject) -> Finding:
    """Differences between examples must neither fade nor grow on their way through the layers.

    Measured as the standard deviation over the examples, root mean square over positions and units. Glorot and Bengio,
    2010, and He et al., 2015, chose their weights to keep it. Outputs that all start at 0 are no fault of the last
    layer: the loss tells its units apart. Tables of vectors for tokens and positions pass nothing on, so the scale
    begins after them.
    """
    traces = [t for t in subject.trace.layers if t.layer.observed and t.layer.kind not in ("embedding", "positional")]
    if traces and not traces[-1].output.any():
        traces.pop()
    if not traces:
        return skipped("activations", "no layer but one that starts at 0")
    rows = [(t.layer.name, float(t.output.mean()), _spread(t)) for t in traces]
    text = ", ".join(f"{name} {mean:.2g} ± {spread:.2g}" for name, mean, spread in rows)
    spreads = [spread for _, _, spread in rows]
    first, lowest, highest = spreads[0], min(spreads), max(spreads)
    broken = not np.isfinite(spreads).all()
    return judged(
        "activations",
        f"mean ± spread over examples: {text}",
        (broken or highest > 1e3 * first or first > 1e3, "failed", f"they grow from layer to layer; {WEIGHTS}"),
        (lowest < 1e-3 * first or first < 1e-6, "failed", f"all examples get nearly the same activations; {WEIGHTS}"),
        (highest > 30 * first, "warning", f"they grow from layer to layer; {WEIGHTS}"),
        (lowest < first / 30, "warning", f"the differences between examples fade; {WEIGHTS}"),
        layers={name: {"mean": mean, "spread": spread} for name, mean, spread in rows},
    )


def dead_units(subject: Subject) -> Finding:
    """ReLU units (channels, for conv) that are 0 for every example looked at: no gradient passes them."""
    relus = [t for t in subject.trace.layers if t.layer.activation in ("relu", "relu6")]
    dead = {t.layer.name: int((t.output.reshape(-1, t.output.shape[-1]).max(axis=0) <= 0).sum()) for t in relus}
    units = {t.layer.name: t.layer.out_shape[-1] for t in relus}
    share = max((dead[name] / units[name] for name in dead), default=0.0)
    some = [f"{name} {dead[name]} of {units[name]}" for name in dead if dead[name]]
    found = ", ".join(some) or (f"none of {sum(units.values()):,}" if relus else "no layer has relu")
    advice = "try he_normal, normalised inputs or leaky_relu"
    return judged(
        "dead_units",
        f"{found}, over {subject.examples} examples",
        (share > 0.5, "failed", f"almost no signal passes; {advice}"),
        (share > 0.1, "warning", advice),
        dead_units=dead,
    )


def gradients_arrive(subject: Subject) -> Finding:
    """Every parameter must get a gradient, and units of a layer before the last one must not all be the same."""
    found = subject.trace.gradients
    hidden = [layer for layer in subject.job.model.layers if layer.parameters][:-1]
    broken = [name for name, g in found.items() if not np.isfinite(g).all()]
    none = [name for name, g in found.items() if not g.any()]
    weights = {f"{layer.name}.{n}": p for layer in hidden for n, p in layer.parameters.items() if p.kind == "weight"}
    same = [name for name, p in weights.items() if _all_alike(p.data)]
    reached = f"{len(found) - len(none)} of {len(found)}" if none else f"all {len(found)}"
    missing = f"nothing reaches {', '.join(none)}: dead units, weights that are all 0, or no path to the loss"
    return judged(
        "gradients",
        f"{reached} parameters receive gradients",
        (bool(broken), "failed", f"not finite in {', '.join(broken)}; {WEIGHTS}"),
        (bool(none), "failed", missing),
        (bool(same), "failed", f"the units of {', '.join(same)} start equal, so they stay equal; use a random init"),
        missing=none,
    )


def gradient_depth(subject: Subject) -> Finding:
    """Gradients of the layers' outputs must neither vanish nor explode on the way back.

    Summed over positions and units, so that layers of different sizes can be compared.
    """
    norms = {t.layer.name: float(np.linalg.norm(t.gradient)) for t in subject.trace.layers if t.layer.parameters}
    if not norms:
        return skipped("gradient_depth", "no layer has parameters")
    (first, at_first), *_, (last, at_last) = [*norms.items(), *norms.items()]
    ratio = at_first / at_last if at_last > 0 else float("nan")
    vanish = f"the first layers hardly learn: use relu or fewer layers; {WEIGHTS}"
    explode = f"the first layers get far too much: {WEIGHTS}; train.clip_norm helps"
    return judged(
        "gradient_depth",
        f"‖gradient‖ of the output of {first} is {ratio:.2g} times that of {last}",
        (not np.isfinite(ratio), "failed", "it is 0 or not finite at the last layer already"),
        (ratio < 1e-4, "failed", vanish),
        (ratio > 1e4, "failed", explode),
        (ratio < 1e-2, "warning", vanish),
        (ratio > 1e2, "warning", explode),
        norms=norms,
    )


def first_update(subject: Subject) -> Finding:
    """How far the optimizer moves the weights in one step at the config's own rate: ‖Δw‖ / ‖w‖, without schedule.

    About 1e-3 is healthy in the middle of a training (Karpathy, CS231n, "Neural Networks Part 3"); the first steps
    of adam, in which every weight moves by the whole rate, are larger.
    """
    job, ratios = subject.job, {}
    weights = {name: p for name, p in job.model.parameters.items() if p.kind == "weight"}
    for name, parameter in weights.items():
        w, g = {name: parameter.data.copy()}, {name: job.device.asarray(subject.trace.gradients[name])}
        job.optimizer.update(w, g, job.optimizer.new_state(w), job.optimizer.lr, 1)
        if size := rms(to_host(parameter.data)):
            ratios[name] = rms(to_host(w[name] - parameter.data)) / size
    if not ratios:
        return skipped("first_update", "there are no weights, or they start at 0")
    name = max(ratios, key=lambda key: (np.isnan(ratios[key]), ratios[key]))
    lr = job.optimizer.lr
    return judged(
        "first_update",
        f"‖Δw‖ / ‖w‖ is at most {ratios[name]:.2g} ({name}) at optimizer.lr {lr:g}",
        (not np.isfinite(ratios[name]), "failed", f"the gradient is not finite; {WEIGHTS}"),
        (ratios[name] >= 1, "failed", "one step replaces the weights; lower optimizer.lr (`dltrain lr-find`)"),
        (ratios[name] > 0.2, "warning", "large steps; a lower optimizer.lr or a warm-up may help"),
        (ratios[name] < 1e-6, "failed", "the weights hardly move; raise optimizer.lr (`dltrain lr-find`)"),
        (ratios[name] < 1e-5, "warning", "small steps; a higher optimizer.lr would be quicker (`dltrain lr-find`)"),
        ratios=ratios,
    )


def penalty(subject: Subject) -> Finding:
    """What penalties there are, those of layers included, must not be what the training is about."""
    value = sum(float(to_host(term)) for term in penalise(subject.job.update)[0])
    loss = subject.trace.loss if np.isfinite(subject.trace.loss) else subject.guess
    beside = f", {value / loss:.2g} times the loss" if loss > 0 else ""
    advice = "the training would mostly shrink weights; use a smaller penalty"
    return judged(
        "penalty",
        f"{value:.4g}{beside}" if value else "none",
        (not np.isfinite(value), "failed", f"it is not finite: use a smaller penalty; {WEIGHTS}"),
        (value > 10 * loss, "failed", advice),
        (value > loss, "warning", advice),
        penalty=value,
    )


def _spread(t: LayerTrace) -> float:
    return rms(t.output.std(axis=0, dtype=np.float64))


def _all_alike(w: Array) -> bool:
    """Whether all units, the last axis, have the same weights."""
    return w.shape[-1] > 1 and bool((w == w[..., :1]).all())
