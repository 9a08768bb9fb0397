"""Mixup: training examples blended with others (Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018)."""

from typing import Any

from dltrain.random import generator, permutation
from dltrain.train.feed import Feed, Moment

Array = Any
Mixture = list[tuple[float, Array]]  # (share, targets): a loss is Σ share · loss of these targets


def mixed_examples(
    feed: Feed, batch: Array, first: int, count: int, moment: Moment, alpha: float
) -> tuple[Array, Mixture]:
    """(inputs, mixture) of the examples first … first + count of a training batch.

    Each is share · itself + (1 - share) · another one of the batch, which is augmented like it; with alpha 0 it is
    itself. share: from Beta(alpha, alpha), the same for the whole batch, the larger of the two.
    """
    here = slice(first, first + count)
    x, targets = feed.examples(batch[here], first, moment)
    if alpha == 0:
        return x, [(1.0, targets)]
    key = {"epoch": moment.epoch, "step": moment.step}
    drawn = float(generator(moment.seed, "mixup", "share", **key).beta(alpha, alpha))
    share = max(drawn, 1 - drawn)
    partners = batch[permutation(len(batch), moment.seed, "mixup", **key)]
    others, their_targets = feed.examples(partners[here], first, moment)
    return x * share + others * (1 - share), [(share, targets), (1 - share, their_targets)]
