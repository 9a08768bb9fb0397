"""`dltrain graph`: what the engine's own graph holds, in all its forms."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from builders import build
from commands import dltrain, done
from PIL import ImageFont

import dltrain as dltrain_package
from dltrain.engine import Tensor
from dltrain.nn import Context, Layer, Network
from dltrain.nn.graph import capture
from dltrain.ops import add, multiply
from dltrain.spec import build_model, load

FLOAT = np.float32


@pytest.mark.parametrize("name", ["digits_cnn", "lecture_conv_exercise"])
def test_the_graph_of_a_config(name: str) -> None:
    """Each layer's ops in order, each parameter once, shapes as the layers say them."""
    model = build_model(load(name))
    vertices = done("graph", name, "--json").json["vertices"]
    shapes = model.parameters
    parameters = [v for v in vertices if v["op"] == "parameter"]
    assert {v["name"]: (tuple(v["shape"]), v["size"]) for v in parameters} == {
        name: (parameter.shape, parameter.size) for name, parameter in shapes.items()
    }
    last = {v["layer"]: v for v in vertices if v["op"] != "parameter"}
    assert list(last) == ["input", *(layer.name for layer in model.layers), *(["loss"] if name == "digits_cnn" else [])]
    assert all(last[layer.name]["shape"] == ["N", *layer.out_shape] for layer in model.layers)
    assert all(place < i for i, v in enumerate(vertices) for place in v["inputs"])
    assert {v["gradient"] for v in vertices} == {None}


def test_a_value_that_is_used_twice_stands_there_once() -> None:
    model = build([("dense", {"units": 3, "activation": "none"})], (3,))

    class Residual(Layer):
        """x + 2 · dense(x), as a plugin's layer might do it."""

        def __call__(self, x: Tensor, context: Context) -> Tensor:
            y: Tensor = add(multiply(dense(x, context), 2.0), x)
            return y

    (dense,) = model.layers
    model = Network([Residual((3,), (3,))], (3,))
    for parameter in dense.parameters.values():
        parameter.data = np.ones(parameter.shape, FLOAT)
    vertices = capture(model, np.ones((2, 3), FLOAT), Context(), lambda y: y.sum(), backward=True)
    assert [v.op for v in vertices if v.op != "constant"] == ["input", "dense", "multiply", "add", "sum"]
    add_place = [v.op for v in vertices].index("add")
    assert 0 in vertices[add_place].inputs and vertices[0].gradient == pytest.approx(7 * 6**0.5)


def test_the_gradients_of_a_run(tmp_path: Path) -> None:
    run = done("fit", "smoke", "--max-steps", 3, "--runs-dir", tmp_path, "--json").json["run"]
    vertices = done("graph", run, "--json").json["vertices"]
    assert all(v["gradient"] > 0 for v in vertices) and vertices[-1]["gradient"] == 1
    svg = done("graph", run, "--format", "svg").out
    root = ElementTree.fromstring(svg)
    texts = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert {"conv1", "weight", "N×8×8×8", "‖gradient‖ of the output, logarithmic"} <= set(texts)
    assert root.get("width") and "var(" not in svg and "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    wide = float(root.get("width", 0))
    assert all(float(node.get("x", 0)) + float(node.get("width", 0)) <= wide for node in root.iter())


def test_a_run_that_was_tried_without_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLTRAIN_DATA", str(tmp_path))
    run = done("fit", "mnist_lenet5", "--smoke", "--runs-dir", tmp_path, "--json").json["run"]
    assert done("graph", run, "--json").json["vertices"][-1]["gradient"] == 1


def test_the_forms(tmp_path: Path) -> None:
    table = done("graph", "smoke").out.splitlines()
    assert table[0].split() == ["layer", "op", "of", "shape", "parameters"] and len(table) == 8
    assert " ".join(table[2].split()) == "1 conv1 conv 0 N×8×8×8 weight 3×3×1×8, bias 8"
    assert " ".join(table[3].split()) == "2 conv1 relu 1 N×8×8×8", "an activation is an op of its own"
    dot = done("graph", "smoke", "--output", tmp_path / "smoke.dot")
    text = (tmp_path / "smoke.dot").read_text()
    assert dot.err.startswith("wrote ") and text == done("graph", "smoke", "--format", "dot").out.rstrip("\n")
    assert len(re.findall(" -> ", text)) == 10 and text.count("{") == text.count("}")
    done("graph", "smoke", "--output", tmp_path / "smoke.svg")
    assert ElementTree.parse(tmp_path / "smoke.svg").getroot().tag.endswith("svg")
    before = (tmp_path / "smoke.svg").read_text()
    (tmp_path / "smoke.svg").unlink()
    said = done("graph", "smoke", "--json", "--output", tmp_path / "smoke.svg")
    assert said.json["vertices"] and (tmp_path / "smoke.svg").read_text() == before
    wrong = dltrain("graph", "smoke", "--output", tmp_path / "nowhere" / "smoke.svg")
    assert wrong.code == 1 and "cannot be written" in wrong.errors[0]


