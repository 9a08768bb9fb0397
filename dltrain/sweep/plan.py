"""SWEEP.yaml -> the plan of a sweep, with all mistakes reported at once; and the trials that it makes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

from dltrain.errors import ConfigError, ShapeError, did_you_mean
from dltrain.random import words as random_words
from dltrain.run.group import Member
from dltrain.spec import Override, build_model, load
from dltrain.spec.nodes import Mapping, Node, Place, Problems, Scalar, allowed
from dltrain.spec.reader import MAX_BYTES, read_config
from dltrain.spec.reuse import RUNS
from dltrain.spec.types import whole
from dltrain.sweep.ranges import EXAMPLES, Range, Text, read_range
from dltrain.sweep.sobol import BITS, MOST_DIMENSIONS, sobol

STRATEGIES = ("grid", "random", "sobol", "tpe")
KEYS = ("strategy", "trials", "seed", "seeds", "prune", "space")
MOST_TRIALS = 10_000
MOST_SEEDS = 100
MOST_CHECKED = 1000  # combinations of a grid
EARLIER = 5  # trials that a trial is judged by, at least


@dataclass(frozen=True)
class Axis:
    key: str
    range: Range


@dataclass(frozen=True)
class Plan:
    """trials: how many; None where the file leaves it to the command. seed: of what is drawn. seeds: trainings of each
    trial. prune: of how many earlier trials at least the median must be known, None where none is given up."""

    text: str
    strategy: str
    trials: int | None
    seed: int
    seeds: int
    prune: int | None
    axes: tuple[Axis, ...]

    @property
    def grid_size(self) -> int:
        return prod(len(axis.range.all) for axis in self.axes)

    def values(self, number: int) -> list[Text]:
        """Of each axis in trial `number`: a function of seed and number alone. Not of the strategy `tpe`, whose trials
        depend on what others came to."""
        if self.strategy == "grid":
            found = []
            for axis in reversed(self.axes):  # the last one changes first, as in nested loops
                number, index = divmod(number, len(axis.range.all))
                found.append(axis.range.all[index])
            return found[::-1]
        if self.strategy == "random":
            return [axis.range.at(self._share(axis.key, number)) for axis in self.axes]
        point = sobol(number, len(self.axes))
        shifts = [int(random_words(self.seed, "sobol", axis.key, count=1)[0]) >> BITS for axis in self.axes]
        shares = [(digits ^ shift) / 2**BITS for digits, shift in zip(point, shifts, strict=True)]
        return [axis.range.at(share) for axis, share in zip(self.axes, shares, strict=True)]

    def _share(self, key: str, number: int) -> float:
        return (int(random_words(self.seed, "sweep", key, step=number, count=1)[0]) >> 11) / 2**53

    def members(self, number: int, values: Sequence[Text], words: Sequence[str], seed: int) -> list[Member]:
        """The runs of a trial: one of each seed. words: changes of all. seed: of the config."""
        changes = [*words, *(f"{axis.key}={text}" for axis, text in zip(self.axes, values, strict=True))]
        label = f"trial{number:04}"
        if self.seeds == 1:
            return [Member(label, changes)]
        return [Member(f"{label}-seed{n}", [*changes, f"seed={n}"]) for n in range(seed, seed + self.seeds)]


def read_plan(path: Path) -> Plan:
    """Raises ConfigError with a line for each mistake."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_plan(data, str(path))


def parse_plan(data: bytes, source: str) -> Plan:
    """source: what messages call it."""
    problems = Problems()
    root = read_config(data, source, problems, least="a sweep needs at least `space`")
    for key in root.entries:
        if key not in KEYS:
            problems.add(root.key_places[key], key, f"unknown key{allowed(key, KEYS)}")
    strategy = _strategy(root, problems)
    plan = Plan(
        data.decode("utf-8-sig"),
        strategy,
        _whole(root, "trials", problems, 1, MOST_TRIALS),
        _whole(root, "seed", problems, 0, 2**64 - 1) or 0,
        _whole(root, "seeds", problems, 1, MOST_SEEDS) or 1,
        _prune(root, problems),
        _space(root, problems),
    )
    _check_together(plan, root, problems)
    problems.raise_any()
    return plan


def _strategy(root: Mapping, problems: Problems) -> str:
    node = root.entries.get("strategy")
    if node is None:
        return "random"
    if not isinstance(node, Scalar) or node.text not in STRATEGIES:
        hint = did_you_mean(node.text, STRATEGIES) if isinstance(node, Scalar) else ""
        problems.add(node.place, "strategy", f"expected {', '.join(STRATEGIES[:-1])} or tpe, got {node}{hint}")
        return "random"
    return node.text


