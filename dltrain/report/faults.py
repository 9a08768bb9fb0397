"""Rules about a network, its layers and what it learns. Where a source names no number the limit is ours, with room to
what the shipped configs show; docs/advice.md is generated from this table.
"""

from collections.abc import Iterable, Sequence
from statistics import median

from dltrain.report.seen import RULES, Row, Said, Seen, rule

WARM = 20  # steps after which it can be said how a training goes
SETTLED = 5  # epochs after which it can be compared with something else

# --- how it ended and began ---------------------------------------------------------------------------------------


@rule(
    0,
    "the run ended because a loss or a gradient was not finite",
    "Goodfellow et al., Deep Learning, 2016, 8.2.4",
    "lower optimizer.lr, set train.clip_norm or warm up (schedule.warmup)",
)
def diverged(seen: Seen, limit: float) -> Said | None:
    if seen.status != "diverged":
        return None
    return Said("the training diverged: a number grew beyond what the computer can hold", serious=True)


@rule(
    5.0,
    "data loss of step 1 - chance level (ln C for C equally frequent classes); cross entropy only",
    "A. Karpathy, A Recipe for Training Neural Networks, 2019: verify the loss at initialisation",
    "use a smaller init in the last layer, and check that data.normalize is on",
)
def start_loss(seen: Seen, limit: float) -> Said | None:
    if seen.start is None or seen.guessing is None or seen.start["data_loss"] < limit + seen.guessing:
        return None
    return Said(
        f"the first loss was {seen.start['data_loss']:.3g}, chance level is {seen.guessing:.3g}: the network "
        "starts out confidently wrong"
    )


# --- layers -------------------------------------------------------------------------------------------------------


@rule(
    0.25,
    "share of a ReLU layer's units that were zero for every training example of the last epoch",
    "Maas, Hannun, Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, 2013; serious from 0.5",
    "try a lower optimizer.lr, schedule.warmup, leaky_relu or init he_normal",
)
def dead_units(seen: Seen, limit: float) -> Said | None:
    sick = _over(seen.last, "dead_share", limit)
    if not sick:
        return None
    worst = sick[0]
    history = [row for row in seen.layers if row["layer"] == worst["layer"]]
    since = worst["epoch"]
    for row in reversed(history):
        if row["dead_share"] < limit:
            break
        since = row["epoch"]
    return Said(
        f"{worst['layer']}: {_percent(worst['dead_share'])} of its {worst['units']} units are dead "
        f"{_since(since, worst['epoch'])}{_others(sick, 'dead_share')}",
        worst["dead_share"] >= 0.5,
        worst["layer"],
    )


@rule(
    1e-3,
    "gradient beside the weights, ‖g‖ / ‖w‖, of the first layer / that of the last one (three layers or more)",
    "Glorot, Bengio, Understanding the Difficulty of Training Deep Feedforward Neural Networks, 2010",
    "try relu with init he_normal, or fewer layers",
)
def vanishing_gradients(seen: Seen, limit: float) -> Said | None:
    ratio, first, last = _depth_ratio(seen)
    if ratio is None or ratio >= limit:
        return None
    return Said(
        f"{first}: its gradient is {ratio:.0e} of that of {last}, so the first layers barely learn", True, first
    )


@rule(
    1e3,
    "the same quotient, the other way round",
    "Pascanu, Mikolov, Bengio, On the Difficulty of Training Recurrent Neural Networks, 2013",
    "try init he_normal (relu) or glorot_normal (tanh), or train.clip_norm",
)
def exploding_gradients(seen: Seen, limit: float) -> Said | None:
    ratio, first, last = _depth_ratio(seen)
    if ratio is None or ratio <= limit:
        return None
    return Said(f"{first}: its gradient is {ratio:,.0f} times that of {last}, it explodes on the way back", True, first)


@rule(
    0.7,
    "share of a sigmoid or tanh layer's outputs beyond 95 % of their range, last epoch",
    "Glorot, Bengio 2010, section 3: saturation; serious from 0.9",
    "use init glorot_uniform, data.normalize: channel or a lower optimizer.lr",
)
def saturated(seen: Seen, limit: float) -> Said | None:
    sick = _over(seen.last, "saturated_share", limit)
    if not sick:
        return None
    worst = sick[0]
    return Said(
        f"{worst['layer']}: {_percent(worst['saturated_share'])} of its {worst['activation']} outputs are saturated, "
        f"where the slope is nearly 0{_others(sick, 'saturated_share')}",
        worst["saturated_share"] >= 0.9,
        worst["layer"],
    )


