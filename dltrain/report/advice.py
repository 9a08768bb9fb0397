"""What the logs of a run give reason to say: rules, each with its limit and where the idea comes from.

Pure functions over what a run has shown; the live view, the end of `fit` and the report all ask here. A rule speaks at
most once, about the worst layer.
"""

from dltrain.report import faults, games  # noqa: F401  (registers the rules, in this order)
from dltrain.report.seen import RULES, Advice, Seen

__all__ = ["RULES", "Advice", "Seen", "advise"]
OF_ONE_LOSS = {  # the rules that say nothing of a game
    "start_loss", "vanishing_gradients", "exploding_gradients", "loss_grew", "learns_nothing", "behind_linear",
    "underfitting", "overfitting", "penalty_dominates",
}  # fmt: skip


def advise(seen: Seen) -> list[Advice]:
    """What is worth knowing, serious things first; nothing where all is well."""
    heard = [r for r in RULES.values() if r.name not in seen.muted and not (seen.is_game and r.name in OF_ONE_LOSS)]
    told = [(r, said) for r in heard if (said := r.find(seen, r.limit)) is not None]
    found = [Advice(r.name, said.serious, said.text, r.remedy, said.layer) for r, said in told]
    return sorted(found, key=lambda advice: not advice.serious)
