"""A cell that is no date in a column of dates: named with its line, and what to do."""

from pathlib import Path
from typing import Any

import pytest

from dltrain.data.tables.table import Csv
from dltrain.errors import DataError

DAYS = [f"2020-01-0{day}" for day in range(1, 10)]
SLIPS: dict[str, tuple[list[str], dict[str, Any], list[str]]] = {
    **{
        odd: (
            [*DAYS, odd], {},
            [f"a.csv:11: column 'when' holds dates, but also {odd!r}; mend that, or say ",
             f"data.missing_values: [{told}, …]", "data.columns: {when: category}"],
        )
        for odd, told in {
            "2020-13-45": '"2020-13-45"', "unknown": "unknown", "03.04.2020": '"03.04.2020"', "20200405": '"20200405"',
        }.items()
    },
    "a day or a month": (
        [*(f"{day}/03/2020" for day in range(5, 22)), "04/13/2020"], {},
        ["a.csv:19: column 'when' holds dates, but also '04/13/2020'"],
    ),
    "dates that were asked for": (
        [*(f"{day}.03.2020" for day in range(11, 20)), "2020-03-20"], {"columns": {"when": "date"}},
        ["a.csv:11: column 'when' should be a date, day.month.year, not '2020-03-20'"],
    ),
}  # fmt: skip


def source(folder: Path, cells: list[str], **settings: Any) -> Csv:
    rows = "".join(f"{cell},{'xy'[row % 2]}\n" for row, cell in enumerate(cells))
    (folder / "a.csv").write_text(f"when,cls\n{rows}", encoding="utf-8")
    return Csv(path=str(folder / "a.csv"), target="cls", **settings)


@pytest.mark.parametrize("name", SLIPS)
def test_it_is_named(name: str, tmp_path: Path) -> None:
    cells, settings, parts = SLIPS[name]
    with pytest.raises(DataError) as caught:
        assert source(tmp_path, cells, **settings).columns
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("cells, settings, kind", [
    ([*DAYS, "unknown"], {"missing_values": ("unknown",)}, "date"),
    ([*DAYS, "unknown"], {"columns": {"when": "category"}}, "category"),
    ([*DAYS[1:], "unknown"], {}, "category"),
], ids=["a gap", "a category", "fewer than nine in ten"])  # fmt: skip
def test_what_to_do_helps(cells: list[str], settings: dict[str, Any], kind: str, tmp_path: Path) -> None:
    assert [column.type for column in source(tmp_path, cells, **settings).columns] == [kind]
