"""A step that is replayed is the step that Python would have gone through, to the last bit."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
from builders import EVERY_LAYER, LayerList, Silent, images, make_job, new_run, train
from native_calls import CHANGED, Call, calls, pointwise, products
from native_sequences import sequences
from test_losses import TASKS

from dltrain.backend import GraphCache, StepScalars, capture, choose_kernels, kernels
from dltrain.backend.capture import CapturedGraph
from dltrain.backend.compiled import TABLE
from dltrain.backend.native import NativeKernels
from dltrain.data import AUGMENTATIONS
from dltrain.errors import DeviceError
from dltrain.job.job import Job
from dltrain.optim import OPTIMIZERS
from dltrain.train import step
from dltrain.train.loop import fit
from dltrain.window import Window

Array = Any
NOW = StepScalars(step=3, epoch=2, lr=0.5)
IN_C: LayerList = [
    ("conv", {"channels": 4, "padding": "same", "activation": "relu"}),
    ("max_pool", {"kernel": 2}),
    ("conv", {"channels": 6, "groups": 2, "stride": 2, "activation": "tanh"}),
    ("dropout", {"rate": 0.25}),
    ("flatten", {}),
    ("dense", {"units": 9, "activation": "sigmoid"}),
    ("dropout", {"rate": 0.5}),
    ("dense", {"units": 10, "activation": "none"}),
]
POOLED = [("average_pool", {"kernel": 2}) if kind == "max_pool" else (kind, settings) for kind, settings in IN_C]
WHOLE = {  # what C computes alone
    "in C", "average", "every layer, normalised", "every layer, normalised by batches",
    "every layer, normalised within by batches", "every layer, joined", "every layer, sequence",
}  # fmt: skip
NETS = {"in C": IN_C, "average": POOLED} | {f"every layer, {name}": layers for name, layers in EVERY_LAYER.items()}


@pytest.fixture(autouse=True)
def in_c(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("chosen_kernels")
    try:
        choose_kernels("native")
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each part of a step was replayed."""
    seen: Counter[str] = Counter()
    plain = GraphCache.replay

    def watched(
        self: GraphCache, key: Any, work: Callable[..., Any], inputs: Any = (), *arrays: Any, **more: Any
    ) -> Any:
        asked = []
        found = plain(self, key, lambda *inputs: [asked.append(1), work(*inputs)][1], inputs, *arrays, **more)
        seen[key if isinstance(key, str) else key[0]] += not asked
        return found

    monkeypatch.setattr(GraphCache, "replay", watched)
    return seen


# --- trainings --------------------------------------------------------------------------------------------------------


def logged(job: Job, folder: Path, threads: int = 2) -> tuple[Any, ...]:
    """Everything that a training leaves behind but for times."""
    callback, run = Silent(), new_run(folder)
    fit(job, run, threads, callback)
    timed = ("seconds", "examples_per_second")
    rows = [{key: value for key, value in row.items() if key not in timed} for row in run.rows(run.metrics)]
    return run.result()["weights_sha256"], rows, run.rows(run.layers)


def same(make: Callable[[], Job], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [logged(make(), folder, threads) for threads in (1, 2)]
    monkeypatch.setattr(step, "why_eager", lambda job: "to compare")
    expected = logged(make(), folder)
    assert found == [expected, expected]


def job_of(net: str, optimizer: Any = "adam", **settings: Any) -> Job:
    """Three epochs of 70 pictures: in each three steps of 22 examples, in one shard, and one of 4."""
    augment = (AUGMENTATIONS["flip"](), AUGMENTATIONS["crop"](padding=1))
    splits = {"train": images(70), "validation": images(27, seed=1)}
    optimizer = OPTIMIZERS[optimizer](lr=1e-2) if isinstance(optimizer, str) else optimizer
    defaults = {"epochs": 3, "augment": augment, "optimizer": optimizer, "update_every": 2}
    return make_job(NETS[net], splits, **({"shard_size": 22} | defaults | settings))


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a penalty": {"penalty": {"l2": 1e-2}},
    "a proximal penalty": {"penalty": {"l1": 1e-2, "method": "proximal"}},
    "clipped": {"clip_norm": 1e-2},
    "smoothed": {"loss_settings": {"label_smoothing": 0.1}},
    "mixed": {"mixup": 0.5},
}


