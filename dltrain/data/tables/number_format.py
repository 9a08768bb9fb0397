"""Numbers as people write them: 1,234.50 and 1.234,50 and $0.50."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

DECIMALS = ".,"
THOUSANDS = ",.' \u2019\u00a0\u202f"  # the last two are blanks at which no line ends
UNIT = r"[$€£¥₹%]|[A-Z]{3}"
BESIDE = re.compile(rf"(?P<before>{UNIT})?\s*(?P<body>.*?)\s*(?P<after>{UNIT})?")
MINUS = str.maketrans("\u2212", "-")  # the sign that typesetters use
DIGIT = re.compile("[0-9]")


class AmbiguousNumbers(ValueError):
    """Numbers that may mean one thing or a thousand times as much."""


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a column are written. unit: what stands before or after each of them, such as $ or %."""

    decimal: str = "."
    thousands: str = ""
    unit: str = ""

    def number(self, cell: str) -> float | None:
        """None for other text; also for 007, which may be a name."""
        pattern = _pattern(self.decimal, self.thousands, self.unit)
        found = pattern.fullmatch(cell) or pattern.fullmatch(cell.translate(MINUS))
        if found is None or (found["sign"] and found["inner"]):
            return None
        plain = found["number"]
        if self.thousands:
            plain = plain.replace(self.thousands, "")
        value = float(plain.replace(self.decimal, "."))
        return -value if "-" in found["sign"] + found["inner"] else value


@lru_cache(maxsize=256)
def _pattern(decimal: str, thousands: str, unit: str) -> re.Pattern[str]:
    point, mark, unit = map(re.escape, (decimal, thousands, unit))
    grouped = rf"|[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}})+" if mark else ""
    number = rf"(?:(?:0|[1-9][0-9]*{grouped})(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"
    around = (rf"(?:{unit}\s*)?", rf"(?:\s*{unit})?") if unit else ("", "")
    return re.compile(rf"(?P<sign>[+-]?){around[0]}(?P<inner>[+-]?)(?P<number>{number}){around[1]}")


PLAIN = NumberFormat()
UNKNOWN = NumberFormat("", "", "")  # to be guessed


def guess(texts: Collection[str], known: NumberFormat, among: Collection[str] = ()) -> NumberFormat | None:
    """The one way of writing numbers in which all these texts are some; None where there is none.

    known: what a user said; its empty parts are guessed. among: decimal marks that other columns of the file show.
    Raises AmbiguousNumbers where 1,234 may be a thousand or 1.234.
    """
    if any(DIGIT.search(text) is None for text in texts):
        return None
    parts = [BESIDE.fullmatch(text.lstrip("+-")) for text in texts]
    units = {(found["before"] or "") + (found["after"] or "") if found else "" for found in parts}
    if len(units) != 1:
        return None
    (unit,) = units
    decimals = known.decimal or DECIMALS
    marks = [known.thousands] if known.thousands else ["", *THOUSANDS]
    forms = [NumberFormat(decimal, mark, unit) for decimal in decimals for mark in marks if mark != decimal]
    fitting = [form for form in forms if all(form.number(text) is not None for text in texts)]
    preferred = [form for form in fitting if form.decimal in among] or fitting
    if len({form.decimal for form in preferred}) > 1:
        values = {tuple(form.number(text) for text in texts) for form in preferred}
        if len(values) > 1:
            raise AmbiguousNumbers(next(iter(texts)))
    return preferred[0] if preferred else None
