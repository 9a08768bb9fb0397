"""`fit --profile`: times that are true, add up, stand beside the right layer, and change nothing."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builders import EVERY_LAYER, images, make_job, train
from commands import dltrain, done, strict

from dltrain.engine import OPS
from dltrain.train import loop, profile, step
from dltrain.train.job import Job
from dltrain.train.profile import STAGES, STEPS, WARM_UP, Profile
from dltrain.train.step_metrics import StepMetrics

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


def everything_timed() -> dict[str, Any]:
    """All functions that a profile puts its own in the place of."""
    found: dict[str, Any] = {f"op {name}": vars(op)["__wrapped__"] for name, op in OPS.items()}
    found |= {f"{owner.__name__}.{name}": vars(owner)[name] for owner, name, _ in STAGES}
    kinds = {type(layer) for net in EVERY_LAYER for layer in job(net).model.layers} | {type(job().loss)}
    found |= {f"{kind.__name__}.__call__": vars(kind).get("__call__") for kind in kinds}
    found["optimizer"] = vars(type(job().optimizer)).get("update_one")
    return found | {"train_step": loop.train_step, "log_step": loop.log_step}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("net", EVERY_LAYER)
def test_every_layer_and_stage_has_its_row(net: str, threads: int, tmp_path: Path) -> None:
    found = profiled(job(net, penalty={"l2": 1e-3}), tmp_path, threads).report()
    ops = {row["layer"]: row for row in found["rows"] if row["forward_ms"] is not None and row["layer"]}
    expected = [layer.name for layer in job(net).model.layers]
    assert list(ops) == [*expected, "loss"], "in the order of the model"
    for layer, row in ops.items():
        assert row["calls"] == 4, "once for each shard, and not in evaluation"
        assert row["forward_ms"] > 0 and row["backward_ms"] > 0, layer
        assert row["ms"] == pytest.approx(row["forward_ms"] + row["backward_ms"])
    stages = {what for _, _, what in STAGES} | {"update", profile.STEP, profile.LOG}
    stages -= {profile.WAITING} | ({"random numbers"} if "dropout1" not in expected else set())
    assert stages == {row["what"] for row in found["rows"] if row["forward_ms"] is None}
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

    pool = OPS["average_pool"].__wrapped__  # type: ignore[attr-defined]

    def slow_pool(*arrays: Any, **settings: Any) -> Any:
        y, vjps = slow(pool, 2)(*arrays, **settings)
        return y, tuple(slow(vjp, 5) for vjp in vjps)

    monkeypatch.setattr(profile, "perf_counter_ns", lambda: now)
    monkeypatch.setattr(OPS["average_pool"], "__wrapped__", slow_pool)
    monkeypatch.setattr(step, "shard_sums", slow(step.shard_sums, 11))  # around the ops
    monkeypatch.setattr(step, "observe", slow(step.observe, 3))
    monkeypatch.setattr(StepMetrics, "_where_it_broke", slow(StepMetrics._where_it_broke, 1000))  # never called
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
        assert Counter(span.what for span in found._spans)[profile.STEP] == min(2 * epochs, WARM_UP + STEPS)


def test_nothing_to_show_before_the_first_step() -> None:
    found = Profile()
    assert found.report() == {"steps": 0, "threads": 0, "wall_ms": 0, "busy_ms": 0, "repeated": False, "rows": []}
    assert found.trace()["traceEvents"] == []


def test_nothing_stays_behind(tmp_path: Path) -> None:
    before = everything_timed()
    assert before["tanh.__call__"] is None, "inherited, also after other tests"
    with pytest.raises(KeyboardInterrupt), Profile().watching(job()):
        during = everything_timed()
        raise KeyboardInterrupt
    assert everything_timed() == before
    # "max" and "average" have layers that "deep" has not, and only those classes were left alone
    same = {name for name in before if before[name] is during[name]}
    used = {type(layer).__name__ for layer in job().model.layers}
    assert same == {name for name in before if name.endswith(".__call__") and name[:-9] not in used | {"CrossEntropy"}}


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
    spans = [event for event in trace if event["ph"] == "X"]
    assert all(set(span) == SPAN and span["dur"] >= 0 <= span["ts"] for span in spans)
    assert {event["tid"] for event in trace if event["ph"] == "M"} == {span["tid"] for span in spans}
    assert {"conv1 conv forward", "conv1 conv backward", "update"} <= {span["name"] for span in spans}
    for tid in {span["tid"] for span in spans}:  # on one thread calls lie beside or within each other
        ends: list[float] = []
        for span in (span for span in spans if span["tid"] == tid):
            while ends and ends[-1] <= span["ts"]:
                ends.pop()
            assert not ends or span["ts"] + span["dur"] <= ends[-1] + 1e-3
            ends.append(span["ts"] + span["dur"])


def test_a_run_that_diverges_keeps_its_profile(tmp_path: Path) -> None:
    said = dltrain("fit", "smoke", "optimizer.lr=1e30", "--profile", "--runs-dir", tmp_path, "--json")
    assert said.code == 3
    assert strict((Path(said.json["run"]) / "profile.json").read_text())["rows"]
