"""Dates and times as numbers: days since 1970, and the parts that repeat."""

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
EPOCH = datetime(1970, 1, 1)
TIME = r"(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d{1,9})?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
ORDERS = {  # name -> the pattern, and which of its groups are year, month and day
    "year-month-day": (re.compile(rf"(\d{{4}})[-/.](\d{{1,2}})[-/.](\d{{1,2}}){TIME}"), (1, 2, 3)),
    "day.month.year": (re.compile(rf"(\d{{1,2}})\.(\d{{1,2}})\.(\d{{4}}){TIME}"), (3, 2, 1)),
    "day/month/year": (re.compile(rf"(\d{{1,2}})[-/](\d{{1,2}})[-/](\d{{4}}){TIME}"), (3, 2, 1)),
    "month/day/year": (re.compile(rf"(\d{{1,2}})[-/](\d{{1,2}})[-/](\d{{4}}){TIME}"), (3, 1, 2)),
}
PARTS = {"month": 12, "weekday": 7, "hour": 24}  # and how many of them make a turn


class AmbiguousDates(ValueError):
    """Dates such as 03/04/2024."""


def date_order(texts: Collection[str]) -> str | None:
    """The one order in which all texts are dates, None where there is none. Raises AmbiguousDates where there are two
    and they differ."""
    fitting = [order for order in ORDERS if all(read_date(text, order) is not None for text in texts)]
    if len(fitting) > 1 and any(read_date(text, fitting[0]) != read_date(text, fitting[1]) for text in texts):
        raise AmbiguousDates(next(iter(texts)))
    return fitting[0] if fitting else None


def likely_order(counts: Mapping[str, int]) -> tuple[str, int]:
    """The order in which most texts are dates, and how many are. counts: how often each text is there."""
    fitting = {order: sum(n for text, n in counts.items() if read_date(text, order)) for order in ORDERS}
    order = max(fitting, key=fitting.__getitem__)
    return order, fitting[order]


def read_date(text: str, order: str) -> datetime | None:
    """Where a time has a zone, as it is in Greenwich."""
    pattern, groups = ORDERS[order]
    found = pattern.fullmatch(text)
    if found is None:
        return None
    year, month, day = (int(found[group]) for group in groups)
    hour, minute, second = (int(found[group] or 0) for group in (4, 5, 6))
    try:
        moment = datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    if not (zone := found[7]) or zone == "Z":
        return moment
    sign, digits = -1 if zone[0] == "-" else 1, zone[1:].replace(":", "")
    return moment - sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))


def days(moment: datetime) -> float:
    return (moment - EPOCH) / timedelta(days=1)


def turning(when: Array) -> dict[str, Array]:
    """Of days since 1970 (N,): month, weekday and hour as the share of a turn, 0 to below 1. NaN stays."""
    known = np.nan_to_num(when)
    day = np.floor(known).astype("datetime64[D]")
    month = day.astype("datetime64[M]").astype(np.int64) % 12
    weekday = (np.floor(known).astype(np.int64) + 3) % 7  # 1970 began with a Thursday; 0 is Monday
    hour = np.round((known - np.floor(known)) * 24, 6)
    gap = np.where(np.isnan(when), np.nan, 0.0)
    return {name: part / PARTS[name] + gap for name, part in (("month", month), ("weekday", weekday), ("hour", hour))}
