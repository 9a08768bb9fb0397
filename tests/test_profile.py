"""`fit --profile`: times that are true, add up, stand beside the right layer, and change nothing."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builders import EVERY_LAYER, images, make_job, train
from commands import dltrain, done, strict

from dltrain import spans
from dltrain.backend import choose_kernels, open_device
from dltrain.errors import DeviceError
from dltrain.job.job import Job
from dltrain.optim import OPTIMIZERS
from dltrain.spans import Label
from dltrain.train import step
from dltrain.train.loop import STEP
from dltrain.train.profile import STEPS, WARM_UP, Profile
from dltrain.train.step_metrics import UpdateMetrics

PARTS = {
    "batch", "checks and probes", "diagnostics", "graph and layers in Python", "log", "norms", "penalty",
    "random numbers", "scores", "tree sums", "update",
}  # fmt: skip
SPAN = {"ph", "name", "cat", "pid", "tid", "ts", "dur"}


def job(net: str = "deep", **settings: Any) -> Job:
    """30 images in batches of 15 and shards of 4: steps of 4 shards, 2 to an epoch."""
    settings = {"epochs": 4, "batch_size": 15, "shard_size": 4} | settings
    return make_job(EVERY_LAYER[net], {"train": images(30), "validation": images(9)}, **settings)


def profiled(job: Job, folder: Path, threads: int = 2) -> Profile:
    found = Profile()
    with found.watching(job):
        train(job, folder, threads)
    return found


def rows(report: dict[str, Any]) -> dict[tuple[str | None, str], dict[str, Any]]:
    return {(row["layer"], row["what"]): row for row in report["rows"]}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("net", EVERY_LAYER)
def test_every_layer_and_stage_has_its_row(net: str, threads: int, tmp_path: Path) -> None:
    found = profiled(job(net, penalty={"l2": 1e-3}), tmp_path, threads).report()
    ops: dict[str, list[dict[str, Any]]] = {}  # a layer of several ops has a row for each, the slowest first
    for row in found["rows"]:
        if row["forward_ms"] is not None and row["layer"]:
            ops.setdefault(row["layer"], []).append(row)
    expected = [layer.name for layer in job(net).model.layers]
    assert list(ops) == [*expected, "loss"], "in the order of the model"
    for layer, rows in ops.items():
        assert all(row["calls"] % 4 == 0 for row in rows), "so often for each shard, and not in evaluation"
        assert any(row["calls"] == 4 and row["forward_ms"] > 0 and row["backward_ms"] > 0 for row in rows), layer
        assert all(row["ms"] == pytest.approx(row["forward_ms"] + row["backward_ms"]) for row in rows)
    parts = PARTS - ({"random numbers"} if "dropout1" not in expected else set())
    assert parts == {row["what"] for row in found["rows"] if row["forward_ms"] is None}
    assert all(row["ms"] > 0 for row in found["rows"])


def test_the_rows_add_up(tmp_path: Path) -> None:
    found = profiled(job(), tmp_path).report()
    assert sum(row["ms"] for row in found["rows"]) == pytest.approx(found["busy_ms"])
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1)


def test_the_times_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still but for a few functions that are known to take long."""
    now = 0

    def slow(function: Any, milliseconds: int) -> Any:
        def slowed(*arguments: Any, **settings: Any) -> Any:
            nonlocal now
            now += milliseconds * 1_000_000
            return function(*arguments, **settings)

        return slowed

    kind = type(open_device("cpu").kernels)
    for name, milliseconds in {"average_pool": 2, "average_pool_grad": 5, "observe": 3}.items():
        monkeypatch.setattr(kind, name, slow(getattr(kind, name), milliseconds))
    monkeypatch.setattr(spans, "perf_counter_ns", lambda: now)
    monkeypatch.setattr(step, "compute", slow(step.compute, 11))  # around what has a row of its own
    monkeypatch.setattr(UpdateMetrics, "_where_it_broke", slow(UpdateMetrics._where_it_broke, 1000))  # never called
    report = profiled(job(), tmp_path, threads=1).report()  # one thread at a time moves the clock
    observed = sum(layer.observed for layer in job().model.layers)
    taken = {row["what"]: row["ms"] for row in report["rows"] if row["ms"]}
    assert taken == {"average_pool": 4 * (2 + 5), "graph and layers in Python": 4 * 11, "diagnostics": 4 * 3 * observed}
    row = rows(report)["average_pool1", "average_pool"]
    assert (row["forward_ms"], row["backward_ms"], row["share"]) == (8, 20, 28 / sum(taken.values()))
    assert report["wall_ms"] == report["busy_ms"] == sum(taken.values())


def test_only_a_few_steps_are_kept_and_none_of_the_first(tmp_path: Path) -> None:
    for epochs, counted in ((1, 1), (4, 4), (40, STEPS)):  # of 2, 8 and 80 steps
        found = profiled(job("average", epochs=epochs), tmp_path)
        assert found.report()["steps"] == counted
        assert Counter(span.label.what for span in found._spans)[STEP] == min(2 * epochs, WARM_UP + STEPS)


