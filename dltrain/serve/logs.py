"""The logs of one run as far as they are written: thinned curves, and what advice asks for."""

from collections import deque
from typing import Any

from dltrain.run.reader import LOG_FILE, read_bytes, readable
from dltrain.run.rundir import RunDir
from dltrain.run.tail import Tail
from dltrain.serve.thinned import Thinned

Row = dict[str, Any]
CURVE, MAP = 1024, 256  # buckets of a curve; columns of a map of layers
MOST_LAYERS = 512
EPOCHS = 2_000  # whose rows are kept whole, for advice
WHOLE_LOG = 1 << 25  # bytes of layers.jsonl from which on advice is left to the report
LOOKS = (
    "dead_share", "update_ratio", "gradient_norm", "weight_norm", "activation_mean", "activation_std",
    "saturated_share",
)  # fmt: skip
NOT_FIGURES = ("event", "epoch", "step")


class Logs:
    """generation: changes when a log begins anew, as it does when a training goes on from a checkpoint."""

    def __init__(self, run: RunDir):
        self.run = run
        self.generation = 0
        self.waiting = True  # whether there may be more to read
        self._metrics, self._layers = Tail(run.metrics), Tail(run.layers)
        self._forget_metrics()
        self._forget_layers()

    def _forget_metrics(self) -> None:
        self.steps, self.epochs = Thinned(CURVE), Thinned(CURVE)
        self.first: Row | None = None
        self.last: Row = {}
        self.epoch_rows: deque[Row] = deque(maxlen=EPOCHS)
        self.first_epoch_ends: float | None = None

    def _forget_layers(self) -> None:
        self.layers: dict[str, Thinned] = {}
        self.kinds: dict[str, Row] = {}

    @property
    def problem(self) -> str | None:
        """What is not shown, and why."""
        for tail in (self._metrics, self._layers):
            if tail.damaged:
                return f"{tail.path.name} is damaged after byte {tail.offset:,}; what follows is not shown"
            if tail.offset >= LOG_FILE:
                return f"{tail.path.name} has more than {LOG_FILE >> 20} MB; what follows is not shown"
        if self.steps.left_out or self.epochs.left_out or len(self.kinds) == MOST_LAYERS:
            return "there are more figures or layers than a page can hold; some are not shown"
        return None

    def pull(self) -> bool:
        """Read a piece of what is new. Returns whether there was any; `waiting` says whether there may be more."""
        rows, anew = self._metrics.read()
        layers, again = self._layers.read()
        if anew:
            self._forget_metrics()
        if again:
            self._forget_layers()
        self.generation += anew or again
        self._add_steps([row for row in rows if row.get("event") == "step" and _is_number(row.get("step"))])
        self._add_epochs([row for row in rows if row.get("event") == "epoch" and _is_number(row.get("step"))])
        self._add_layers(layers)
        self.waiting = bool(rows or layers)
        return self.waiting or anew or again

    def _add_steps(self, rows: list[Row]) -> None:
        if rows:
            self.first = self.first or rows[0]
            self.last = rows[-1]
            figures = [{key: value for key, value in row.items() if key not in NOT_FIGURES} for row in rows]
            self.steps.extend([row["step"] for row in rows], figures)

    def _add_epochs(self, rows: list[Row]) -> None:
        if not rows:
            return
        self.epoch_rows.extend(rows)
        if self.first_epoch_ends is None:
            self.first_epoch_ends = rows[0]["step"]
        figures: list[Row] = []
        for row in rows:
            found = {"seconds": row.get("seconds")}
            for split in ("train", "validation"):
                values = row.get(split)
                found |= {f"{split} {key}": v for key, v in values.items()} if isinstance(values, dict) else {}
            figures.append(found)
        self.epochs.extend([row["step"] for row in rows], figures)

    def _add_layers(self, rows: list[Row]) -> None:
        by_layer: dict[str, list[Row]] = {}
        for row in rows:
            if isinstance(name := row.get("layer"), str) and _is_number(row.get("epoch")):
                by_layer.setdefault(name, []).append(row)
        for name, found in by_layer.items():
            if name not in self.layers:
                if len(self.layers) == MOST_LAYERS:
                    continue
                self.layers[name] = Thinned(MAP)
                self.kinds[name] = {key: found[0].get(key) for key in ("type", "activation", "units")}
            self.layers[name].extend([row["epoch"] for row in found], [{k: r.get(k) for k in LOOKS} for r in found])

    def layer_rows(self) -> list[Row] | None:
        """All rows of layers.jsonl; None where they are too many to be held at once."""
        try:
            return readable(read_bytes(self.run.layers, WHOLE_LOG))[0]
        except OSError:
            return []
        except ValueError:
            return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
