"""Numbers to predict, as the training sees them and back."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltrain.data.source import NormalizeTargets
from dltrain.errors import SettingError

Array = NDArray[Any]
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class TargetScale:
    """(target - mean) / std is what a network learns to give; with log, of the target's natural logarithm."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    log: bool = False

    @classmethod
    def learn(cls, targets: Array, setting: NormalizeTargets) -> "TargetScale | None":
        """From those of the training part, (N, k). None where they stay as they are. Raises SettingError."""
        if setting not in ("standard", "log"):
            return None
        values = targets.astype(np.float64)
        if setting == "log":
            _require_positive(values)
            values = np.log(values)
        mean, std = values.mean(axis=0), values.std(axis=0)
        same = (std < TINY) | (std <= 1e-12 * np.abs(mean))
        return cls(tuple(mean.tolist()), tuple(np.where(same, 1.0, std).tolist()), setting == "log")

    def scaled(self, targets: Array) -> Array:
        """As float32. Raises SettingError where there is no logarithm."""
        values = targets.astype(np.float64)
        if self.log:
            _require_positive(values)
            values = np.log(values)
        return ((values - self.mean) / self.std).astype(np.float32)

    def undone(self, outputs: Array) -> Array:
        """A network's outputs in the units of the targets, float64."""
        values: Array = outputs.astype(np.float64) * self.std + self.mean
        return np.exp(values) if self.log else values

    def to_json(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "std": list(self.std), "log": self.log}

    @classmethod
    def from_json(cls, raw: object) -> "TargetScale":
        """Raises ValueError for anything that `to_json` does not give."""
        match raw:
            case {"mean": list(mean), "std": list(std), "log": bool(log)} if (
                mean
                and len(mean) == len(std)
                and all(type(value) is float and isfinite(value) for value in (*mean, *std))
                and min(std) > 0
            ):
                return cls(tuple(mean), tuple(std), log)
        raise ValueError("no scale of targets")


def _require_positive(values: Array) -> None:
    if (values <= 0).any():
        raise SettingError(
            "data.normalize_targets",
            f"log needs targets above 0; {int((values <= 0).any(axis=1).sum()):,} of {len(values):,} are not",
        )