def _whole(root: Mapping, key: str, problems: Problems, low: int, high: int) -> int | None:
    return _number(root.entries[key], key, problems, low, high) if root.holds(key) else None


def _number(node: Node, path: str, problems: Problems, low: int, high: int) -> int | None:
    try:
        value = whole(node)
    except ValueError:
        value = low - 1
    if low <= value <= high:
        return value
    problems.add(node.place, path, f"expected a whole number from {low} to {high}, got {node}")
    return None


def _prune(root: Mapping, problems: Problems) -> int | None:
    if not root.holds("prune"):
        return None
    node = root.entries["prune"]
    if isinstance(node, Scalar) and node.text == "median":
        return EARLIER
    if isinstance(node, Mapping) and [*node.entries] == ["median"]:
        return _number(node.entries["median"], "prune.median", problems, 1, MOST_TRIALS)
    problems.add(node.place, "prune", f"expected median or {{median: {EARLIER}}}, got {node}")
    return None


def _space(root: Mapping, problems: Problems) -> tuple[Axis, ...]:
    space = root.entries.get("space")
    example = f"space: {{optimizer.lr: {{log_uniform: {EXAMPLES['log_uniform']}}}}}"
    if not isinstance(space, Mapping) or not space.entries:
        place = Place(root.place.source, 1, 1) if space is None else space.place
        problems.add(place, "space", f"a sweep varies at least one setting, as in `{example}`")
        return ()
    axes = []
    for key, node in space.entries.items():
        path = f"space.{key}"
        if key[:1] in "+~" or "=" in key:
            problems.add(space.key_places[key], path, "expected the path of a setting, such as optimizer.lr")
        elif not isinstance(node, Mapping) or len(node.entries) != 1 or next(iter(node.entries)) not in EXAMPLES:
            ways = ", ".join(f"{{{kind}: {example}}}" for kind, example in EXAMPLES.items())
            problems.add(node.place, path, f"expected one of {ways}, got {node}")
        else:
            ((kind, values),) = node.entries.items()
            if found := read_range(kind, values, path, problems):
                axes.append(Axis(key, found))
    return tuple(axes)


def _check_together(plan: Plan, root: Mapping, problems: Problems) -> None:
    space = root.entries.get("space")
    if not isinstance(space, Mapping):
        return
    for axis in plan.axes:
        place, path = space.key_places[axis.key], f"space.{axis.key}"
        if plan.strategy == "grid" and not axis.range.all:
            problems.add(place, path, "a grid wants choice or integers: there is no end to the numbers between two")
        if axis.key == "seed" and plan.seeds > 1:
            problems.add(place, path, "`seeds` varies the seed already; use one of them")
    if plan.strategy == "sobol" and len(plan.axes) > MOST_DIMENSIONS:
        problems.add(space.place, "space", f"sobol takes at most {MOST_DIMENSIONS} settings; random takes any number")
    if plan.strategy == "grid" and plan.grid_size > MOST_TRIALS:
        what = f"that would be a grid of {plan.grid_size:,} trials; it may have at most {MOST_TRIALS:,}"
        problems.add(space.place, "space", what)


def check_in(plan: Plan, config: str, words: Sequence[str], runs: Path = RUNS) -> None:
    """Read the config with the ends of every range and every value of a choice, and all of a small grid. runs: of those
    that it loads by name.

    Raises ConfigError with the place in SWEEP.yaml of what does not suit it.
    """
    ends = [axis.range.ends for axis in plan.axes]
    if plan.strategy == "grid" and all(len(e) == len(a.range.all) for e, a in zip(ends, plan.axes, strict=True)):
        combinations = list(product(*ends)) if plan.grid_size <= MOST_CHECKED else []
    else:
        combinations = []
    longest = max(map(len, ends))
    combinations = combinations or [tuple(end[min(i, len(end) - 1)] for end in ends) for i in range(longest)]
    for chosen in combinations:
        tried = [(f"{axis.key}={text}", place) for axis, (text, place) in zip(plan.axes, chosen, strict=True)]
        spec = load(config, [*words, *(Override(change, str(place)) for change, place in tried)], runs)
        try:
            build_model(spec)
        except (ConfigError, ShapeError) as error:
            changes = ", ".join(change for change, _ in tried)
            raise ConfigError([*str(error).splitlines(), f"{tried[0][1].source}  that is so with {changes}"]) from None
