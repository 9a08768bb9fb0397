"""Where all JSON of a run is read: it may be a stranger's, so size, depth and numbers have bounds."""

import json
import re
from pathlib import Path
from typing import Any, NoReturn

from dltrain.errors import RunError

Row = dict[str, Any]
SMALL_FILE, LARGE_FILE = 1 << 20, 1 << 26  # bytes of status and environment; of what counts examples of classes
LOG_FILE, LONGEST_LINE = 1 << 29, 1 << 20  # bytes of a log; of a row of it
DEEPEST = 32  # lists and objects within each other
MOST_DIGITS = 20  # of a whole number: the largest seed is 2^64 - 1
# Numbers are looked at one by one only where a text could hold one that is too long, too large, or none.
SUSPECT = re.compile(r"[0-9]{21}|[eE][+-]?[0-9]{3}|NaN|Infinity")
ALIKE = bytes.maketrans(b"123456789E", b"000000000e")  # a whole log is searched for the same without a pattern: quicker
SUSPECTS = (b"0" * 21, b"e000", b"e+000", b"e-000", b"NaN", b"Infinity")


def parse(content: bytes) -> Any:
    """Strict JSON in UTF-8: finite floats, whole numbers of MOST_DIGITS, DEEPEST levels. Raises ValueError."""
    text = content.decode()
    try:
        if SUSPECT.search(text):
            value = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_no_number)
        else:
            value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if text.count("[") + text.count("{") > DEEPEST:
        _require_shallow(value)
    return value


def read_json(path: Path, most: int = SMALL_FILE) -> Row:
    """An object of JSON in a file of at most so many bytes. Raises RunError, in which the file is named."""
    try:
        value = parse(read_bytes(path, most))
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise RunError(f"{path}: cannot be read ({reason})") from None
    return value


def read_bytes(path: Path, most: int) -> bytes:
    """Raises OSError, and ValueError where there are more."""
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def readable(content: bytes) -> tuple[list[Row], int]:
    """The rows of a log before the first line that is torn or damaged, and how many bytes they take."""
    length = content.rfind(b"\n") + 1
    if rows := _plain(content[:length]):
        return rows, length
    rows, length = [], 0
    while (end := content.find(b"\n", length, length + LONGEST_LINE)) >= 0:
        try:
            row = parse(content[length:end])
        except ValueError:
            break
        if not isinstance(row, dict):
            break
        rows.append(row)
        length = end + 1
    return rows, length


def _plain(content: bytes) -> list[Row]:
    """The rows of whole lines at once, as `parse` gives them one by one; none where anything in them is unusual."""
    lines = content.split(b"\n")[:-1]
    alike = content.translate(ALIKE)
    if any(suspect in alike for suspect in SUSPECTS) or max(map(len, lines), default=0) >= LONGEST_LINE:
        return []
    try:
        rows = json.loads(b"[" + b",\n".join(lines) + b"]")
        if len(rows) != len(lines) or not all(type(row) is dict for row in rows):
            return []
        if content.count(b"[") + content.count(b"{") >= len(lines) + DEEPEST:  # else no line has more than DEEPEST
            for row in rows:
                _require_shallow(row)
    except (ValueError, RecursionError):
        return []
    return list(rows)


def _whole(digits: str) -> int:
    if (length := len(digits.lstrip("-"))) > MOST_DIGITS:
        raise ValueError(f"a whole number of {length:,} digits")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if abs(value) == float("inf"):
        raise ValueError("a number that is too large")
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        inner = (part for holder in level for part in (holder.values() if isinstance(holder, dict) else holder))
        level = [part for part in inner if isinstance(part, dict | list)]
        if not level:
            return
    raise ValueError(f"nested more than {DEEPEST} levels deep")
