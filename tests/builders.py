"""Small jobs for tests: networks, data and settings, built by hand instead of from a config."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dltrain.backend import Device, open_device
from dltrain.data import Pixels, Preprocessing, Split
from dltrain.job.job import Job
from dltrain.job.loader import DataLoader
from dltrain.job.parallel import add
from dltrain.job.settings import (
    CheckpointSettings,
    DiagnosticsSettings,
    EarlyStopping,
    LoggingSettings,
    TrainSettings,
)
from dltrain.job.update import lone_update
from dltrain.metrics.settings import MetricsSettings
from dltrain.nn import INITIALIZERS, INPUT, LAYERS, LOSSES, NORMS, Container, Given, Network, Penalty
from dltrain.optim import OPTIMIZERS, SCHEDULES
from dltrain.registry import as_arguments
from dltrain.run.checkpoint import Checkpoint
from dltrain.run.progress import Position, Progress
from dltrain.run.rundir import RunDir
from dltrain.train.callbacks import Callback, LayerRows
from dltrain.train.loop import fit

Array = Any
LayerList = Sequence[tuple[str, dict[str, Any]]]

AFFINE = {"epsilon": 1e-5, "affine": True, "trainable": True}
BATCH_NORM = NORMS["batch_norm"](momentum=0.3, **AFFINE)
# Together these hold every type of layer. `of` and `from` name earlier ones.
EVERY_LAYER: dict[str, LayerList] = {
    "deep": [
        ("conv", {"channels": 4, "padding": "same", "activation": "relu"}),
        ("conv", {"channels": 6, "groups": 2, "stride": 2, "activation": "tanh"}),
        ("leaky_relu", {}),
        ("prelu", {}),
        ("average_pool", {"kernel": 2, "stride": 1}),
        ("dropout", {"rate": 0.25}),
        ("flatten", {}),
        ("dense", {"units": 9, "activation": "sigmoid"}),
        ("tanh", {}),
        ("gelu", {}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
    "max": [
        ("conv", {"channels": 8, "dilation": 2, "bias": False, "activation": "leaky_relu"}),
        ("max_pool", {"kernel": 2, "padding": "same"}),
        ("relu", {}),
        ("selu", {}),
        ("dropout", {"rate": 0.1}),
        ("global_max_pool", {}),
        ("silu", {}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
    "average": [
        ("conv", {"channels": 10, "kernel": 2, "padding": 1, "activation": "none"}),
        ("sigmoid", {}),
        ("elu", {}),
        ("softplus", {}),
        ("global_average_pool", {}),
        ("softmax", {}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
    "normalised": [
        ("conv", {"channels": 6, "padding": "same", "activation": "none"}),
        ("instance_norm", {}),
        ("relu", {}),
        ("conv", {"channels": 6, "padding": "same", "activation": "tanh"}),
        ("group_norm", {"groups": 2}),
        ("global_average_pool", {}),
        ("dense", {"units": 9, "activation": "none"}),
        ("layer_norm", {}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
    "normalised by batches": [
        ("conv", {"channels": 6, "padding": "same", "bias": False, "activation": "none"}),
        ("batch_norm", {}),
        ("relu", {}),
        ("flatten", {}),
        ("dense", {"units": 9, "activation": "none"}),
        ("batch_norm", {"momentum": 0.3}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
    "normalised within": [
        ("conv", {"channels": 6, "padding": "same", "norm": NORMS["instance_norm"](**AFFINE), "activation": "relu"}),
        ("depthwise_conv", {"bias": True, "norm": NORMS["group_norm"](groups=2, **AFFINE), "activation": "tanh"}),
        ("conv", {"channels": 6, "kernel": 2, "spectral_norm": True, "activation": "leaky_relu"}),
        ("conv_transpose", {"channels": 6, "norm": NORMS["layer_norm"](**AFFINE), "activation": "gelu"}),
        ("global_average_pool", {}),
        ("dense", {"units": 9, "spectral_norm": True, "norm": NORMS["layer_norm"](**AFFINE), "activation": "sigmoid"}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
    "normalised within by batches": [
        ("conv", {"channels": 6, "padding": "same", "norm": BATCH_NORM, "activation": "relu"}),
        ("flatten", {}),
        ("dense", {"units": 9, "norm": BATCH_NORM, "activation": "none"}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
    "reshaped": [
        ("depthwise_conv", {"multiplier": 4, "stride": 2, "padding": 1, "activation": "relu6"}),
        ("conv_transpose", {"channels": 6, "stride": 2, "output_padding": 1, "groups": 2, "activation": "relu"}),
        ("pad", {"padding": 1, "mode": "reflect"}),
        ("hard_swish", {}),
        ("upsample", {"factor": 2, "mode": "bilinear"}),
        ("max_pool", {"kernel": 4}),
        ("relu6", {}),
        ("reshape", {"shape": (-1, 3)}),
        ("softmax", {"axis": 0}),
        ("flatten", {}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
    "sequence": [
        ("embedding", {"units": 3, "tokens": 256}),
        ("reshape", {"shape": (16, 12)}),
        ("positional", {"encoding": "learned"}),
        ("rnn", {"units": 5}),
        ("dropout", {"rate": 0.25}),
        ("attention", {"heads": 5, "causal": True}),
        ("lstm", {"units": 6}),
        ("dense", {"units": 4, "activation": "tanh"}),
        ("gru", {"units": 8, "return": "last"}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
    "joined": [
        ("conv", {"channels": 4, "padding": "same", "activation": "tanh"}),
        ("conv", {"channels": 4, "padding": "same", "activation": "relu"}),
        ("add", {"of": "conv1"}),
        ("conv", {"channels": 3, "padding": "same", "activation": "leaky_relu", "from": "conv1"}),
        ("concat", {"of": ("add1", "conv3", "input")}),
        ("global_average_pool", {}),
        ("dense", {"units": 8, "activation": "sigmoid"}),
        ("multiply", {"of": "concat1"}),
        ("flatten", {}),
        ("dense", {"units": 10, "activation": "none"}),
    ],
}
# Without `picture`, which takes no input: test_style.py has it.
LEAVES = {kind for kind in LAYERS if not issubclass(LAYERS[kind], Container)} - {"picture"}  # type: ignore[arg-type]
# Dense layers alone, for what does not depend on the kind of layer.
SMALL: LayerList = [("dense", {"units": 7, "activation": "relu"}), ("dense", {"units": 3, "activation": "none"})]


def build(layers: LayerList, in_shape: tuple[int, ...], init: str = "he_normal") -> Network:
    """A model whose layers are called by their type and a running number: conv1, conv2, relu1 …"""
    built: list[Any] = []
    shapes, sources, before = {INPUT: in_shape}, {}, INPUT
    for kind, settings in layers:
        weights = {"init": INITIALIZERS[init]()} if "init" in LAYERS.settings(kind) else {}
        of = settings.get("of", ())
        also = of or settings.get(getattr(LAYERS[kind], "also", ""), ())
        taken = of if isinstance(of, tuple) and of else (settings.get("from", before), *([also] if also else []))
        own = {key: value for key, value in settings.items() if key != "from"}
        layer = LAYERS[kind](*(shapes[name] for name in taken), **(weights | as_arguments(own)))
        layer.kind = kind
        layer.name = f"{kind}{1 + sum(other.name.rstrip('0123456789') == kind for other in built)}"
        built.append(layer)
        before = layer.name
        shapes[before], sources[before] = layer.out_shape, taken
    return Network(built, in_shape, sources)


def images(examples: int, classes: int = 10, seed: int = 0) -> Split:
    """Random bytes as 8x8 pictures, with class numbers that follow from their mean, so that there is something
    to learn."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, examples)
    level = (targets * (200 // classes))[:, None, None, None]
    return Split((level + rng.integers(0, 56, (examples, 8, 8, 1))).astype(np.uint8), targets)


def rows(examples: int, classes: int = 3, width: int = 5, seed: int = 0) -> Split:
    """Rows of random numbers around a centre for each class."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, examples)
    centres = rng.normal(0, 2, (classes, width))
    return Split((centres[targets] + rng.normal(0, 1, (examples, width))).astype(np.float32), targets)


def weighed(job: Job, class_weights: Sequence[float]) -> Job:
    """The job with a loss in which the classes count so much."""
    job.loss.class_weights = job.device.asarray(np.array(class_weights, float))
    return job


def make_job(
    layers: LayerList = SMALL,
    splits: dict[str, Split] | None = None,
    *,
    device: Device | None = None,
    seed: int = 0,
    init: str = "he_normal",
    loss: str = "cross_entropy",
    loss_settings: dict[str, Any] | None = None,
    normalize: Any = "channel",
    optimizer: Any = None,
    schedule: Any = None,
    penalty: dict[str, Any] | None = None,
    checkpoints: dict[str, Any] | None = None,
    log_every: int = 1,
    update_every: int = 10,
    early_stopping: dict[str, Any] | None = None,
    augment: tuple[Any, ...] = (),
    metrics: dict[str, Any] | None = None,
    data_sha256: dict[str, str] | None = None,
    **train: Any,
) -> Job:
    """A job on these splits; by default 70 rows in batches of 22 and shards of 6: 4 shards, the last one smaller,
    and a last batch of 4 rows, on the CPU in float32."""
    splits = {"train": rows(70)} if splits is None else splits
    device = device or open_device("cpu")
    inputs, targets = splits["train"].inputs, splits["train"].targets
    classes = None
    if LOSSES[loss].classification:  # type: ignore[attr-defined]
        classes = tuple(str(i) for i in range(int(targets.max()) + 1))
    normalize = "none" if layers[0][0] == "embedding" else normalize  # bytes are tokens
    preprocessing = Preprocessing.learn(splits["train"], classes=classes, normalize=normalize)
    model = build(layers, inputs.shape[1:], init)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 22, "shard_size": 6} | train
    return Job(
        config="version: 1\n",
        seed=seed,
        device=device,
        model=model,
        updates=(
            lone_update(
                model,
                LOSSES[loss](**(loss_settings or {})),
                next(iter(preprocessing.named)),
                Given([*preprocessing.named][1], ()),
                penalty=Penalty(**(penalty or {})),
                optimizer=optimizer or OPTIMIZERS["adam"](lr=1e-2),
                schedule=schedule or SCHEDULES["constant"](),
                clip_norm=train.get("clip_norm"),
                lr_factors={},
            ),
        ),
        loaders={name: DataLoader(split, preprocessing, augment if name == "train" else (), device)
               for name, split in splits.items()},
        preprocessing=preprocessing,
        data_sha256=data_sha256 or {},
        train=TrainSettings(
            early_stopping=EarlyStopping(**early_stopping) if early_stopping else None, **settings
        ),
        metrics=MetricsSettings(**(metrics or {})),
        checkpoint=CheckpointSettings(**(checkpoints or {})),
        logging=LoggingSettings(every=log_every),
        diagnostics=DiagnosticsSettings(update_every=update_every),
    )  # fmt: skip


class Silent(Callback):
    """Watches and says nothing; keeps what it was shown."""

    def __init__(self) -> None:
        self.plan: tuple[int, int] | None = None
        self.steps: list[dict[str, Any]] = []
        self.epochs: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []

    def started(self, steps: int, epochs: int) -> None:
        self.plan = (steps, epochs)

    def stepped(self, row: dict[str, Any], layer_rows: LayerRows) -> None:
        self.steps.append(row)

    def finished_epoch(self, row: dict[str, Any], layers: list[dict[str, Any]]) -> None:
        self.epochs.append((row, layers))


def new_run(folder: Path, name: str = "test") -> RunDir:
    return RunDir.create(folder / "runs", name, "version: 1\n", "version: 1\n", {})


def train(job: Job, folder: Path, threads: int = 2) -> tuple[dict[str, Any], RunDir]:
    """The result of a whole training, and where it is kept."""
    run = new_run(folder)
    fit(job, run, threads, Silent())
    return run.result(), run


def weights_of(job: Job) -> dict[str, Array]:
    """Copies on the host."""
    return {name: np.array(getattr(a, "get", lambda a=a: a)()) for name, a in job.model.weights().items()}


LEARNED = Preprocessing(
    (5,), ("a", "b", "é"), "channel", (0.1, 0.2, 0.3, 0.4, 1e-30), (1.0, 2.0, 3.0, 4.0, 1e30), Pixels(white=16.0)
)


def checkpoint(seed: int = 0) -> Checkpoint:
    """A small one, of no training that ever was."""
    rng = np.random.default_rng(seed)
    weights = {"dense1.weight": rng.normal(size=(5, 3)).astype(np.float32), "dense1.bias": np.zeros(3, np.float32)}
    state = {f"{name}/mean": rng.normal(size=a.shape).astype(np.float32) for name, a in weights.items()}
    sums = {"mean/loss": np.array([1.5, 22.0]), "layer/dense1/alive": np.array([True, False, True])}
    progress = Progress(0.25, 8, 0.5, 2, 7.5, [0.5, 0.25], {"train": {"loss": 0.25}})
    where = Position(step=12, epoch=3, done=4)
    logs = {"metrics.jsonl": 1234, "layers.jsonl": 56}
    digests = {"train": "0a" * 32, "test": "1b" * 32}
    return Checkpoint(weights, state, sums, where, progress, logs, LEARNED, "version: 1  # naïve\n", digests)


# --- sums over shards ------------------------------------------------------------------------------------------------


def tree_sum(values: list[Any]) -> Any:
    """The definition: neighbours are added, then the neighbouring sums, and so on; who has no sibling goes up as is."""
    if len(values) == 1:
        return values[0]
    pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
    return tree_sum([pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in pairs])


def parts(count: int, seed: int = 0) -> list[Array]:
    """float32 numbers of very different sizes: in another order they give another sum."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(500) * 10.0 ** rng.uniform(-3, 3, 500)).astype(np.float32) for _ in range(count)]


class Unordered:
    """What the tree must not be: adds results as they come."""

    def __init__(self, count: int):
        self.root: dict[str, Array] | None = None
        self._lock = threading.Lock()

    def enter(self, index: int, value: dict[str, Array]) -> None:
        with self._lock:
            self.root = value if self.root is None else add(self.root, value)
