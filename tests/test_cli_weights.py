"""Weights in and out by the command line: `export`, `model.load`, `model.trainable`, `fit --from`."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Said, dltrain, done

from dltrain.run.rundir import RunDir
from dltrain.weights.files import read_weights

CONFIG = """\
data: {type: digits, normalize: none}
model:
  layers:
    - conv: {channels: 4, activation: none, bias: false}
    - batch_norm
    - relu
    - flatten
    - dense: 8
    - dense: {units: 10, activation: none}
train: {max_steps: 3, batch_size: 64}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config and a run of it, `first`."""
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(CONFIG)
    fit("net.yaml", "--name", "first")
    return tmp_path


def fit(*words: object) -> Said:
    return done("fit", *words, "--threads", 1)


def run_of(said: Said) -> RunDir:
    return RunDir(Path(re.findall(r"^run +(.+)$", said.out, re.M)[0]))


def weights(said: Said) -> dict[str, Any]:
    return run_of(said).checkpoint("last").weights


def starting(*words: object) -> dict[str, Any]:
    """The weights after one step of almost nothing."""
    return weights(fit(*words, "optimizer.lr=1e-30", "train.max_steps=1"))


@pytest.mark.parametrize(
    ("form", "file"), [("safetensors", "a.safetensors"), ("npz", "a.npz"), ("torch-safetensors", "b.safetensors")]
)
def test_what_is_exported_is_what_another_training_starts_from(form: str, file: str, here: Path) -> None:
    said = done("export", "first", "--format", form, "--output", file)
    assert said.out == f"{file}: 9 arrays, 1,302 numbers\n"
    first = RunDir(next((here / "runs").iterdir())).checkpoint("last").weights
    started = starting("net.yaml", f"model.load={file}", "model.trainable=[dense2]", "--seed", 7)
    frozen = [name for name in first if not name.startswith("dense2")]
    assert all(np.array_equal(first[name], started[name]) for name in frozen)
    np.testing.assert_allclose(started["dense2.weight"], first["dense2.weight"], atol=1e-6)


def test_the_names_of_an_exported_file(here: Path) -> None:
    done("export", "first", "--format", "torch-safetensors")
    found = {name: array.shape for name, array in read_weights(here / "first.safetensors").items()}
    assert found == {
        "conv1.weight": (4, 1, 3, 3), "batch_norm1.weight": (4,), "batch_norm1.bias": (4,),
        "batch_norm1.running_mean": (4,), "batch_norm1.running_var": (4,), "dense1.weight": (8, 144),
        "dense1.bias": (8,), "dense2.weight": (10, 8), "dense2.bias": (10,),
    }  # fmt: skip
    assert dltrain("export", "first", "--format", "npz", "--output", "a.safetensors").code == 2


def test_what_is_not_trainable_stays_with_its_running_statistics(here: Path) -> None:
    trained = fit("net.yaml", "model.load=first", "model.trainable=[dense*]")
    before, after = RunDir(next((here / "runs").glob("*-first"))).checkpoint("last").weights, weights(trained)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"dense1.weight", "dense1.bias", "dense2.weight", "dense2.bias"}
    assert "start values from first: 9 of 9 arrays" in trained.err
    rows = {
        row["name"]: row
        for row in done("inspect-params", "net.yaml", "model.trainable=[dense*]", "--json").json["layers"]
    }
    assert {name: row["trainable"] for name, row in rows.items() if row["parameters"]} == {
        "conv1": 0, "batch_norm1": 0, "dense1": 144 * 8 + 8, "dense2": 90
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("model.trainable=[dens1]", "no layer with parameters is called 'dens1'; did you mean 'dense1'?"),
        ("model.trainable=false", "model.trainable: leaves nothing to train"),
        ("model.trainable=[relu1]", "model.trainable: no layer with parameters is called 'relu1'"),
        ("model.load=nowhere.npz", "model.load.path: nowhere.npz: no such file"),
        ("model.load=nothing", "model.load.path: nothing is neither a file of weights"),
        ("model.load={path: first, names: {dense1: dense2}}", "dense2.weight is float32 8×10, not float 144×8"),
        ("model.load={layout: torch}", "'path' is missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_with_its_place(change: str, what: str, here: Path) -> None:
    said = dltrain("fit", "net.yaml", change)
    assert said.code == 2 and len(said.errors) == 1
    assert said.errors[0].startswith("override ") and what in said.errors[0]


def test_the_same_net_on_new_data(here: Path) -> None:
    """The last layer has another shape and starts as drawn."""
    data = CONFIG.replace("type: digits", "type: npz, path: d.npz")
    Path("two.yaml").write_text(data.replace("units: 10", "units: 2"))
    rng = np.random.default_rng(0)
    pixels, halves = rng.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8), np.arange(40) % 2
    np.savez("d.npz", x_train=pixels[:30], y_train=halves[:30], x_test=pixels[30:], y_test=halves[30:])
    said = fit("two.yaml", "--from", "first")
    assert re.search("start values from .*-first: 7 of 9 arrays; not from there: dense2.weight, dense2.bias;", said.err)
    found = done("inspect-params", "two.yaml", "model.load={path: first, strict: false}", "--json").json["starts"][
        "model.load"
    ]
    assert found["own"]["dense2.weight"] == "dense2.weight is float32 8×10, not float 8×2"
    assert sorted(found["left"], reverse=True) == ["dense2.weight", "dense2.bias"] and len(found["sources"]) == 7
    table = done("inspect-params", "two.yaml", "model.load={path: first, strict: false}", "--explain").out
    assert re.search(r"^dense2.bias +as drawn: dense2.bias is float32 10, not float 2 *$", table, re.M)
    assert re.search(r"^dense1.bias +from dense1.bias *$", table, re.M)


def test_a_run_knows_what_it_started_from(here: Path) -> None:
    """Its config repeats it while the values are the same, and says where they are not. Going on needs them no more."""
    done("export", "first", "--format", "npz", "--output", "a.npz")
    said = fit("net.yaml", "model.load=a.npz", "train.max_steps=2", "checkpoint.every_steps=1", "--name", "second")
    run = run_of(said)
    assert done("verify", run.path).out.endswith("verdict     equal, bit for bit\n")
    third = run_of(fit(run.config, "--name", "third"))
    assert third.status()["weights_sha256"] == run.status()["weights_sha256"]
    arrays = dict(np.load("a.npz"))
    np.savez("a.npz", **arrays | {"dense2.bias": arrays["dense2.bias"] + 1})
    for words in (["fit", run.config], ["verify", run.path]):
        told = dltrain(*words)
        assert told.code == 2 and "model.load.sha256: the values in a.npz have SHA-256" in told.err
    Path("a.npz").unlink()
    assert done("verify", run.path, "--from-step", 1).out.endswith("verdict     equal, bit for bit\n")
    longer = done("fit", "--resume", run.path, "train.max_steps=3", "--threads", 1)
    assert done("eval", run_of(longer).path).code == 0


GAME = """\
data: {type: digits, normalize: none}
networks:
  eye:
    load: {path: first, names: {dense*: null}}
    trainable: false
    layers:
      - conv: {channels: 4, activation: none, bias: false}
      - batch_norm
      - relu
  head: {trainable: [dense*], layers: [batch_norm, flatten, dense: {units: 10, activation: none}]}