def test_nothing_to_show_before_the_first_step() -> None:
    found = Profile()
    assert found.report() == {"steps": 0, "threads": 0, "wall_ms": 0, "busy_ms": 0, "not_captured": {}, "rows": []}
    assert found.trace()["traceEvents"] == []


def test_nothing_stays_behind(tmp_path: Path) -> None:
    """And nothing is recorded outside the parts of a step: evaluation runs the same ops."""
    with pytest.raises(KeyboardInterrupt), Profile().watching(job()), spans.part_of_step(STEP):
        assert spans.recorder is not None
        raise KeyboardInterrupt
    assert spans.recorder is None and spans.watcher is None
    found = Profile()
    with found.watching(job()), spans.span("outside"):
        pass
    assert not found._spans


@pytest.fixture
def native(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("chosen_kernels")
    try:
        choose_kernels("native")
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("native")
def test_a_replayed_step_is_measured_as_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python goes through the layers of the first step alone; the calls of C have their times beside their layers."""
    asked = []
    monkeypatch.setattr(step, "compute", lambda *given, of=step.compute: [asked.append(1), of(*given)][1])
    layers = [("conv", {"channels": 4}), ("flatten", {}), ("dense", {"units": 10, "activation": "none"})]
    data = {"train": images(30), "validation": images(9)}
    profile = profiled(make_job(layers, data, epochs=4, batch_size=15, shard_size=15), tmp_path)
    report = profile.report()
    assert len(asked) == 1 and report["not_captured"] == {}
    found = rows(report)
    for layer, what in (("conv1", "conv"), ("dense1", "dense")):
        row = found[layer, what]
        assert row["forward_ms"] > 0 and row["backward_ms"] > 0 and row["calls"] == 1
    assert found[None, "update"]["calls"] == 4  # of C: one for each array
    assert sum(row["ms"] for row in report["rows"]) == pytest.approx(report["busy_ms"])
    assert report["busy_ms"] <= report["wall_ms"]
    starts = {span.label: span.start for span in profile._spans}
    conv, dense = (Label(what, layer, "forward") for layer, what in (("conv1", "conv"), ("dense1", "dense")))
    back = Label("conv", "conv1", "backward")
    assert starts[conv] < starts[dense] < starts[back]


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(
    ("settings", "what", "reason"),
    [
        (
            {"optimizer": OPTIMIZERS["adamw"](lr=1e-2)},
            "update",
            "numpy changes an array in place, in update_one of adam",
        ),
        ({"activation": "elu"}, "gradients", "numpy changes an array in place, in forward of activation"),
        ({"shard_size": 4}, "the step", "several shards"),
    ],
)
def test_what_is_not_replayed_says_why(settings: dict[str, Any], what: str, reason: str, tmp_path: Path) -> None:
    given = {"shard_size": 15} | settings
    layers = [("conv", {"channels": 4, "activation": given.pop("activation", "relu")}), ("flatten", {}),
              ("dense", {"units": 10, "activation": "none"})]  # fmt: skip
    data = {"train": images(30), "validation": images(9)}
    report = profiled(make_job(layers, data, batch_size=15, **given), tmp_path).report()
    assert [*report["not_captured"]] == [what] and reason in report["not_captured"][what]


def test_the_command(tmp_path: Path) -> None:
    arguments = ("fit", "smoke", "--max-steps", 8, "--runs-dir", tmp_path, "--threads", 2)
    plain, said = done(*arguments, "--json"), done(*arguments, "--profile")
    assert plain.json["weights_sha256"][:16] in said.out, "the bits are the same"
    assert not (Path(plain.json["run"]) / "trace.json").exists()
    run = Path(said.out.partition("run         ")[2].splitlines()[0])
    table = said.out.partition("together:\n")[2].splitlines()
    assert table[0].split() == ["layer", "what", "calls", "forward", "ms", "backward", "ms", "ms", "share"]
    report = strict((run / "profile.json").read_text())
    assert len(table) == 1 + len(report["rows"]) and "max_pool1" in table[2]

    trace = strict((run / "trace.json").read_text())["traceEvents"]
    calls = [event for event in trace if event["ph"] == "X"]
    assert all(set(span) == SPAN and span["dur"] >= 0 <= span["ts"] for span in calls)
    assert {event["tid"] for event in trace if event["ph"] == "M"} == {span["tid"] for span in calls}
    assert {"conv1 conv forward", "conv1 conv backward", "update"} <= {span["name"] for span in calls}
    for tid in {span["tid"] for span in calls}:  # on one thread calls lie beside or within each other
        ends: list[float] = []
        for span in (span for span in calls if span["tid"] == tid):
            while ends and ends[-1] <= span["ts"] + 1e-6:
                ends.pop()
            assert not ends or span["ts"] + span["dur"] <= ends[-1] + 1e-3
            ends.append(span["ts"] + span["dur"])


def test_a_run_that_diverges_keeps_its_profile(tmp_path: Path) -> None:
    said = dltrain("fit", "smoke", "optimizer.lr=1e30", "--profile", "--runs-dir", tmp_path, "--json")
    assert said.code == 3
    assert strict((Path(said.json["run"]) / "profile.json").read_text())["rows"]
