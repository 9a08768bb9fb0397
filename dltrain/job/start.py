"""What a network starts from where its start values are loaded, and what becomes of them in training."""

from dataclasses import dataclass

Row = tuple[str, str, str, str]
COLUMNS = ("layer", "holds", "start value", "training")


@dataclass(frozen=True)
class Start:
    """told: from where, and how much of it fits. rows: of each layer that holds something its name, what it holds, from
    where, and what training does with it."""

    told: str
    rows: tuple[Row, ...]
