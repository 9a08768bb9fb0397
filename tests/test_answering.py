"""A config of networks whose one update asks for a class is looked at as closely as one with `model` and `loss`."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import done

from dltrain.backend import open_device
from dltrain.job.answering import Answering
from dltrain.job.job import Job
from dltrain.spec import build_job, loads, settle

LAYERS = "[flatten, {dense: {units: 10, activation: none}}]"
COMMON = "data: {type: digits, validation: 0.1}\ntrain: {batch_size: 64, epochs: 2}\n"
SHORT = f"model: {{layers: {LAYERS}, init: zeros}}\n{COMMON}"
UPDATE = "updates: {reader: [cross_entropy: {of: {reader: image}, target: label}]}\n"
LONG = f"networks: {{reader: {{layers: {LAYERS}, init: zeros}}}}\n{UPDATE}{COMMON}"  # zeros: names draw differently


def test_both_forms_are_told_the_same(tmp_path: Path) -> None:
    """Confusion, mistakes, calibration, intervals, and what a most common class and a linear model reach."""
    found = []
    for name, text in (("short", SHORT), ("long", LONG)):
        (tmp_path / f"{name}.yaml").write_text(text)
        common = ("--runs-dir", tmp_path, "--json")
        fitted = done("fit", tmp_path / f"{name}.yaml", *common)
        run = Path(fitted.json["run"])
        asked = done("eval", run, *common).json
        asked.pop("run")
        analysis = json.loads((run / "eval" / "test.json").read_text())
        described = json.loads((run / "description.json").read_text())
        page = (run / "report.html").read_text()
        assert "a linear model" in fitted.err and "were taken for" in page
        found.append((asked, analysis, described["baselines"], described["guessing"], described["data"]["splits"]))
    assert found[0] == found[1]
    asked, analysis, *_ = found[0]
    assert np.sum(asked["confusion"]) == 1797 and asked["baselines"]["linear"]["accuracy"] > 0.9
    assert len(analysis["mistakes"]) > 5 and asked["accuracy"] > 0.2


CHAIN = """
data: digits
networks:
  rows: [{dense: {units: 3, activation: tanh}}]
  reader: [flatten, {dense: {units: 10, activation: none}}]
  cut: [{reshape: [8, 8]}]
values:
  found: {reader: {network: rows, of: {cut: image}, over: 8}}
updates:
  all: {networks: [rows, reader, cut], minimise: [cross_entropy: {of: found, target: label}]}
"""


def job_of(text: str) -> Job:
    device = open_device("cpu", "float64")
    job = build_job(settle(loads(text, "c.yaml"), device), device, Path("nowhere"))
    job.model.initialise(0, device)
    return job


def test_several_networks_may_stand_between_the_inputs_and_the_answer() -> None:
    job = job_of(CHAIN)
    assert isinstance(job.answering, Answering) and job.answering.in_shape == (8, 8, 1)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("of: found, target: label", "of: found, target: label, weight: 2"),
        ("target: label}]", "target: label}, {mse: {of: found, target: 0}}]"),
        ("{cut: image}", "{cut: {uniform: {size: [8, 8, 1]}}}"),
        ("cross_entropy: {of: found, target: label}", "mse: {of: found, target: {one_hot: label}}"),
    ],
)
def test_where_there_is_no_such_answer_nobody_looks_for_one(was: str, now: str) -> None:
    assert was in CHAIN and job_of(CHAIN.replace(was, now)).answering is None