@rule(
    0.05,
    "‖Δw‖ / ‖w‖ of a layer, median over the epochs, from step 20 on",
    "Stanford CS231n, Neural Networks Part 3, ratio of weights to updates: somewhere around 1e-3",
    "try a lower optimizer.lr",
)
def large_updates(seen: Seen, limit: float) -> Said | None:
    layer, ratio = max(_updates(seen).items(), key=lambda item: item[1], default=(None, 0.0))
    if layer is None or ratio <= limit:
        return None
    change = _percent(ratio) if ratio < 10 else f"{ratio:,.0f} times their size"
    return Said(f"{layer}: a step changes its weights by {change}; about 0.1 % is usual", layer=layer)


@rule(
    1e-5,
    "the largest ‖Δw‖ / ‖w‖ of all layers, median over the epochs, from step 20 on",
    "as large_updates",
    "try a higher optimizer.lr",
)
def small_updates(seen: Seen, limit: float) -> Said | None:
    ratio = max(_updates(seen).values(), default=1.0)
    if ratio >= limit:
        return None
    return Said(f"no layer changes by more than {ratio:.0e} of its weights in a step; about 1e-3 is usual")


# --- learning -----------------------------------------------------------------------------------------------------


@rule(
    10.0,
    "training data loss of the last epoch / chance level, or where that is no entropy, of the first step",
    "Goodfellow et al. 2016, 4.3: with too high a rate gradient descent makes the loss larger",
    "lower optimizer.lr (`dltrain lr-find`), or set train.clip_norm",
)
def loss_grew(seen: Seen, limit: float) -> Said | None:
    before = seen.guessing or (seen.start["data_loss"] if seen.start else None)
    if not seen.epochs or not before or seen.epochs[-1]["train"]["data_loss"] < limit * before:
        return None
    loss, begun = seen.epochs[-1]["train"]["data_loss"], "chance level is" if seen.guessing else "it began at"
    return Said(f"the training loss has grown to {loss:.3g}; {begun} {before:.3g}", serious=True)


@rule(
    0.9,
    "training data loss of the last of two or more epochs / chance level; cross entropy only",
    "A. Karpathy 2019: beat the input-independent baseline",
    "try optimizer.lr ten times higher or lower, and see what the layers' gradients say",
)
def learns_nothing(seen: Seen, limit: float) -> Said | None:
    if seen.guessing is None or len(seen.epochs) < 2:
        return None
    loss = seen.epochs[-1]["train"]["data_loss"]
    if loss < limit * seen.guessing or loss_grew(seen, RULES["loss_grew"].limit):
        return None
    return Said(f"after {len(seen.epochs)} epochs the loss is {loss:.3g}; chance level is {seen.guessing:.3g}", True)


@rule(
    0.001,
    "headline figure of a linear model - upper end of the network's own interval, after five or more epochs",
    "A. Karpathy 2019: verify that the network beats a simple baseline",
    "train longer, try optimizer.lr (`dltrain lr-find`), or keep the linear model: it is simpler",
)
def behind_linear(seen: Seen, limit: float) -> Said | None:
    found = seen.headline
    if found is None or found.linear is None or found.interval is None or len(seen.epochs) < SETTLED:
        return None
    if found.linear - found.interval[1] <= limit:
        return None
    return Said(
        f"a linear model does better: {found.split} {found.name} {found.linear:.3g}, the network {found.value:.3g}",
        serious=True,
    )


@rule(
    0.8,
    "training accuracy, where the training loss fell by less than 1 % over the last three of six or more epochs",
    "Goodfellow et al. 2016, 5.2: capacity, overfitting and underfitting",
    "try a larger network, another optimizer.lr, less dropout or a smaller penalty",
)
def underfitting(seen: Seen, limit: float) -> Said | None:
    if len(seen.epochs) < 6 or learns_nothing(seen, RULES["learns_nothing"].limit):
        return None
    then, now = (seen.epochs[i]["train"] for i in (-4, -1))
    if "accuracy" not in now or now["accuracy"] >= limit or now["loss"] < 0.99 * then["loss"]:
        return None
    return Said(
        f"the training loss has stopped falling at {now['loss']:.3g}, with {_percent(now['accuracy'])} of the training "
        "examples right"
    )


