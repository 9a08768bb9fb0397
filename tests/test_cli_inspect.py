"""`dltrain inspect-params`: counts that can be checked by hand, and nothing allocated for them."""

import sys
import tracemalloc
from pathlib import Path
from subprocess import run as run_process
from typing import Any

import pytest
from commands import dltrain, done, strict

Row = dict[str, Any]

# config -> (parameters in all, some layers: name -> (output shape, parameters))
COUNTS: dict[str, tuple[int, dict[str, tuple[list[int], int]]]] = {
    "lecture_conv_exercise": (27, {"conv1": ([6, 6, 3], 27)}),
    "mnist_lenet5": (
        61_706,
        {
            "conv1": ([28, 28, 6], 156),
            "average_pool1": ([14, 14, 6], 0),
            "conv2": ([10, 10, 16], 2416),
            "average_pool2": ([5, 5, 16], 0),
            "dense1": ([120], 48_120),
            "dense2": ([84], 10_164),
            "dense3": ([10], 850),
        },
    ),
    "vgg16": (
        138_357_544,
        {
            "conv1": ([224, 224, 64], 1792),
            "conv13": ([14, 14, 512], 2_359_808),
            "max_pool5": ([7, 7, 512], 0),
            "dense1": ([4096], 102_764_544),
            "dense3": ([1000], 4_097_000),
        },
    ),
    "cifar_cnn": (2_168_362, {"conv3": ([16, 16, 64], 18_496), "dense1": ([512], 2_097_664)}),
}


@pytest.mark.parametrize("config", COUNTS)
def test_counts(config: str) -> None:
    total, layers = COUNTS[config]
    found = done("inspect-params", config, "--json").json
    assert found["total"] == found["trainable"] == total == sum(row["parameters"] for row in found["layers"])
    assert sum(row["share"] for row in found["layers"]) == pytest.approx(1)
    rows = {row["name"]: row for row in found["layers"]}
    assert {name: (rows[name]["output_shape"], rows[name]["parameters"]) for name in layers} == layers


def table(*words: object) -> tuple[str, dict[str, str]]:
    """The header, and the lines by the name of their layer."""
    header, *lines = done("inspect-params", *words).out.splitlines()
    return header, {line.split()[0]: " ".join(line.split()) for line in lines[: lines.index("")]}


def test_the_table() -> None:
    header, lines = table("cifar_cnn")
    assert header.split() == ["name", "type", "output", "parameters", "trainable", "share"]
    assert lines["conv3"] == "conv3 conv 16×16×64 18,496 18,496 0.9%"
    assert lines["flatten1"] == "flatten1 flatten 4096 0 0 0.0%"
    assert done("inspect-params", "cifar_cnn").out.splitlines()[-1] == "total 2,168,362 parameters, 2,168,362 trainable"


def test_what_is_explained() -> None:
    header, lines = table("cifar_cnn", "--explain")
    assert "parameters =  output size =" in header
    conv = "3·3·32·64 + 64 = 18,496 ⌊(16 + 1 + 1 − 3) / 1⌋ + 1 = 16 4,718,592 8.00 MiB 10×10"
    assert lines["conv3"].endswith(conv)
    assert lines["max_pool1"].endswith("⌊(32 + 0 + 0 − 2) / 2⌋ + 1 = 16 0 4.00 MiB 6×6")
    assert lines["dense1"].endswith("4096·512 + 512 = 2,097,664 2,097,152 0.25 MiB all")
    _, lines = table("lecture_conv_exercise", "--explain")
    assert "3·3·1·3 = 27 ⌊(6 + 1 + 1 − 3) / 1⌋ + 1 = 6 972" in lines["conv1"]
    said = done("inspect-params", "vgg16", "--explain").out.splitlines()[-1]
    assert said.startswith("15,470,264,320 multiply-adds for one example forward")


def test_a_run_counts_as_its_config_does(tmp_path: Path) -> None:
    run = done("fit", "smoke", "--max-steps", 1, "--runs-dir", tmp_path, "--json").json["run"]
    expected = done("inspect-params", "smoke", "--json").out
    for words in ([run], ["latest", "--runs-dir", tmp_path], [Path(run).name[:-1], "--runs-dir", tmp_path]):
        assert done("inspect-params", *words, "--json").out == expected


def test_a_config_with_changes(tmp_path: Path) -> None:
    found = done("inspect-params", "cifar_cnn", "model.layers.conv3.channels=8", "--json").json
    assert next(row["output_shape"] for row in found["layers"] if row["name"] == "conv3") == [16, 16, 8]
    assert "N×16×16×8" in done("graph", "cifar_cnn", "model.layers.conv3.channels=8").out
    done("fit", "smoke", "--max-steps", 1, "--runs-dir", tmp_path)
    for command in ("inspect-params", "graph"):
        said = dltrain(command, "latest", "seed=1", "--runs-dir", tmp_path)
        assert said.code == 2 and "overrides apply to configs, not runs" in said.errors[0]


def test_no_weights_are_allocated() -> None:
    done("inspect-params", "vgg16")  # whatever is imported is there now
    tracemalloc.start()
    try:
        done("inspect-params", "vgg16", "--explain")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**22, "numpy's arrays are counted, and only the smallest of VGG16's layers would fit"


# The high-water mark of this program alone: getrusage would also count the process that started it.
PEAK = """
import sys
from dltrain.cli import main
sys.argv = ["dltrain", "inspect-params", "vgg16", "--explain", "--json"]
try:
    main()
finally:
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(int(line.split()[1]) * 1024, file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_vgg16_takes_little_memory() -> None:
    process = run_process([sys.executable, "-c", PEAK], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert strict(process.stdout)["total"] == 138_357_544
    assert int(process.stderr) < 150e6


def test_a_norm_within_a_layer_is_counted_with_it_and_the_bias_that_it_replaces_is_named(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    layers = "".join(f"    - dense: {{units: 4, norm: batch_norm, bias: {bias}}}\n" for bias in ("null", "true"))
    layers += "    - repeat: {times: 7, layers: [{dense: {units: 4, norm: layer_norm}}]}\n    - dense: {units: 4}\n"
    config.write_text(f"model:\n  input: [3]\n  layers:\n{layers}")
    said = done("inspect-params", config, "--explain")
    rows = {line.split()[0]: line for line in said.out.splitlines() if line}
    assert "dense + batch_norm" in rows["dense1"] and "3·4 + 2·4 = 20" in rows["dense1"]
    assert "4·4 + 4 + 2·4 = 28" in rows["dense2"] and "dense + " not in rows["dense3"]
    names = ", ".join(["dense1", *(f"repeat1.dense{i}" for i in range(1, 6))])
    assert f"no bias before a norm: {names} and 2 more" in said.out.splitlines()
    found = done("inspect-params", config, "--json").json["layers"]
    assert [(row["norm"], row["bias"]) for row in found[:3]] == [
        ("batch_norm", False), ("batch_norm", True), ("layer_norm", False),
    ]  # fmt: skip
    assert (found[-1]["norm"], found[-1]["bias"]) == (None, True)
