"""What adds up over an epoch: the means of its losses, and what is seen of each layer."""

from typing import Any

import numpy as np

from dltrain.nn import Model
from dltrain.train.figures import StepReport
from dltrain.train.probes import Mean, Probes

Array = Any
MEANS = ("loss", "data_loss", "penalty", "accuracy")


class EpochSums:
    """A checkpoint in the middle of an epoch holds all of this as arrays, so that its rows come out the same."""

    def __init__(self, model: Model):
        self.probes = Probes(model)
        self.means = {key: Mean() for key in MEANS}
        self.seconds = 0.0

    def add(self, report: StepReport, seconds: float) -> dict[str, float]:
        """Count a step; what its row says of losses and scores."""
        values = {"loss": report.data_loss + report.penalty, "data_loss": report.data_loss, "penalty": report.penalty}
        if report.accuracy is not None:
            values["accuracy"] = report.accuracy
        for key, value in values.items():
            self.means[key].add(value, report.examples if key == "accuracy" else report.weight)
        self.seconds += seconds
        return values

    def averages(self) -> dict[str, float]:
        """The means over the examples so far, those of losses by the examples' weights."""
        return {key: mean.value for key, mean in self.means.items() if mean.value is not None}

    def to_arrays(self) -> dict[str, Array]:
        arrays = {f"mean/{key}": mean.to_array() for key, mean in self.means.items()}
        for name, probe in self.probes.items():
            arrays |= {f"layer/{name}/{key}": array for key, array in probe.to_arrays().items()}
        return arrays | {"seconds": np.array([self.seconds])}

    def restore(self, arrays: dict[str, Array]) -> None:
        """The inverse of `to_arrays`. Raises KeyError or ValueError where these are of another model."""
        for key, mean in self.means.items():
            mean.restore(arrays[f"mean/{key}"])
        for name, probe in self.probes.items():
            start = f"layer/{name}/"
            probe.restore({key.removeprefix(start): a for key, a in arrays.items() if key.startswith(start)})
        (self.seconds,) = arrays["seconds"].tolist()