@rule(
    1.2,
    "validation loss of the last epoch / the lowest one, two or more epochs earlier, while the training loss fell",
    "Prechelt, Early Stopping, but When?, 1998",
    "use --checkpoint best, train.early_stopping, data.augment, dropout or penalty.l2",
)
def overfitting(seen: Seen, limit: float) -> Said | None:
    watched = [row for row in seen.epochs if "validation" in row]
    if len(watched) < 3:
        return None
    now, best = watched[-1], min(watched, key=lambda row: row["validation"]["loss"])
    ratio = now["validation"]["loss"] / max(best["validation"]["loss"], 1e-12)
    falling = now["train"]["loss"] < best["train"]["loss"]
    if now["epoch"] - best["epoch"] < 2 or ratio < limit or not falling:
        return None
    return Said(
        f"overfitting: the validation loss rose from {best['validation']['loss']:.3g} in epoch {best['epoch']} to "
        f"{now['validation']['loss']:.3g}, while the training loss fell"
    )


@rule(
    1.0,
    "penalty of the last epoch / data loss of the first one: what there was to win by right answers",
    "Goodfellow et al. 2016, 7.1: parameter norm penalties",
    "use a smaller penalty",
)
def penalty_dominates(seen: Seen, limit: float) -> Said | None:
    if not seen.epochs:
        return None
    penalty, first = seen.epochs[-1]["train"]["penalty"], seen.epochs[0]["train"]["data_loss"]
    if penalty <= limit * first:
        return None
    return Said(
        f"the penalty ({penalty:.3g}) outweighs even the first data loss ({first:.3g}): small weights count more than "
        "right answers"
    )


@rule(
    5.0,
    "training examples of the most frequent class / of the rarest one",
    "Buda, Maki, Mazurowski, A Systematic Study of the Class Imbalance Problem, 2018",
    "look at the recall of each class; data.class_weights: balanced makes the rare ones count more",
)
def class_imbalance(seen: Seen, limit: float) -> Said | None:
    counts = seen.class_counts or {}
    if len(counts) < 2:
        return None
    most, fewest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[most] < limit * counts[fewest]:
        return None
    return Said(
        f"the training data have {counts[most]:,} examples of {most} but {counts[fewest]:,} of {fewest}: accuracy "
        "hides how rare classes fare"
    )


# --- looking at rows ----------------------------------------------------------------------------------------------


def _over(rows: Iterable[Row], key: str, limit: float) -> list[Row]:
    """The rows whose value reaches the limit, the worst first."""
    return sorted((row for row in rows if (row[key] or 0) >= limit), key=lambda row: -row[key])


def _others(sick: Sequence[Row], key: str) -> str:
    """` (dense1: 32 %)`: the next worst ones."""
    parts = [f"{row['layer']}: {_percent(row[key])}" for row in sick[1:4]] + ["…"] * (len(sick) > 4)
    return f" ({', '.join(parts)})" if parts else ""


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _since(first: int, last: int) -> str:
    return f"in epoch {last}" if first == last else f"since epoch {first}"


def _depth_ratio(seen: Seen) -> tuple[float | None, str, str]:
    """‖g‖ / ‖w‖ of the first layer with weights over that of the last, in the last epoch; None if it cannot be told."""
    rows = [row for row in seen.last if row["weight_norm"] and row["gradient_norm"] is not None]
    if len(rows) < 3:
        return None, "", ""
    first, last = (row["gradient_norm"] / row["weight_norm"] for row in (rows[0], rows[-1]))
    return (first / last if last else None), rows[0]["layer"], rows[-1]["layer"]


def _updates(seen: Seen) -> dict[str, float]:
    """Layer -> median over the epochs, so that the small steps at the end of a schedule do not count.

    Nothing before step WARM: the first steps of some optimizers are unlike all others.
    """
    found: dict[str, list[float]] = {}
    if not seen.epochs or seen.epochs[-1]["step"] < WARM:
        return {}
    for row in seen.layers:
        if row["update_ratio"] is not None:
            found.setdefault(row["layer"], []).append(row["update_ratio"])
    return {layer: median(ratios) for layer, ratios in found.items()}
