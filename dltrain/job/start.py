"""What a network starts from where its start values are loaded, and what becomes of them in training."""

from dataclasses import dataclass
from typing import Any

Row = tuple[str, str, str, str]
COLUMNS = ("layer", "holds", "start value", "training")


@dataclass(frozen=True)
class Start:
    """network: its name, "model" of a lone one. path: the run, file or config. figures: of the run that it is from, by
    split; none of other things. told: from where, and how much of it fits. rows: of each layer that holds something its
    name, what it holds, from where, and what training does with it."""

    network: str
    path: str
    figures: dict[str, Any]
    told: str
    rows: tuple[Row, ...]
