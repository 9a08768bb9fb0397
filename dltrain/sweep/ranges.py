"""What a setting may be in a sweep: the four words of a space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, floor, log

from dltrain.spec.nodes import Mapping, Node, Place, Problems, Scalar
from dltrain.spec.nodes import Sequence as NodeList
from dltrain.spec.types import number, whole
from dltrain.spec.writer import flow

DIGITS = 6  # of a number that is drawn
Text = str  # a value as a config would say it


@dataclass(frozen=True)
class Range:
    """ends: its ends, or every value of a choice, each with the place where it was written."""

    ends: tuple[tuple[Text, Place], ...]

    def at(self, share: float) -> Text:
        """The value at a share from 0 up to 1 of the range."""
        raise NotImplementedError

    @property
    def all(self) -> Sequence[Text]:
        """Every value, in order; nothing where there are too many to count."""
        return ()


@dataclass(frozen=True)
class Uniform(Range):
    """A number between two, each as likely as any other."""

    low: float
    high: float

    def at(self, share: float) -> Text:
        return self.text(self.low + share * (self.high - self.low))

    def text(self, value: float) -> Text:
        """Of a number in the range, in few digits."""
        short = float(f"{value:.{DIGITS}g}")
        return repr(min(max(short, self.low), self.high))  # not beyond an end by rounding


@dataclass(frozen=True)
class LogUniform(Uniform):
    """A number above 0 between two, whose logarithm is as likely as any other."""

    def at(self, share: float) -> Text:
        return self.text(exp(log(self.low) + share * (log(self.high) - log(self.low))))


@dataclass(frozen=True)
class Integers(Range):
    """A whole number between two, which it may be as well."""

    low: int
    high: int

    def at(self, share: float) -> Text:
        return str(self.low + floor(share * (self.high - self.low + 1)))

    @property
    def all(self) -> Sequence[Text]:
        return [str(value) for value in range(self.low, self.high + 1)]


@dataclass(frozen=True)
class Choice(Range):
    """One of several values of any kind."""

    def at(self, share: float) -> Text:
        return self.all[floor(share * len(self.ends))]

    @property
    def all(self) -> Sequence[Text]:
        return [text for text, _ in self.ends]


def read_range(kind: str, node: Node, path: str, problems: Problems) -> Range | None:
    """`kind: node` of a space; None where it is none, which `problems` then says."""
    if not isinstance(node, NodeList):
        problems.add(node.place, path, f"expected a list, as in {{{kind}: {EXAMPLES[kind]}}}, got {node}")
        return None
    if kind == "choice":
        return _choice(node, path, problems)
    read: Callable[[object], float] = whole if kind == "integers" else number
    what = "whole numbers" if kind == "integers" else "numbers"
    if len(node.items) != 2:
        problems.add(node.place, path, f"expected two {what}, from the smallest to the largest, got {node}")
        return None
    ends = []
    for item in node.items:
        try:
            ends.append(read(item))
        except ValueError:
            problems.add(item.place, path, f"expected {what.removesuffix('s')}, got {item}")
    if len(ends) < 2:
        return None
    low, high = ends
    if kind == "log_uniform" and low <= 0:
        problems.add(node.items[0].place, path, f"a logarithm wants numbers above 0, got {node.items[0]}")
    elif not low < high:
        problems.add(node.items[1].place, path, f"the second number must be larger than the first, {low:g}")
    else:
        places = tuple((item.text, item.place) for item in node.items if isinstance(item, Scalar))
        if kind == "integers":
            return Integers(places, int(low), int(high))
        return (Uniform if kind == "uniform" else LogUniform)(places, low, high)
    return None


def _choice(node: NodeList, path: str, problems: Problems) -> Choice | None:
    values = tuple((_on_a_line(item), item.place) for item in node.items)
    if not values:
        problems.add(node.place, path, "the list is empty; a choice wants at least one value")
        return None
    for i, (text, place) in enumerate(values):
        if text in (earlier for earlier, _ in values[:i]):
            problems.add(place, path, f"{text} is there twice")
            return None
    return Choice(values)


def _on_a_line(node: Node) -> Text:
    """As an override would say it."""
    if isinstance(node, Mapping):
        return f"{{{', '.join(f'{flow(key)}: {_on_a_line(entry)}' for key, entry in node.entries.items())}}}"
    if isinstance(node, NodeList):
        return f"[{', '.join(map(_on_a_line, node.items))}]"
    if node.quoted or set(node.text) & set(",[]{}:#"):
        return flow(node.text)
    return node.text or "null"


EXAMPLES = {"uniform": "[0, 0.5]", "log_uniform": "[1e-4, 1e-1]", "integers": "[16, 64]", "choice": "[sgd, adam]"}