values: {seen: {eye: image}, named: {head: seen}}
updates: {head: [cross_entropy: {of: named, target: label}]}
train: {max_steps: 3, batch_size: 64}
"""


def test_one_of_several_networks_starts_from_a_run(here: Path) -> None:
    Path("game.yaml").write_text(GAME.replace(", names: {dense*: null}", ""))
    said = fit("game.yaml")
    assert "start values from first: 5 of 5 arrays; not used of it: dense1.bias" in said.err
    before, after = RunDir(next((here / "runs").glob("*-first"))).checkpoint("last").weights, weights(said)
    assert all(np.array_equal(after[f"eye.{name}"], before[name]) for name in before if not name.startswith("dense"))
    assert np.array_equal(after["head.batch_norm1.running_mean"], np.zeros(4)) and after["head.dense1.bias"].any()
    assert done("export", run_of(said).path, "--format", "torch-safetensors", "--output", "g.safetensors")
    assert read_weights(Path("g.safetensors"))["eye.conv1.weight"].shape == (4, 1, 3, 3)
    Path("game.yaml").write_text(GAME)
    told = dltrain("fit", "game.yaml")
    assert told.errors[0].startswith("game.yaml:4:") and "networks.eye.load.names: dense* fits nothing" in told.err


def test_the_vectors_of_spectral_norm_come_along(here: Path) -> None:
    """Power iteration goes on from those of the run, not from drawn ones brought near to its weights."""
    spectral = ("model.layers.conv1.spectral_norm=true", "model.layers.dense1.spectral_norm=true")
    said = fit("net.yaml", *spectral, "--name", "spectral")
    kept, vectors = weights(said), ("conv1.spectral_norm.u", "conv1.spectral_norm.v", "dense1.spectral_norm.u")
    started = weights(fit("net.yaml", *spectral, "model.load=spectral", "model.trainable=[dense2]", "--seed", 7))
    assert all(np.array_equal(kept[name], started[name]) for name in vectors), "frozen, they stay"
    loaded = ("model.load=first", "model.load.strict=false", "model.trainable=[dense2]")
    anew = weights(fit("net.yaml", *spectral, *loaded))
    assert not any(np.array_equal(kept[name], anew[name]) for name in vectors)
    going_on = starting("net.yaml", *spectral, "model.load=spectral", "--seed", 7)
    for name in ("conv1", "dense1"):  # one iteration from where the run was
        w = kept[f"{name}.weight"].reshape(-1, kept[f"{name}.weight"].shape[-1])
        u = w.T @ kept[f"{name}.spectral_norm.v"]
        np.testing.assert_allclose(going_on[f"{name}.spectral_norm.u"], u / np.linalg.norm(u), rtol=1e-4, atol=1e-6)


# --- reuse with the layers ------------------------------------------------------------------------------------------

REUSE = """\
data: {type: digits, normalize: none, classes: ["3", "5"]}
model:
  load: {path: first, names: {dense2: null}}
