"""What a check has to say."""

from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

Status = Literal["passed", "warning", "failed", "skipped"]
WEIGHTS = "look at model.init: he_normal suits relu, glorot_uniform suits tanh and sigmoid"


@dataclass(frozen=True)
class Finding:
    """One line of the table. found: what was measured, or why nothing was; advice: what to do about it; values: the
    same for programs."""

    check: str
    status: Status
    found: str
    advice: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """null stands for a figure that is not finite."""
        found: dict[str, Any] = _finite(asdict(self))
        return found


def judged(check: str, found: str, *problems: tuple[bool, Status, str], **values: Any) -> Finding:
    """problems: (whether it is there, how bad, what to do), the worst ones first; passed where none is there."""
    for there, status, advice in problems:
        if there:
            return Finding(check, status, found, advice, values)
    return Finding(check, "passed", found, "", values)


def skipped(check: str, reason: str) -> Finding:
    """Nothing was looked at, so nothing is promised. reason: `needs pictures`."""
    return Finding(check, "skipped", f"not looked at: {reason}")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
