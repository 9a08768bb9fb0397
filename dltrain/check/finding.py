"""What a check has to say."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["passed", "warned", "failed"]


@dataclass(frozen=True)
class Finding:
    """One line of the table. found: what was measured; advice: what to do about it; values: the same for programs."""

    check: str
    status: Status
    found: str
    advice: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judged(check: str, found: str, *problems: tuple[bool, Status, str], **values: Any) -> Finding:
    """problems: (whether it is there, how bad, what to do), the worst ones first; passed where none is there."""
    for there, status, advice in problems:
        if there:
            return Finding(check, status, found, advice, values)
    return Finding(check, "passed", found, "", values)