optimizer: {type: sgd, lr: 0.1}
train: {max_steps: 1, batch_size: 64}
"""


def test_a_run_is_reused_with_its_layers(here: Path) -> None:
    """And what comes of each layer is told, by `fit` and `check`; the layers stay when no weights are loaded."""
    Path("reuse.yaml").write_text(REUSE)
    words = ("reuse.yaml", "model.layers.dense2.units=2", "optimizer.lr_factors={dense*: 0.5}", "model.trainable=[d*]")
    rows = [
        "  layer        holds                                         start value                    training",
        "  conv1        weight                                        conv1                          stays",
        "  batch_norm1  scale, shift, running_mean, running_variance  batch_norm1                    stays",
        "  dense1       weight, bias                                  dense1                         trained, lr · 0.5",
        "  dense2       weight, bias                                  as drawn: names says null      trained, lr · 0.5",
    ]
    said = fit(*words)
    assert [line.split() for line in said.err.splitlines() if line.startswith("  ")] == [row.split() for row in rows]
    told = dltrain("check", *words).err.splitlines()
    assert [line.split() for line in told if line.startswith("  ")] == [row.split() for row in rows]
    shapes = {name: array.shape for name, array in weights(said).items()}
    assert shapes["conv1.weight"] == (3, 3, 1, 4) and shapes["dense2.weight"] == (8, 2)
    anew = weights(fit("reuse.yaml", "model.load=null", "model.layers.dense2.units=2"))
    assert anew["dense1.weight"].shape == (144, 8) and anew["dense2.weight"].shape == (8, 2)


def test_each_layer_learns_at_its_own_rate(here: Path) -> None:
    """A step of gradient descent is as much shorter as its factor says, also in a step that is replayed."""
    first = RunDir(next((here / "runs").iterdir())).checkpoint("last").weights
    steps = [
        weights(fit("net.yaml", "model.load=first", "optimizer={type: sgd, lr: 0.01}", f"train.max_steps={n}", *more))
        for n, more in [(1, ()), (1, ("optimizer.lr_factors={dense1: 0.25}",)), (3, ("optimizer.lr_factors={c*: 2}",))]
    ]
    for name, share in {"dense1.weight": 0.25, "dense1.bias": 0.25, "dense2.weight": 1.0, "conv1.weight": 1.0}.items():
        whole, own = steps[0][name] - first[name], steps[1][name] - first[name]
        np.testing.assert_allclose(own, whole * share, rtol=1e-2, atol=1e-6)
    halves = ("optimizer={type: sgd, lr: 0.02, lr_factors: {d*: 0.5, batch_norm1: 0.5}}", "train.max_steps=3")
    twin = weights(fit("net.yaml", "model.load=first", *halves))
    assert all(np.array_equal(twin[name], steps[2][name]) for name in twin), "the same rates, written otherwise"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("optimizer.lr_factors={dens: 0.1}", "optimizer.lr_factors: 'dens' fits no layer with parameters"),
        ("model.load=a.npz", "a.npz: a file of weights says nothing of layers; write them down as `layers`"),
        ("model.load=nothing", "nothing is neither a run nor a config: no run 'nothing'"),
        ("model.load=digits_cnn", "digits_cnn has not been trained here; train it first: dltrain fit digits_cnn"),
        ("circle", "more than 5 configs take their layers from each other"),
        ("model.load=game", "game has the networks eye, head; a `model` reuses one that was trained alone"),
        ("model.load={checkpoint: best}", "'path' is missing"),
        ("data.classes=[three]", "data.classes: there is no class 'three'; there are 0, 1, 2"),
        ("data.classes=['3']", "data.classes: names two classes or more, each once"),
        ("data.per_class=1000", "data.per_class: a class has only "),
    ],
)  # fmt: skip
def test_what_cannot_be_reused_is_told(change: str, what: str, here: Path) -> None:
    Path("reuse.yaml").write_text(REUSE.replace(", names: {dense2: null}", ", strict: false"))
    if "game" in change:
        Path("game.yaml").write_text(GAME.replace(", names: {dense*: null}", ""))
        fit("game.yaml", "--name", "game")
    changes = ["model.layers.dense2.units=2", change]
    if change == "circle":
        Path("reuse.yaml").write_text(REUSE.replace("first", "reuse.yaml"))
        changes = []
    said = dltrain("fit", "reuse.yaml", *changes)
    assert said.code == 2 and what in said.err, said.err


def test_a_network_of_a_game_is_reused_by_its_name(here: Path) -> None:
    Path("game.yaml").write_text(GAME.replace(", names: {dense*: null}", ""))
    before = weights(fit("game.yaml", "--name", "game"))
    head = "  head: {trainable: [dense*], layers: [batch_norm, flatten, dense: {units: 10, activation: none}]}"
    Path("again.yaml").write_text(GAME.replace("path: first, names: {dense*: null}", "path: game").replace(
        GAME[GAME.index("    layers:") : GAME.index("  head:")], "").replace(head, "  head: {load: game}"))  # fmt: skip
    said = fit("again.yaml", "updates.head.optimizer={type: sgd, lr: 1e-30}")
    assert "start values from game: 5 of 5 arrays" in said.err and "start values from game: 6 of 6 arrays" in said.err
    after = weights(said)
    assert all(np.allclose(after[name], before[name], atol=1e-20) for name in before if "running" not in name)


def test_smoke_goes_without_what_has_not_been_trained(here: Path) -> None:
    Path("reuse.yaml").write_text(REUSE.replace("path: first", "path: digits_cnn"))
    said = fit("reuse.yaml", "--smoke", "model.load.names=null", "model.layers.dense2.units=2")
    assert "has not been trained here; train it first: dltrain fit digits_cnn; --smoke starts with drawn" in said.err
