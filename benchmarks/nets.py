"""The nets that are measured, and what all sides need to know of one.

Augmentation and schedule are off: they belong to the training, not to the net, and each framework would have them
written by hand. Validation takes as many examples as make the rest a whole number of batches, because torch.compile
compiles again for a ragged batch.
"""

from dataclasses import dataclass, replace
from typing import Any

from dltrain.backend import Device, open_device
from dltrain.data import Prepared, default_data_dir, prepare
from dltrain.nn import Network
from dltrain.spec import RunSpec, build_model, build_source, cuts_of, load, loads, settle

MLP = """
data: {type: mnist, validation: 96}
model:
  layers:
    - flatten
    - dense: 1024
    - dense: 1024
    - dense: {units: 10, activation: none}
train: {batch_size: 256}
"""

VGG = """
data: {type: cifar10, validation: 80}
model:
  layers:
    - conv: {channels: 64, padding: same}
    - conv: {channels: 64, padding: same}
    - max_pool: 2
    - conv: {channels: 128, padding: same}
    - conv: {channels: 128, padding: same}
    - max_pool: 2
    - conv: {channels: 256, padding: same}
    - conv: {channels: 256, padding: same}
    - max_pool: 2
    - flatten
    - dense: 256
    - dense: {units: 10, activation: none}
train: {batch_size: 128}
"""


@dataclass(frozen=True)
class Net:
    """config: the name of a shipped one, or YAML text. steps: how many are taken in turn, about 2 s of work."""

    config: str
    overrides: tuple[str, ...]
    steps: int

    def spec(self, device: Device, dropout: bool = True) -> RunSpec:
        changes = ("train.epochs=1000000", "schedule=constant", *self.overrides)
        spec = self._read(changes)
        if not dropout:
            assert spec.model
            names = [layer.common["name"] for layer in spec.model.layers if layer.type == "dropout"]
            spec = self._read((*changes, *(f"model.layers.{name}.rate=0" for name in names)))
        return settle(spec, device)

    def _read(self, changes: tuple[str, ...]) -> RunSpec:
        return loads(self.config, overrides=changes) if "\n" in self.config else load(self.config, changes)

    def with_overrides(self, *overrides: str) -> "Net":
        return replace(self, overrides=(*self.overrides, *overrides))


NETS = {
    "cifar_cnn": Net("cifar_cnn", ("data.validation=80",), 10),
    "mnist_lenet5": Net("mnist_lenet5", ("data.validation=5024",), 200),
    "digits_cnn": Net("digits_cnn", ("data.augment=[]", "data.validation=47", "train.batch_size=32"), 150),
    "cifar_resnet20": Net("cifar_resnet20", ("data.augment=[]", "data.validation=80"), 6),
    "char_gru": Net("char_gru", (), 30),
    "char_lstm": Net("char_lstm", (), 20),
    "char_transformer": Net("char_transformer", (), 15),
    "mlp": Net(MLP, (), 40),
    "vgg": Net(VGG, (), 4),
}


@dataclass(frozen=True)
class Twin:
    """What another framework needs to train the same net: layers and weights, data, optimizer settings."""

    spec: RunSpec
    model: Network
    kinds: list[str]
    prepared: Prepared
    batch_size: int
    adam: dict[str, Any]


def twin(net: Net, dropout: bool) -> Twin:
    """With the initial weights that `dltrain fit` starts from."""
    device = open_device("cpu")
    spec = net.spec(device, dropout)
    source, model = build_source(spec), build_model(spec)
    assert source and spec.model and spec.loss and isinstance(model, Network)
    if spec.optimizer.type not in ("adam", "nesterov") or spec.loss.type != "cross_entropy":
        known = "adam, nesterov and cross_entropy"
        raise SystemExit(f"the twins know {known}, not {spec.optimizer.type} and {spec.loss.type}")
    data_set = spec.sources[""]
    common = data_set.common
    normalize, seed = common["normalize"], common["split_seed"]
    data = prepare(source, default_data_dir(), cuts=cuts_of(data_set), normalize=normalize, seed=seed)
    model.initialise(spec.seed, device)
    kinds = [layer.kind for layer in model.layers]
    return Twin(spec, model, kinds, data, spec.train.batch_size, spec.optimizer.own)
