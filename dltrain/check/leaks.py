"""What is known already: examples of other splits that were trained on, or nearly so, and one input with two labels."""

from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from dltrain.check.alike import nearly_equal, thumbnails
from dltrain.check.finding import Finding, Status, judged, skipped
from dltrain.check.subject import Subject

Array = Any
MOST = 60_000  # examples of a split that are looked at
SMALLEST = 12  # pixels of a side: of smaller pictures too many are alike
TOLD = 3  # examples that are named
ALONE = "needs another part beside the training part"
TRAINED = "what was trained on tests nothing: take these examples out of one of the two"


@dataclass(frozen=True)
class Seen:
    """Of the examples of a split: what tells their inputs apart, and thumbnails (N, values) of pictures."""

    fingerprints: list[bytes]
    thumbnails: Array | None


def duplicates(subject: Subject) -> Finding:
    """No test or validation example may also be a training example, and equal inputs must have equal labels."""
    if not _others(subject) and subject.class_names is None:
        return skipped("duplicates", ALONE)
    first: dict[bytes, int] = {}
    labels = defaultdict(list)
    trained = seen(subject, "train").fingerprints
    for index, (key, target) in enumerate(zip(trained, subject.train.targets(), strict=False)):
        first.setdefault(key, index)
        labels[key].append(target.tobytes())
    shares, pairs = {}, []
    for split in _others(subject):
        keys = seen(subject, split).fingerprints
        shares[split] = sum(key in first for key in keys) / len(keys)
        pairs += [(split, index, first[key]) for index, key in enumerate(keys) if key in first]
    again = ", ".join(f"{share:.2%} of {split}" for split, share in sorted(shares.items())) or "no other split"
    found = f"also in the training part: {again}{_named(pairs)}"
    clash = 0
    if subject.class_names is not None:
        clash = sum(len(given) for given in labels.values() if len(set(given)) > 1)
        found += f"; {clash:,} training examples equal one of another class"
    # A few numbers may well be equal by chance; two photographs are not.
    bad: Status = "failed" if len(subject.job.network.in_shape) == 3 else "warning"
    worst = max(shares.values(), default=0.0)
    return judged(
        "duplicates",
        found,
        (worst > 0.01, bad, TRAINED),
        (clash > 0.01 * len(trained), bad, "nothing can tell these examples apart: look at their labels"),
        (worst > 0.001, "warning", "the figures of that split will look a little too good"),
        shares=shares,
        conflicting=clash,
    )


def near_duplicates(subject: Subject) -> Finding:
    """Nor may a picture be one of the training part that was saved again, made brighter or smaller."""
    train, shares, pairs = seen(subject, "train"), {}, []
    if train.thumbnails is None:
        return skipped("near_duplicates", f"needs pictures of {SMALLEST} pixels a side at least")
    if not _others(subject):
        return skipped("near_duplicates", ALONE)
    known = set(train.fingerprints)
    for split in _others(subject):
        other = seen(subject, split)
        alike = nearly_equal(other.thumbnails, train.thumbnails)
        new = [(split, int(a), int(b)) for a, b in zip(*alike, strict=True) if other.fingerprints[a] not in known]
        shares[split] = len(new) / len(other.fingerprints)
        pairs += new
    again = ", ".join(f"{share:.2%} of {split}" for split, share in sorted(shares.items())) or "no other split"
    return judged(
        "near_duplicates",
        f"nearly one of the training part: {again}{_named(pairs)}",
        (max(shares.values(), default=0.0) > 0.01, "warning", f"if these are the same pictures, {TRAINED}"),
        shares=shares,
        pairs=[list(pair) for pair in pairs[:100]],
    )


def seen(subject: Subject, split: str) -> Seen:
    """Looked at once for all checks."""
    if split not in subject.seen:
        shape = subject.job.network.in_shape
        pictures = len(shape) == 3 and min(shape[:2]) >= SMALLEST
        fingerprints, small = list[bytes](), []
        for piece in subject.inputs(split, np.arange(min(MOST, subject.job.loaders[split].size))):
            fingerprints += [blake2b(row.tobytes(), digest_size=16).digest() for row in piece]
            if pictures:
                small.append(thumbnails(piece))
        subject.seen[split] = Seen(fingerprints, np.concatenate(small) if small else None)
    found: Seen = subject.seen[split]
    return found


def _others(subject: Subject) -> list[str]:
    return [split for split in subject.job.loaders if split != "train"]


def _named(pairs: list[tuple[str, int, int]]) -> str:
    """Counted from 0, in the order of the split."""
    if not pairs:
        return ""
    some = ", ".join(f"{split} {index} = train {twin}" for split, index, twin in pairs[:TOLD])
    return f" ({some}{', …' if len(pairs) > TOLD else ''})"
