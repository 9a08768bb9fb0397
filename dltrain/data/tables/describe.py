"""What the columns of a table are, by what is there or as a config says."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dltrain.data.tables.cells import Cells, Table, number_text
from dltrain.data.tables.columns import ZEROS_FIRST, Column, in_order, pasted, without_case
from dltrain.data.tables.dates import AmbiguousDates, date_order, likely_order, read_date, turning
from dltrain.data.tables.encode import days_of, words_of
from dltrain.data.tables.number_format import PLAIN

Array = NDArray[Any]
ColumnType = Literal["number", "category", "date", "day/month/year", "month/day/year", "text", "ignore"]
DAY_ORDERS = ("day/month/year", "month/day/year")
MOST_CATEGORIES = 1000
MOST_WORDS = 1000  # that a column of text becomes, the most frequent ones
MOST = 0.9  # of the cells that are there: a column of dates or numbers in which the others are slips
FEW = 10  # different texts are categories however few rows there are
CODE_LENGTH = 3  # digits from which on numbers of one length, some with a 0 first, are codes such as 01067
IDENTIFIER = re.compile(
    r"(?i:unnamed: ?\d+|index|idx|nr|no|row|row[ _]?(?:id|no|nr|num|number)|(?:.*[ _])?id)|.*[a-z]I[dD]"  # PassengerId
)


class Faulty(Exception):
    """A column that cannot be used as it is: why, and what to do."""


@dataclass(frozen=True)
class Described:
    """column: None where it is left out. note: what a user must know of that, or of how it was read."""

    column: Column | None
    note: str = ""


def described(table: Table, name: str, asked: ColumnType | None, missing: Collection[str]) -> Described:
    """What a column is: as asked, or by what is there. Raises Faulty."""
    look = _Look(table, name, missing)
    if not look.present:
        return Described(None, f"column {name!r} is empty and left out; data.ignore: [{pasted(name)}] drops this line")
    if asked == "number":
        return Described(look.number())
    if asked == "category":
        return look.category()
    if asked == "text":
        return Described(look.text())
    if asked in ("date", *DAY_ORDERS):
        return Described(look.date(asked if asked in DAY_ORDERS else None))
    return look.guessed()


def no_numbers(table: Table, name: str, missing: Collection[str]) -> str:
    """What a column holds that cannot be predicted as a number; nothing where all are numbers."""
    look = _Look(table, name, missing)
    return look.no_number() or look.no_numbers()


def no_number(table: Table, name: str, missing: Collection[str]) -> str:
    """Which cell of a column is none where most are, for a message; nothing for other columns."""
    return _Look(table, name, missing).no_number()


class _Look:
    """A column under examination. texts: the different ones that are neither numbers nor missing."""

    def __init__(self, table: Table, name: str, missing: Collection[str]):
        self.table, self.name, self.cells = table, name, table.cells(name)
        self.gaps = self.cells.where(*missing)
        self.texts = [text for text in self.cells.present() if text not in missing]
        self.present = len(table) - int(self.gaps.sum())
        self.format = table.formats.get(name, PLAIN)
        self.here = f"column {name!r}"

    @property
    def numbers(self) -> Array:
        """The different ones."""
        found: Array = np.unique(self.cells.values[~np.isnan(self.cells.values) & ~self.gaps])
        return found

    @property
    def counts(self) -> dict[str, int]:
        """How often each of the texts is there."""
        if self.cells.codes is None:
            return {}
        rows = np.bincount(self.cells.codes[self.cells.codes >= 0], minlength=len(self.cells.texts)).tolist()
        every = dict(zip(self.cells.texts, rows, strict=True))
        return {text: every[text] for text in self.texts}

    def place(self, text: str) -> str:
        row = int(np.flatnonzero(self.cells.where(text))[0])
        return f"{self.table.path}:{self.table.lines[row]}"

    def mixed(self, kind: str, odd: str) -> str:
        """The start of a message about a cell in a column that holds something else."""
        return f"{self.place(odd)}: {self.here} holds {kind}, but also {odd!r}; mend that, or say"

    def unknown(self, odd: str) -> str:
        return f"data.missing_values: [{pasted(odd)}, …] if that means that nothing is known"

    def no_date(self) -> str | None:
        """The first cell that is none where most are; None for other columns."""
        order, dates = likely_order(self.counts)
        if not MOST * self.present <= dates < self.present:
            return None
        fits = np.array([*(read_date(text, order) is not None for text in self.cells.texts), False])  # -1: a number
        return self.cells.text(int((~self.gaps & ~fits[self.cells.codes]).argmax()))

    def no_number(self) -> str:
        if not MOST * self.present <= self.present - sum(self.counts.values()) < self.present:
            return ""
        return f"{self.mixed('numbers', self.texts[0])} {self.unknown(self.texts[0])}"

    def no_numbers(self) -> str:
        if not self.texts:
            return ""
        order, dates = likely_order(self.counts)
        kind = "dates" if dates >= MOST * self.present else "texts"
        first = next(text for text in self.texts if kind == "texts" or read_date(text, order))
        return f"{self.here} holds {kind} such as {first!r}; choose another data.target, or use cross_entropy"

    def guessed(self) -> Described:
        odd = [text for text in self.texts if not ZEROS_FIRST.fullmatch(text)]
        if not odd:
            return self._numbers_or_codes()
        name = pasted(self.name)
        if (text := self.no_date()) is not None:
            raise Faulty(
                f"{self.mixed('dates', text)} {self.unknown(text)}, or data.columns: {{{name}: category}} (or text) if "
                f"the others are not to be read as dates either"
            )
        if len(odd) < len(self.texts) or len(self.numbers):
            raise Faulty(
                f"{self.mixed('numbers', odd[0])} data.categorical: [{name}] if all of them stand for categories, or "
                f"{self.unknown(odd[0])}"
            )
        try:
            if order := date_order(self.texts):
                return Described(self.date(order))
        except AmbiguousDates as error:
            raise Faulty(
                f"{self.place(str(error))}: {self.here} holds dates such as {str(error)!r}; say which is the day: "
                f"data.columns: {{{name}: day/month/year}} or {{{name}: month/day/year}}"
            ) from None
        return self._categories_or_not()

    def _numbers_or_codes(self) -> Described:
        if self.texts:
            lengths = {len(text) for text in (*self.texts, *map(number_text, self.numbers.tolist()))}
            if len(lengths) == 1 and min(lengths) >= CODE_LENGTH:
                name = pasted(self.name)
                number = f"data.columns: {{{name}: number}} takes them for numbers"
                if len(self.texts) + len(self.numbers) > MOST_CATEGORIES:
                    return Described(None, f"{self.here} holds codes such as {self.texts[0]!r}: left out; {number}")
                found = self.category()
                return Described(
                    found.column, f"{self.here} holds codes such as {self.texts[0]!r}: taken for categories; {number}"
                )
        elif IDENTIFIER.fullmatch(self.name) and self.present > 2:
            numbers = self.numbers
            if len(numbers) == self.present and (numbers == np.round(numbers)).all():
                return Described(
                    None,
                    f"{self.here} numbers the rows and is left out; data.columns: {{{pasted(self.name)}: number}} "
                    f"keeps it, data.ignore: [{pasted(self.name)}] drops this line",
                )
        return Described(self.number())

    def _categories_or_not(self) -> Described:
        different, name = len(self.texts), pasted(self.name)
        if different <= MOST_CATEGORIES and (different <= FEW or different <= self.present / 2):
            return self.category()
        kept = f"data.columns: {{{name}: text}} makes a bag of words of it"
        if different <= MOST_CATEGORIES:
            kept += f", {{{name}: category}} an input of each"
        return Described(
            None,
            f"{self.here} holds {different:,} different texts in {self.present:,} rows, such as {self.texts[0]!r}, and "
            f"is left out; {kept}, data.ignore: [{name}] drops this line",
        )

    def number(self) -> Column:
        for text in self.texts:
            if not ZEROS_FIRST.fullmatch(text):
                raise Faulty(f"{self.place(text)}: {self.here} should be a number, not {text!r}")
        return Column(self.name, None, format=self.format)

    def category(self) -> Described:
        categories = in_order({*self.texts, *map(number_text, self.numbers.tolist())})
        if len(categories) > MOST_CATEGORIES:
            raise Faulty(
                f"{self.table.path}: {self.here} holds {len(categories):,} different texts such as "
                f"{categories[0]!r}, too many for categories; leave it out with data.ignore: [{pasted(self.name)}]"
            )
        merged, note = without_case(categories)
        return Described(Column(self.name, merged, format=self.format), f"{self.here}: {note}" if note else "")

    def date(self, order: str | None) -> Column:
        if len(self.numbers):
            first = self.cells.text(int(np.flatnonzero(~np.isnan(self.cells.values) & ~self.gaps)[0]))
            raise Faulty(f"{self.table.path}: {self.here} should be a date, not {first!r}")
        try:
            order = order or date_order(self.texts) or likely_order(self.counts)[0]
        except AmbiguousDates as error:
            raise Faulty(
                f"{self.place(str(error))}: {self.here}: in {str(error)!r} which is the day? say day/month/year or "
                f"month/day/year instead of date"
            ) from None
        for text in self.texts:
            if read_date(text, order) is None:
                raise Faulty(f"{self.place(text)}: {self.here} should be a date, {order}, not {text!r}")
        when = days_of(self.table, Column(self.name, None, "date", order))
        parts = turning(when)
        varied = tuple(part for part, turn in parts.items() if len(np.unique(turn[~np.isnan(turn)])) > 1)
        return Column(self.name, None, "date", order, varied)

    def text(self) -> Column:
        counts = Counter(
            word for words, rows in _words(self.cells, self.gaps).items() for word in words for _ in range(rows)
        )
        common = [word for word, rows in counts.most_common() if rows > 1][:MOST_WORDS]
        if not common:
            raise Faulty(f"{self.table.path}: {self.here} holds no word that occurs in two rows; leave it out")
        return Column(self.name, tuple(sorted(common)), "text")


def _words(cells: Cells, gaps: Array) -> dict[tuple[str, ...], int]:
    """The words of each different text that is there, and in how many rows it is."""
    found: Counter[tuple[str, ...]] = Counter()
    if cells.codes is not None:
        codes, counts = np.unique(cells.codes[~gaps & (cells.codes >= 0)], return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            found[words_of(cells.texts[code])] += count
    return found
