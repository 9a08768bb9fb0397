"""Rules about games: networks that are trained against each other, and values that are made of several others."""

from dltrain.report.seen import Row, Said, Seen, rule

FEW = 3  # epochs after which the balance of a game can be told
SOME = 200  # steps after which what is made can be looked at


@rule(
    0.99,
    "share of right verdicts of a network that is taught to tell apart, last of three or more epochs",
    "Arjovsky, Bottou, Towards Principled Methods for Training Generative Adversarial Networks, 2017",
    "make it smaller or slower (`optimizer: {lr: …}` or `every:` in its update), or soften its targets (0.9 for 1)",
)
def judge_never_wrong(seen: Seen, limit: float) -> Said | None:
    sure = {name: share for name, share in _verdicts(seen).items() if share >= limit}
    if not sure:
        return None
    name = max(sure, key=lambda name: sure[name])
    return Said(f"{name} is right in {100 * sure[name]:.1f} % of its verdicts: from one who is never wrong the others "
                "learn nothing")  # fmt: skip


@rule(
    0.52,
    "the same share, in the last of three or more epochs below it",
    "Goodfellow et al., Generative Adversarial Nets, 2014: one half is left where nothing can be told apart",
    "look at the pictures; if they are poor, make it larger or quicker (`optimizer: {lr: …}` in its update)",
)
def judge_knows_nothing(seen: Seen, limit: float) -> Said | None:
    lost = {name: share for name, share in _verdicts(seen).items() if share < limit}
    if not lost:
        return None
    name = min(lost, key=lambda name: lost[name])
    share = f"{100 * lost[name]:.0f} %"
    return Said(f"{name} is right in {share} of its verdicts, no better than a coin: its gradient is noise")


@rule(
    0.25,
    "spread of what is made / of what a judge is to tell it from, after a training of 200 or more steps",
    "Goodfellow, NIPS 2016 Tutorial: Generative Adversarial Networks, 5.1.1: mode collapse",
    "look at the pictures; try a lower optimizer.lr, a slower judge, or noise of more numbers",
)
def mode_collapse(seen: Seen, limit: float) -> Said | None:
    shares = [(row["spread"] / row["real_spread"], row) for row in _of(seen, "made") if row["real_spread"]]
    share, row = min(shares, key=lambda found: float(found[0]), default=(1.0, {}))
    if share >= limit:
        return None
    what = f"{row['value']} is nearly always the same: its spread is {100 * share:.0f} % of that of {row['real']}"
    return Said(what, serious=True)


@rule(
    0.02,
    "change of a network's output when examples exchange one of its inputs / when they exchange all, after 200 steps",
    "Isola, Zhu, Zhou, Efros, 2017, section 3.2: the generator simply learned to ignore the noise",
    "leave it out; what should differ by chance can also come from `dropout: {rate: 0.5, always: true}`",
)
def ignored_input(seen: Seen, limit: float) -> Said | None:
    row = min(_of(seen, "heeded"), key=lambda row: float(row["share"]), default=None)
    if row is None or row["share"] >= limit:
        return None
    network, given = row["network"], row["input"]
    return Said(
        f"{network} takes no notice of {given}: with that of another example its output changes by "
        f"{100 * row['share']:.1f} % of what it does with all of another example"
    )


def _verdicts(seen: Seen) -> dict[str, float]:
    """Update -> the share of right verdicts in the last of three or more epochs."""
    if len(seen.epochs) < FEW:
        return {}
    last = seen.epochs[-1]["train"]
    return {key.removeprefix("right/"): share for key, share in last.items() if key.startswith("right/")}


def _of(seen: Seen, what: str) -> list[Row]:
    """Rows of what was looked at when the training was over."""
    return seen.played.get(what, []) if seen.epochs and seen.epochs[-1]["step"] >= SOME else []