def labels_outside(svg: str) -> list[str]:
    """Of a drawing: the labels that are wider than the box before them."""
    root, box, found = ElementTree.fromstring(svg), None, []
    for node in root.iter():
        if (node.get("class") or "").split()[:1] in (["op"], ["leaf"]):
            box = node
        elif node.tag.endswith("text") and "mid" in (node.get("class") or "") and box is not None:
            size = 11 if "small" in (node.get("class") or "") else 13
            width = ImageFont.load_default(size).getlength(node.text or "")
            if width > float(box.get("width", 0)):
                found.append(node.text or "")
    return found


@pytest.mark.parametrize("detail", ["ops", "layers"])
@pytest.mark.parametrize("name", ["digits_cnn", "lecture_conv_exercise", "cifar_resnet20"])
def test_no_label_is_outside_its_box(name: str, detail: str) -> None:
    svg = done("graph", name, "--format", "svg", "--detail", detail).out
    assert labels_outside(svg) == []
    assert labels_outside(re.sub(r'width="[\d.]+"', 'width="9"', svg))


def test_the_calls_of_a_captured_step() -> None:
    found = done("graph", "smoke", "--captured", "--json").json
    told = [(row["layer"], row["what"], row["phase"]) for row in found["calls"]]
    forward, backward = told.index(("conv1", "conv", "forward")), told.index(("conv1", "conv", "backward"))
    assert forward < told.index(("loss", "cross_entropy", "forward")) < backward
    assert found["eager_ms"] > 0 and found["replayed_ms"] > 0 and found["reason"] == ""
    eager = done("graph", "smoke", "train.shard_size=8", "--captured").out
    assert eager == "nothing is captured: a batch is computed in several shards\n"


def test_one_node_for_each_layer() -> None:
    model = build_model(load("digits_cnn"))
    vertices = done("graph", "digits_cnn", "--json", "--detail", "layers").json["vertices"]
    assert [v["layer"] for v in vertices] == ["input", *(layer.name for layer in model.layers), "loss"]
    assert sum(v["size"] for v in vertices) == sum(p.size for p in model.parameters.values())
    assert all(v["inputs"] == ([i - 1] if i else []) for i, v in enumerate(vertices))


def test_mermaid_and_what_is_made_by_hand(tmp_path: Path) -> None:
    x, w = dltrain_package.Tensor(3.0), dltrain_package.Tensor(-2.0)
    loss = (w * x + 1.0) * (w * x + 1.0)
    drawn = dltrain_package.graph(loss, x=x, w=w)
    named = {v.name: v.gradient for v in drawn.vertices if v.name}
    assert named == {"x": 20.0, "w": 30.0}, "2 (wx + 1) w and 2 (wx + 1) x"
    loss.backward()
    assert float(w.grad) == -30.0  # type: ignore[arg-type]
    lines = drawn.mermaid().splitlines()
    assert lines[0] == "flowchart TD" and sum("-->" in line for line in lines) == 8
    assert sum("style v" in line for line in lines) == len(drawn.vertices) and drawn.dot().count("fillcolor") == 7
    assert labels_outside(drawn.svg()) == [] and drawn._repr_svg_() == drawn.svg()
    done("graph", "smoke", "--output", tmp_path / "smoke.mmd")
    assert (tmp_path / "smoke.mmd").read_text().startswith("flowchart TD\n  subgraph s0")


GRAPH = """
model:
  input: [8, 8, 4]
  layers:
    - relu: {name: start}
    - branch: {join: concat, paths: [[conv: {channels: 3, kernel: 1}, tanh], [conv: {channels: 5, kernel: 1}], []]}
    - residual: [conv: {channels: 12, padding: same}]
"""


def test_a_graph_is_drawn_as_one(tmp_path: Path) -> None:
    """Branches beside each other, no panel over another, an edge for each value that an op takes."""
    (tmp_path / "net.yaml").write_text(GRAPH)
    vertices = done("graph", tmp_path / "net.yaml", "--json").json["vertices"]
    root = ElementTree.fromstring(done("graph", tmp_path / "net.yaml", "--format", "svg").out)
    boxes = [node for node in root.iter() if node.get("class") == "layer"]
    layers = list(dict.fromkeys(v["layer"] for v in vertices))
    sides = {name: [float(box.get(key, 0)) for key in ("x", "y", "width", "height")]
             for name, box in zip(layers, boxes, strict=True)}  # fmt: skip
    (x1, y1, w1, _), (x2, y2, *_) = sides["branch1.conv1"], sides["branch1.conv2"]
    assert y1 == y2 and x2 >= x1 + w1
    for i, (x, y, w, h) in enumerate(sides.values()):
        for a, b, c, d in list(sides.values())[:i]:
            assert x >= a + c or a >= x + w or y >= b + d or b >= y + h
    assert sides["branch1"][1] > sides["branch1.tanh1"][1] > y1 > sides["start"][1]
    taken = sum(vertices[i]["op"] not in ("parameter", "constant") for v in vertices for i in v["inputs"])
    leaves = sum(v["op"] == "parameter" for v in vertices)
    assert len([node for node in root.iter() if node.tag.endswith("path") and node.get("d")]) == 1 + taken + leaves
    assert float(root.get("width", 0)) >= max(x + w for x, _, w, _ in sides.values())
    texts = [node.text for node in root.iter() if node.tag.endswith("text")]
    assert {"conv1", "branch1", "residual1"} <= set(texts) and "branch1.conv1" not in texts