CASES = [
    (net, settings) for net in NETS for settings in SETTINGS if (net, settings) != ("every layer, sequence", "mixed")
]  # half of one token and half of another is none


@pytest.mark.parametrize(("net", "settings"), CASES)
def test_the_same_bits_and_logs(
    net: str, settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replayed: Counter[str]
) -> None:
    given = dict(SETTINGS[settings])
    mixup = given.pop("mixup", 0.0)
    same(lambda: mixed(job_of(net, **given), mixup), tmp_path, monkeypatch)
    steps, kinds = 12, 2  # of 22 and of 4 examples
    most = 2 * (steps - kinds)
    assert replayed["gradients"] == (most if net in WHOLE and not mixup else 0)
    assert replayed["update"] == replayed["norms"] == 2 * (steps - 1)


def mixed(job: Job, alpha: float) -> Job:
    object.__setattr__(job, "mixup", alpha)
    return job


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_with_any_optimizer(
    optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replayed: Counter[str]
) -> None:
    schedule = {"schedule": lambda done, *_: 1 / (1 + done)}  # another learning rate in every step
    same(lambda: job_of("in C", optimizer, **schedule), tmp_path, monkeypatch)
    in_c = optimizer in ("sgd", "momentum", "nesterov", "adam")
    assert replayed["update"] == (2 * 11 if in_c else 0)


@pytest.mark.parametrize("name", TASKS)
def test_with_any_loss(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replayed: Counter[str]) -> None:
    settings, outputs, data = TASKS[name]
    layers = [("dense", {"units": 7}), ("dense", {"units": outputs, "activation": "none"})]
    data = {"train": data.take(np.arange(70))}
    make = partial(make_job, layers, data, loss=name, loss_settings=settings, shard_size=22)
    same(make, tmp_path, monkeypatch)
    assert (replayed["gradients"] > 0) == (name in ("cross_entropy", "mse", "mae", "huber"))


class Slower(type(OPTIMIZERS["sgd"](lr=1))):  # type: ignore[misc]
    """Somebody else's optimizer, with a learning rate that looks like the usual one in the first step."""

    def update_one(self, w: Array, g: Array, slots: list[Array], lr: float, step: int) -> None:
        super().update_one(w, g, slots, lr / step, step)


def test_what_a_plugin_does_is_never_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replayed: Counter[str]
) -> None:
    same(lambda: job_of("in C", Slower(lr=0.1)), tmp_path, monkeypatch)
    assert not replayed


def test_several_shards_are_left_alone(tmp_path: Path, replayed: Counter[str]) -> None:
    train(job_of("in C", shard_size=6, batch_size=20), tmp_path)  # the last batch is of 10 examples
    assert not replayed


# --- capture ----------------------------------------------------------------------------------------------------------


OUTSIDE = np.ones(2, np.float32)


def k() -> NativeKernels:
    found = kernels(OUTSIDE)
    assert isinstance(found, NativeKernels)
    return found


def one() -> Array:
    return k().one_like(np.empty((), np.float32))


def in_place(y: Array, change: Callable[[Array], Any]) -> Array:
    change(y)
    return y


def added(y: Array) -> Array:
    y += 1
    return y


IN_PLACE = f"numpy changes an array in place, in added of test_capture.py:{added.__code__.co_firstlineno + 1}"


