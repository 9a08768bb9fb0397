"""The data: are the classes there, do the labels belong to the inputs, is the range right?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dltrain.check.finding import Finding, judged, skipped
from dltrain.check.subject import Subject
from dltrain.metrics.uncertainty import Z, wilson

Array = Any
SHOWN = 20  # columns
MOST_NAMED = 5  # inputs in a message
SAMPLE = 4096  # examples whose range is looked at
FEW = 50  # examples of a part whose figures chance moves by more than 15 %
CERTAIN, MOST_CERTAIN = 0.999, 50  # share of the target's spread that an input tells; of examples at least
FEW_LABELS = 200  # training examples; of fewer, chance decides how many neighbours agree
NEIGHBOURS, ASKED = 4000, 500  # examples among which the nearest ones are looked for, and for how many


def reading(subject: Subject) -> Finding:
    """What was left out when the data were read, or taken for something that it may not be."""
    splits = ", ".join(f"{loader.size:,} {name}" for name, loader in subject.job.loaders.items())
    notes, columns = subject.job.notes, subject.job.column_facts
    found = f"examples: {splits}"
    if columns:
        more = f" and {len(columns) - SHOWN:,} more" if len(columns) > SHOWN else ""
        found += f"; columns: {'; '.join(map(_in_words, columns[:SHOWN]))}{more}"
    return judged(
        "reading", found, (bool(notes), "warning", "; ".join(notes)), notes=list(notes), columns=list(columns)
    )


def _in_words(column: Mapping[str, Any]) -> str:
    """`age: number, 1 to 79, 20% missing`"""
    holds = f", {column['from']:.6g} to {column['to']:.6g}" if column["type"] == "number" else ""
    if column["type"] == "date":
        holds = f", {column['from']} to {column['to']}"
    if "different" in column:
        holds = f", {column['different']:,} {'words' if column['type'] == 'text' else 'different'}"
    missing = f", {column['missing']:.0%} missing" if column["missing"] else ""
    return f"{column['name']}: {column['type']}{holds}{missing}"


def classes(subject: Subject) -> Finding:
    """Every class must occur in the training part, and it helps when none is rare."""
    names = subject.class_names
    if subject.job.loss.multilabel:
        return _labels(subject)
    if names is None:
        spread = subject.train.targets().std(axis=0)
        constant = [i for i, s in enumerate(spread) if s == 0]
        advice = f"target {', '.join(map(str, constant))} is the same for all examples: nothing can be learnt"
        found = f"{len(spread)} numbers to predict, standard deviation {', '.join(f'{s:.3g}' for s in spread[:8])}"
        return judged("targets", found, (bool(constant), "failed", advice))
    loaders = subject.job.loaders
    counts = {split: np.bincount(loader.targets(), minlength=len(names)) for split, loader in loaders.items()}
    absent = {split: [names[i] for i in np.flatnonzero(c == 0)] for split, c in counts.items()}
    train = counts["train"]
    from_one = absent["train"] == ["0"] and names[0] == "0" and all(name.isdecimal() for name in names)
    shifted = "labels seem to count from 1, but 0 is a class: subtract 1 from them" if from_one else ""
    few, many = int(train.argmin()), int(train.argmax())
    found = f"{len(names)}; each has {train[few]:,} training examples"
    if train[few] < train[many]:
        found = f"{len(names)}; the rarest, {names[few]}, has {train[few]:,} training examples, "
        found += f"the most common, {names[many]}, {train[many]:,}"
    elsewhere = "; ".join(f"{split} has no {', '.join(a)}" for split, a in absent.items() if a and split != "train")
    return judged(
        "classes",
        found,
        (int(np.count_nonzero(train)) < 2, "failed", "all training examples are of one class: nothing can be learnt"),
        (bool(shifted), "failed", f"no training example of 0; {shifted}"),
        (bool(absent["train"]), "failed", f"no training example of {', '.join(absent['train'])}"),
        (
            train[many] > 10 * train[few],
            "warning",
            "accuracy hides the rare classes: look at recall, in `dltrain eval`",
        ),
        (bool(elsewhere), "warning", f"{elsewhere}: its figures say nothing about them"),
        counts={split: c.tolist() for split, c in counts.items()},
    )


def _labels(subject: Subject) -> Finding:
    """Each label must be right in some training examples, and wrong in others."""
    names = subject.job.preprocessing.classes or ()
    shares = subject.train.targets().mean(axis=0)
    few, many = int(shares.argmin()), int(shares.argmax())
    same = [name for name, share in zip(names, shares, strict=True) if share in (0, 1)]
    found = f"{len(names)} labels, the rarest {names[few]} ({shares[few]:.1%}), the most common {names[many]} "
    found += f"({shares[many]:.1%}); {shares.sum():.2g} of them in an example on average"
    return judged(
        "classes",
        found,
        (bool(same), "failed", f"{', '.join(same)}: the same in all training examples, so nothing can be learnt"),
        (shares[few] < 0.01, "warning", f"{names[few]} is rare: look at its recall, in `dltrain eval`"),
    )


def layout(subject: Subject) -> Finding:
    """Pictures come as height, width, channels; other tools keep channels first."""
    shape = subject.job.network.in_shape
    if len(shape) != 3:
        return skipped("layout", "the inputs are no pictures")
    height, width, channels = shape
    square = width == channels or height == 3
    return judged(
        "layout",
        f"pictures {height} high and {width} wide, with {channels} channel{'s' if channels > 1 else ''}",
        (
            height in (1, 3, 4) and width > 4 and channels > 4 and square,
            "warning",
            f"if they are {width} x {channels} with {height} channel{'s' if height > 1 else ''}, channels come first "
            "in them: put these last, with x.transpose(0, 2, 3, 1)",
        ),
    )


def parts(subject: Subject) -> Finding:
    """Figures of few examples say little: of a share of 90 % among 20, all between 70 and 97 % may be true."""
    sizes = {split: loader.size for split, loader in subject.job.loaders.items()}
    found = ", ".join(f"{size:,} {split}" for split, size in sizes.items())
    few = {split: size for split, size in sizes.items() if split != "train" and size < FEW}
    split = min(few, key=lambda key: few[key], default="")
    said = f"of {few[split]} {split} examples {_uncertain(subject, few[split])}" if split else ""
    return judged(
        "parts",
        found,
        (bool(few), "warning", f"{said}: take more, or cross-validate with `fit --folds 5`"),
    )


def _uncertain(subject: Subject, examples: int) -> str:
    """What chance may do to a figure of so many examples, with 95 %.

    The standard deviation of n normal errors has a relative standard error of 1 / sqrt(2 n).
    """
    if subject.job.preprocessing.classes is None:
        return f"a root mean square error may be {Z / (2 * examples) ** 0.5:.0%} off by chance"
    low, high = wilson(round(0.9 * examples), examples)
    return f"an accuracy of 90 % may be {low:.0%} to {high:.0%}"


def leaks(subject: Subject) -> Finding:
    """No single input should tell the target all but perfectly: often it was made from it, and will not be there when
    the network is asked."""
    order = subject.shuffled[:SAMPLE]
    if len(subject.job.network.in_shape) != 1:
        return skipped("leaks", "the inputs are no columns")
    if len(order) < MOST_CERTAIN:
        return skipped("leaks", f"needs {MOST_CERTAIN} training examples, there are {len(order)}")
    x = np.concatenate(list(subject.inputs("train", order))).astype(np.float64)
    y = subject.train.targets()[order]
    y = np.eye(int(y.max()) + 1)[y] if subject.class_names is not None else y.astype(np.float64)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    shared = (x.T @ y) ** 2
    whole = np.outer((x * x).sum(axis=0), (y * y).sum(axis=0))
    share = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0).max(axis=1)
    best = int(share.argmax())
    name = subject.input_name(best)
    return judged(
        "leaks",
        f"the input that tells most of the target alone is {name}: r2 {share[best]:.4f}",
        (
            share[best] > CERTAIN,
            "warning",
            f"{name} alone tells the target: if it was made from it, or is not known when asking, leave it out",
        ),
        share=float(share[best]),
    )


def labels(subject: Subject) -> Finding:
    """Do labels have anything to do with inputs? The nearest other example should more often than not be of one class.

    Where its class is right no more often than by chance, the labels may be shuffled, or off by one.
    """
    names = subject.class_names
    targets = subject.train.targets()
    if names is None:
        return skipped("labels", "needs examples of one class each")
    if len(targets) < FEW_LABELS:
        return skipped("labels", f"needs {FEW_LABELS} training examples, there are {len(targets)}")
    order = subject.shuffled[: NEIGHBOURS + ASKED]
    asked = min(ASKED, len(order) // 2)
    x = np.concatenate(list(subject.inputs("train", order))).reshape(len(order), -1)
    x -= x.mean(axis=0)
    y = targets[order]
    a, b = x[:asked], x[asked:]
    nearest = ((b * b).sum(axis=1) - 2 * (a @ b.T)).argmin(axis=1)
    right = float((y[asked:][nearest] == y[:asked]).mean())
    shares = np.bincount(y, minlength=len(names)) / len(y)
    chance = float((shares**2).sum())
    noise = (chance * (1 - chance) / asked) ** 0.5
    return judged(
        "labels",
        f"the nearest training example has the same class for {right:.1%}; by chance {chance:.1%}",
        (
            right < chance + 4 * noise,
            "warning",
            "labels and inputs seem unrelated: are they in the same order? Ignore this if the task is really that hard",
        ),
        right=right,
        chance=chance,
    )


def value_range(subject: Subject) -> Finding:
    """What the network gets should be about 0 ± 1: initial weights and learning rates are made for that."""
    x = np.concatenate(list(subject.inputs("train", subject.shuffled[:SAMPLE])))
    mean, std, extreme = float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64)), float(np.abs(x).max())
    size = float(np.hypot(mean, std))
    constant = np.flatnonzero(x.reshape(-1, x.shape[-1]).std(axis=0) == 0)
    advice = "set data.normalize: channel" if subject.job.preprocessing.normalize == "none" else "look at the values"
    same = ", ".join(map(subject.input_name, constant[:MOST_NAMED]))
    where = f"{same} is the same everywhere: it carries no information"
    return judged(
        "range",
        f"after normalisation {mean:.3g} ± {std:.3g}, largest {extreme:.3g}",
        (not 1 / 30 < size < 30, "failed", f"far from 0 ± 1: {advice}"),
        (std == 0, "failed", "all inputs are the same"),
        (not 1 / 5 < size < 5, "warning", f"away from 0 ± 1: {advice}"),
        (extreme > 50, "warning", "there are outliers: look at the values"),
        (len(constant) > 0, "warning", where),
        mean=mean,
        std=std,
        largest=extreme,
    )