# what is done to x (2,): why it cannot be replayed, or None
WORKS: dict[str, tuple[Callable[[Array], Array], str | None]] = {
    "one call": (lambda x: k().multiply(x, one()), None),
    "a call of what a call has written": (lambda x: k().multiply(k().multiply(x, one()), one()), None),
    "a part of what is given": (lambda x: k().multiply(x[1:], one()), None),
    "a part of what was written": (lambda x: k().multiply(k().multiply(x, one())[1:], one()), None),
    "another shape": (lambda x: k().multiply(x.reshape(1, 2), one()).reshape(-1, 1), None),
    "given, and changed in C": (lambda x: k().multiply(in_place(x, lambda x: k().sgd(x, x, 0.5)), one()), None),
    "given, and handed out": (lambda x: in_place(x, lambda x: k().sgd(x, x, 0.5)), "numpy gives y"),
    "another learning rate": (
        lambda x: k().multiply(in_place(x, lambda x: k().sgd(x, x, 0.25)), one()),
        "sgd is called with another lr than the step's",
    ),
    "an array from elsewhere": (lambda x: k().multiply(OUTSIDE, one()), "combine takes a from numpy"),
    "a factor made by numpy": (
        lambda x: k().multiply(x, np.sum(x, keepdims=True).reshape(())),
        "combine takes b from numpy",
    ),
    "an argument made by numpy": (lambda x: k().multiply(x + 1, one()), "combine takes a from numpy"),
    "a result made by numpy": (lambda x: k().multiply(x, one()) + 1, "numpy gives y"),
    "nothing in C": (lambda x: x + 1, "no kernel in C was called"),
    "a result changed by numpy": (lambda x: added(k().multiply(x, one())), IN_PLACE),
    "changed by numpy on the way": (lambda x: k().multiply(added(k().multiply(x, one())), one()), IN_PLACE),
    "given, and changed by numpy": (lambda x: k().multiply(added(x), one()), IN_PLACE),
    "given, and a part changed by numpy": (
        lambda x: k().multiply(in_place(x, lambda x: added(x[1:])), one()),
        IN_PLACE,
    ),
    "changed in C, then by numpy": (lambda x: added(in_place(x, lambda x: k().sgd(x, x, 0.5))), IN_PLACE),
    "what may fail after a change": (
        lambda x: k().max_pool(in_place(x, lambda x: k().sgd(x, x, 0.5)).reshape(1, 2, 1), Window.of((2,), 1)),
        "max_pool may fail after arrays of the training have changed",
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_only_what_c_does_alone_is_replayed_and_else_the_reason_is_known(name: str) -> None:
    work, reason = WORKS[name]
    graphs, asked = GraphCache(), 0

    def counted(x: Array) -> dict[str, Array]:
        nonlocal asked
        asked += 1
        return {"y": work(x)}

    for values in ([1, 2], [3, 4], [-5, 6]):
        given, expected = (np.array(values, np.float32) for _ in range(2))
        wanted = work(expected)
        found = graphs.replay("what", partial(counted, given), changes=[given], scalars=NOW)["y"]
        assert found.tobytes() == wanted.tobytes() and found.shape == wanted.shape
        assert given.tobytes() == expected.tobytes() and given.flags.writeable
    assert asked == (4 if reason else 1)  # it is tried first
    assert graphs.reasons == ({"what": reason} if reason else {})


def test_every_kernel_can_be_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of calls once more, replayed."""
    names: set[str] = set()
    repeated: set[str] = set()
    add_call = CapturedGraph.add_call

    def noted(self: CapturedGraph, library: Any, name: str, *more: Any) -> None:
        names.add(name)
        add_call(self, library, name, *more)

    monkeypatch.setattr(CapturedGraph, "add_call", noted)
    for call in (*calls()[::7], *products(), *pointwise(), *sequences()):
        learning_rate = {"sgd": 2, "momentum": 4, "nesterov": 4, "adam": 6}.get(call.method)
        step = call.arguments[7] if call.method == "adam" else call.settings.get("step", 1)
        lr = 0.5 if learning_rate is None else call.arguments[learning_rate]
        scalars, graphs, found, asked = StepScalars(step, call.settings.get("epoch", 1), lr), GraphCache(), [], 0
        names.clear()
        for _ in range(3):
            arguments = [a.copy() if isinstance(a, np.ndarray) else a for a in call.arguments]
            arrays = [a for a in arguments if isinstance(a, np.ndarray)]

            def work(arguments: list[Any] = arguments, call: Call = call) -> dict[str, Array]:
                nonlocal asked
                asked += 1
                made = getattr(k(), call.method)(*arguments, **call.settings)
                made = [a for a in (made if isinstance(made, tuple) else (made,)) if a is not None]
                made = [] if call.method == "activate" else made  # it gives back what it was given
                return {str(i): a for i, a in enumerate(made)}

            changed = [arguments[position] for position in CHANGED.get(call.method, ())]
            others = [a for a in arrays if not any(a is b for b in changed)]
            made = graphs.replay("what", work, (), others, changed, scalars=scalars)
            found.append([a.tobytes() for a in (*made.values(), *arrays)])
        assert found[0] == found[1] == found[2], call
        repeated |= names if asked == 1 else set()
    assert repeated == set(TABLE) - {"tally"}


def test_another_step_of_the_same_graph() -> None:
    """Other numbers for the step, the epoch and the learning rate reach the calls."""
    graphs, found, wanted = GraphCache(), [], []
    for now in (NOW, StepScalars(4, 2, 0.5), StepScalars(4, 3, 0.5), StepScalars(4, 3, 0.25)):
        x, expected = np.ones(2, np.float32), np.ones(2, np.float32)

        def work(x: Array = x, now: StepScalars = now) -> dict[str, Array]:
            k().adam(x, x, x, x, 0.9, 0.99, now.lr, now.step, 1e-8)
            settings = {"epoch": now.epoch, "step": now.step, "first": 0, "examples": 2, "words_each": 3}
            return {"words": k().example_words(7, "dropout", "layer", **settings)}

        wanted.append((work(expected)["words"].tobytes(), expected.tobytes()))
        found.append((graphs.replay("what", work, changes=[x], scalars=now)["words"].tobytes(), x.tobytes()))
    assert found == wanted
    assert len(set(wanted)) == 4


def test_the_memory_of_a_training_goes_with_it() -> None:
    """At once, not when Python looks for cycles: the next training of a group needs room for its own."""
    graphs, x = GraphCache(), np.ones(2, np.float32)
    graphs.replay("what", lambda: {"y": k().multiply(k().multiply(x, one()), one())}, reads=[x], scalars=NOW)
    (graph,) = graphs.graphs.values()
    gone = ref(graph)
    gc.disable()
    try:
        del graphs, graph
        assert gone() is None
    finally:
        gc.enable()


def test_arrays_that_do_not_fit_the_graph_go_through_python() -> None:
    graphs, asked = GraphCache(), 0

    def work(x: Array) -> dict[str, Array]:
        nonlocal asked
        asked += 1
        return {"y": k().multiply(np.ascontiguousarray(x, np.float32), one())}

    long = np.arange(6, dtype=np.float32)
    for x in (long[:3], long[3:], long[::2], long[:3].astype(np.float64), long[:2], long[1:4]):
        np.testing.assert_array_equal(graphs.replay("what", work, [x], scalars=NOW)["y"], x)
    assert asked == 1 + 2 + 1, "the first; scattered and of another dtype; another shape"
    first, second = long[:3], long[3:]
    for x in (first, second, first, first, long[::2], first, second):
        np.testing.assert_array_equal(graphs.replay("what", work, [x], scalars=NOW)["y"], x)


def test_a_call_that_fails_is_told_by_python() -> None:
    """Targets are looked at in every step."""
    graphs, logits = GraphCache(), np.zeros((1, 3), np.float32)

    def loss(target: int) -> Array:
        targets = np.array([target])
        work = lambda: {"loss": k().cross_entropy(logits, targets, 1, 0.0)[0]}  # noqa: E731
        return graphs.replay("what", work, reads=[logits, targets], scalars=NOW)["loss"]

    for target in (0, 2):
        np.testing.assert_allclose(loss(target), np.log(3), 1e-6)
    with pytest.raises(ValueError, match="a target is no class"):
        loss(3)
    np.testing.assert_allclose(loss(1), np.log(3), 1e-6)


@pytest.mark.parametrize("error", [MemoryError("no room"), ValueError("a target is no class"), TypeError("a bug")])
def test_an_error_in_the_work_is_raised_and_nothing_stays_locked(error: Exception) -> None:
    x, graphs = np.ones(2, np.float32), GraphCache()

    def fail() -> dict[str, Array]:
        raise error

    with pytest.raises(type(error), match=str(error)):
        graphs.replay("what", fail, reads=[x], scalars=NOW)
    assert x.flags.writeable and capture.capturing.get() is None and not graphs.reasons


def test_a_broken_replay_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call left out, or always the same step: other bits."""
    replay = CapturedGraph.replay

    def shorter(self: CapturedGraph, given: Sequence[Array], scalars: StepScalars) -> Any:
        label = self._labels.pop()
        try:
            return replay(self, given, scalars)
        finally:
            self._labels.append(label)

    for broken in (shorter, lambda self, given, scalars: replay(self, given, scalars._replace(step=1))):
        monkeypatch.setattr(CapturedGraph, "replay", broken)
        with pytest.raises(AssertionError), monkeypatch.context() as patch:
            same(lambda: job_of("in C"), tmp_path, patch)
