"""`dltrain report`: one file with everything in it, true to the logs, readable, made again without data."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import dltrain, done
from PIL import Image
from safetensors.numpy import load
from test_cli_fit import write_regression

from dltrain.data import Digits
from dltrain.metrics.scores import calibration
from dltrain.report import palette
from dltrain.report.charts import Line, epoch_ticks, line_chart, nice_ticks, thin
from dltrain.report.page import TEMPLATES
from dltrain.report.sections import percent, short

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = ["data.validation=3700", "~train.max_steps", "train.epochs=3"]
    result = done("fit", "smoke", *changes, "--runs-dir", tmp_path_factory.mktemp("runs"), "--json").json
    return Path(result["run"])


class Seen(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in ("meta", "img", "input", "col", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def check_page(path: Path) -> Seen:
    """What every page keeps: nothing is asked for from outside, every element is closed."""
    page = path.read_text(encoding="utf-8")
    seen = Seen(page)
    assert seen.open == [] and page.startswith("<!DOCTYPE html>")
    assert ("meta", "default-src 'none'") in [(tag, a.get("content", "").split(";")[0]) for tag, a in seen.tags]
    for tag, attributes in seen.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert tag != "script" or "runs" in path.name, "only the list of runs has one, of its own"
        for key in ("src", "href", "xlink:href", "data"):
            if key in attributes and tag != "a":
                assert attributes[key].startswith("data:image/png;base64,")
    outside = re.findall(r"(?:https?:)?//[^\s\"'<>]+|@import|url\((?!#)", re.sub(r"data:[^\"]*", "", page))
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|Undefined", "".join(seen.words)), "a number that is none"
    return seen


def test_fit_leaves_a_report(run: Path) -> None:
    seen = check_page(run / "report.html")
    text = " ".join(" ".join(seen.words).split())
    status = json.loads((run / "status.json").read_text())
    found = json.loads((run / "eval" / "test.json").read_text())
    assert percent(status["test"]["accuracy"]) in text and short(status["test"]["loss"]) in text
    assert status["weights_sha256"] in text and f"dltrain fit {run / 'config.yaml'}" in text
    for heading in ("Learning", "Inside the layers", "Predictions", "Weights", "Network", "Reproduce", "Environment"):
        assert heading in text
    assert text.count("1,797") >= 2 and "1,370" in text and "3·3·1·8 + 8 = 80" in text
    for row in found["per_class"]:
        assert f" {row['class']} {row['examples']} {percent(row['recall'])} {percent(row['precision'])}" in text
    assert (run / "report.html").stat().st_size < 1_000_000


def headline_of_page(run: Path) -> list[tuple[str, str]]:
    """Each figure of the headline with what it is and its note."""
    done("report", run)
    page = (run / "report.html").read_text()
    return re.findall(r"<div><dd>(.*?)</dd><dt>(.*?)</span></dt></div>", page)


def test_all_figures_of_the_headline_are_of_one_evaluation(tmp_path: Path) -> None:
    """Of the weights that `eval` took, and of the data that it found."""
    config = write_regression(tmp_path, train=40, validation=20, test=30)
    words = ("optimizer={adam: {lr: 0.5}}", "train.epochs=12", "--runs-dir", tmp_path / "runs", "--json")
    run = Path(done("fit", config, *words).json["run"])
    losses = set()
    for checkpoint in ("last", "best"):
        found = done("eval", run, "--checkpoint", checkpoint, "--json").json
        losses.add(short(found["loss"]))
        (r2, about), (linear, beside), (loss, of), *_ = headline_of_page(run)
        assert (r2, loss) == (short(found["r2"]), short(found["loss"])) and of.startswith("test loss")
        assert f"30 examples, {checkpoint} weights, 95 %" in about
        assert beside.startswith("linear model") and linear == short(found["baselines"]["linear"]["r2"])
    assert len(losses) == 2, "nothing to tell last and best apart by"
    write_regression(tmp_path, train=40, validation=20, test=7)
    found = done("eval", run, "--json").json
    (r2, about), (loss, of), *rest = headline_of_page(run)
    assert (r2, loss) == (short(found["r2"]), short(found["loss"])) and of.startswith("test loss")
    assert "7 examples, last weights, 95 %" in about and "data changed since the training: no baselines" in of
    assert not any("linear model" in what for _, what in rest)
    assert "the data changed since the training" in (run / "report.html").read_text()


def test_the_graph_is_that_of_the_network(run: Path) -> None:
    """Every op and parameter in the order of the layers, in the page's colours."""
    (svg,) = re.findall(r'<svg[^>]*class="graph".*?</svg>', (run / "report.html").read_text(), re.S)
    vertices = done("graph", run / "config.yaml", "--json").json["vertices"]
    layers = list(dict.fromkeys(v["layer"] for v in vertices))
    assert re.findall(r'class="strong"[^>]*>([^<]+)<', svg) == layers and layers[:2] == ["input", "conv1"]
    assert svg.count('class="op"') == sum(v["op"] != "parameter" for v in vertices)
    assert svg.count('class="leaf"') == sum(v["op"] == "parameter" for v in vertices) == 4
    assert "3×3×1×8 = 72" in svg and "cross_entropy" in svg and "<style" not in svg
    assert "#" not in svg.replace("#tip", ""), "no colours of its own"


def test_the_confusion_matrix_is_that_of_eval(run: Path) -> None:
    found = json.loads((run / "eval" / "test.json").read_text())
    titles = [a["title"] for tag, a in Seen((run / "report.html").read_text()).tags if tag == "td" and "title" in a]
    for i, row in enumerate(found["confusion"]):
        for j, count in enumerate(row):
            assert f"{count:,} of {sum(row):,} of class {i} were taken for {j}" in titles


def test_the_mistakes_are_the_most_confident_ones(run: Path) -> None:
    found = json.loads((run / "eval" / "test.json").read_text())
    examples = Digits().load(Path(), only="test")["test"]
    np.savez(run.parent / "x.npz", x=examples.inputs)
    predictions = done("predict", run, run.parent / "x.npz", "--json").json["predictions"]
    wrong = [
        (-max(row["probabilities"].values()), i)
        for i, row in enumerate(predictions)
        if int(row["class"]) != examples.targets[i]
    ]
    expected = [i for _, i in sorted(wrong)][:24]
    assert [row["index"] for row in found["mistakes"]] == expected and len(expected) == 24
    kept = load((run / "eval" / "test-mistakes.safetensors").read_bytes())["inputs"]
    np.testing.assert_array_equal(kept, examples.inputs[expected])
    for row in found["mistakes"]:
        said = predictions[row["index"]]
        assert (row["taken_for"], int(row["class"])) == (said["class"], examples.targets[row["index"]])
        assert row["confidence"] == pytest.approx(said["probabilities"][said["class"]], rel=1e-4)
        assert row["of_class"] == pytest.approx(said["probabilities"][row["class"]], rel=1e-3, abs=1e-6)
    pictures = [a["src"] for tag, a in Seen((run / "report.html").read_text()).tags if tag == "img" and "alt" in a]
    first = Image.open(io.BytesIO(base64.b64decode(pictures[0].partition(",")[2])))
    np.testing.assert_allclose(np.asarray(first), kept[0, :, :, 0] * (255 / 16), atol=0.51)


def test_it_is_made_again_where_the_data_are_not(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    before = (moved / "report.html").read_text()
    (moved / "report.html").unlink()
    monkeypatch.setattr(Digits, "load", lambda *args, **settings: pytest.fail("the data set was read"))
    said = done("report", moved)
    assert said.out == f"{moved / 'report.html'}\n"
    after = (moved / "report.html").read_text()
    assert after.replace(str(moved), str(run)).replace("moved", run.name) == before, "but for its place it is the same"
    found = done("report", moved, "--output", tmp_path / "x.html", "--json").json
    assert found == {"run": str(moved), "report": str(tmp_path / "x.html"), "advice": []}
    assert (tmp_path / "x.html").read_text() == after


PARTS = ["description.json", "env.json", "eval", "layers.jsonl", "metrics.jsonl", "checkpoints"]


@pytest.mark.parametrize("missing", PARTS)
def test_whatever_is_missing_or_damaged_is_left_out(missing: str, run: Path, tmp_path: Path) -> None:
    for number, damage in enumerate((None, "{", '{"a": ')):
        copy = tmp_path / str(number)
        shutil.copytree(run, copy)
        for path in [p for p in copy.rglob("*") if missing in p.parts and p.is_file()]:
            path.unlink() if damage is None else path.write_text(damage)
        done("report", copy)
        check_page(copy / "report.html")
        assert (copy / "report.html").stat().st_size > 20_000


def test_no_report_where_there_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.yaml").write_text("seed: 0\n")
    said = dltrain("report", tmp_path / "x")
    assert said.code == 1 and "status.json: cannot be read" in said.errors[0] and len(said.errors) == 1


def test_the_end_of_a_training_stands_when_there_can_be_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dltrain.report.page.write_output", fail)
    said = dltrain("fit", "smoke", "--max-steps", 1, "data.validation=3700", "--runs-dir", tmp_path, "--json")
    assert said.code == 0 and said.json["status"] == "done"
    again = f"try again with: dltrain report {said.json['run']}"
    assert said.errors == [f"no report: [Errno 28] No space left on device; {again}"]


def test_a_run_that_diverged(tmp_path: Path) -> None:
    dltrain("fit", "smoke", "optimizer={type: sgd, lr: 1e9}", "--runs-dir", tmp_path)
    (report,) = tmp_path.glob("*/report.html")
    seen = check_page(report)
    assert "The training diverged" in "".join(seen.words) and "Predictions" not in seen.words


def test_regression_and_rows_of_numbers(tmp_path: Path) -> None:
    config = write_regression(tmp_path, train=40, test=20)
    result = done("fit", config, "--runs-dir", tmp_path / "runs", "--json").json
    found = json.loads((Path(result["run"]) / "eval" / "test.json").read_text())
    np.testing.assert_allclose(found["answers"]["targets"], np.load(tmp_path / "data.npz")["y_test"], rtol=1e-6)
    errors = np.subtract(found["answers"]["targets"], found["answers"]["outputs"])
    assert np.abs(errors).mean() == pytest.approx(result["test"]["mae"], rel=1e-5)
    text = "".join(check_page(Path(result["run"]) / "report.html").words)
    assert "Outputs" in text and "Confusion" not in text and "test loss" in text


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    names = np.array([evil, '"><b>', "x" * 90])
    x = np.random.default_rng(0).normal(size=(30, 4))
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(30) % 3, x_test=x, y_test=np.arange(30) % 3,
             class_names=names)  # fmt: skip
    config = tmp_path / "c.yaml"
    config.write_text(
        f"data: {{type: npz, path: {tmp_path / 'd.npz'}}}\n"
        "model: {layers: [dense: {units: 3, activation: none}]}\ntrain: {epochs: 1}\n"
    )
    result = done("fit", config, "--runs-dir", tmp_path / "runs", "--json").json
    assert evil in "".join(check_page(Path(result["run"]) / "report.html").words)


# --- colours and charts ------------------------------------------------------------------------------------------


def test_contrast() -> None:
    """WCAG 2.1 AA for all text, on the page and on panels, and for the text in coloured cells; 3 for lines."""
    assert palette.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert palette.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)
    for theme in (palette.LIGHT, palette.DARK):
        for name in theme.keys() - {"paper", "panel", "rule", "faint"}:
            for back in ("paper", "panel"):
                assert palette.contrast(theme[name], theme[back]) >= 4.5, f"{name} on {back}"
        for scale in palette.SCALES:
            for back, text in palette.scale(theme, scale):
                assert palette.contrast(text, back) >= 4.5, f"{text} on {back}"
        for name in ("ink", "muted"):
            assert palette.contrast(theme[name], palette.colours(theme)["good1"]) >= 4.5, f"{name} on an op of a graph"
    assert palette.LIGHT.keys() == palette.DARK.keys()


def test_no_colour_is_named_outside_the_palette() -> None:
    for path in TEMPLATES.iterdir():
        text = re.sub(r"href=\"#\w+\"", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b|\brgb|\bhsl|: *(?:white|black|red|gray|grey)\b", text), path.name
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    known = {*palette.LIGHT, "look"}
    assert set(re.findall(r"var\(--([\w-]+)\)", style)) <= known
    assert not re.search(r"opacity: *\.[0-4]", style), "text that is made fainter"


RANGES = [(0, 1), (0.031, 2.3), (-3, 5), (1e-9, 2e-9), (5, 5), (0, 0), (-7, -7), (98, 1e6)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_ticks_are_round_few_and_around_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 3 <= len(ticks) <= 8
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0], rtol=1e-6)
    assert float(f"{steps[0]:.1e}") == pytest.approx(steps[0]) or "2.5" in f"{steps[0]:.1e}"


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 20, 99, 1000])
def test_epochs_are_whole_and_never_beyond_the_last(epochs: int) -> None:
    ticks = epoch_ticks(epochs)
    assert ticks[0] == 0 and ticks[-1] <= epochs and 2 <= len(ticks) <= 7 and all(tick == int(tick) for tick in ticks)


def test_a_chart_shows_its_lines_where_they_belong() -> None:
    lines = [Line(f"<{i}>", [(0, 1.0 + i / 100), (10, 1.0 + i / 100)], "first") for i in range(8)]
    svg = str(line_chart([*lines, Line("", [(0, 0.0), (5, None), (10, 2.0)], "second")], about="x", x_ticks=[0, 5, 10]))
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="end first">&lt;(\d)&gt;</text>', svg)
    heights = [float(y) for _, y, _ in labels]
    assert [int(name) for *_, name in labels] == list(range(8)), "every line has its label, as text"
    assert heights == sorted(heights, reverse=True) and min(-np.diff(heights)) >= 13.9, "higher values stand higher"
    assert max(heights) <= 200 and min(heights) >= 0
    paths = re.findall(r'd="(M[\d. L]+)" class="line', svg)
    ends = [float(path.split()[-1]) for path in paths]
    assert ends[:8] == sorted(ends[:8], reverse=True) and ends[8] == min(ends)
    assert "<script" not in svg and "<style" not in svg


def test_a_logarithmic_chart_has_even_decades() -> None:
    svg = str(line_chart([Line("", [(0, 1e-4), (1, 0.0), (2, 1.0)], "first")], about="x", x_ticks=[0, 2], log=True))
    ticks = re.findall(r'<text x="-5" y="([\d.]+)" class="[^"]*">([^<]+)</text>', svg)
    assert [name for _, name in ticks] == ["1e-4", "0.001", "0.01", "0.1", "1"]
    assert np.allclose(np.diff([float(y) for y, _ in ticks]), np.diff([float(y) for y, _ in ticks])[0])


@pytest.mark.parametrize("values", [(0.07, 2.0), (0.3, 7.0), (1.1, 30.0), (0.9, 1.05), (2.0, 2.0)])
def test_no_curve_ends_beyond_the_labels(values: tuple[float, float]) -> None:
    svg = str(line_chart([Line("a", list(enumerate(values)), "first")], about="x", x_ticks=[0, 1], log=True))
    ticks = [float(name.replace("−", "-")) for name in re.findall(r'<text x="-5" [^>]*>([^<]+)</text>', svg)]
    assert len(ticks) >= 3 and ticks[0] <= min(values) and ticks[-1] >= max(values)


def test_plots_are_alike_and_say_what_their_axis_counts() -> None:
    """Whether lines have labels or not; a lone point has one, too, and the axis has its name behind its last number."""
    widths = set()
    for lines in ([Line("", [(0, 1), (1, 2)], "first")], [Line("training", [(1, 1.0)], "first", True)]):
        svg = str(line_chart(lines, about="x", x_ticks=[0, 1]))
        widths |= set(re.findall(r'class="plot"><rect x="0" y="0" width="([\d.]+)"', svg))
        ((x, y),) = re.findall(r'<text x="([\d.]+)" y="([\d.]+)">epoch</text>', svg)
        assert float(y) == pytest.approx(float(re.findall(r'y="([\d.]+)" class="[^"]*">1</text>', svg)[-1]), abs=1)
        assert float(x) > float(re.findall(r'<text x="([\d.]+)" [^>]*>1</text>', svg)[-1])
    assert len(widths) == 1 and 'class="end first">training</text>' in svg


def test_thin_lines_keep_their_mean() -> None:
    points = [(float(i), float(i % 7)) for i in range(1000)]
    thinned = thin(points, 100)
    assert len(thinned) == 100 and np.mean([y for _, y in thinned]) == pytest.approx(np.mean([y for _, y in points]))
    assert thin(points[:50], 100) == points[:50]


def test_calibration_is_what_it_says() -> None:
    confidence = np.array([0.05, 0.55, 0.58, 0.91, 1.0])
    right = np.array([False, True, False, True, True])
    low, middle, high = calibration(confidence, right, 10)
    assert (low["from"], low["examples"], low["accuracy"]) == (0.0, 1, 0.0)
    assert (middle["examples"], middle["confidence"], middle["accuracy"]) == (2, pytest.approx(0.565), 0.5)
    assert (high["to"], high["examples"], high["accuracy"]) == (1.0, 2, 1.0)


# --- as a browser shows it ---------------------------------------------------------------------------------------

MEASURE = """<script>addEventListener("load", () => {
const wide = [...document.querySelectorAll("body *:not(.scroll *)")].filter(
  e => e.getBoundingClientRect().right > innerWidth + 1);
const names = wide.map(e => e.outerHTML.slice(0, 90));
document.title = JSON.stringify([innerWidth, document.documentElement.scrollWidth, names])
})</script>"""


@pytest.mark.outside
@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_no_page_is_wider_than_the_window(width: int, run: Path, tmp_path: Path) -> None:
    page = re.sub(r'<meta http-equiv="Content[^>]*>', "", (run / "report.html").read_text())
    (tmp_path / "page.html").write_text(page.replace("</body>", MEASURE + "</body>"))
    frame = f'<iframe src="page.html" width="{width}" height="800" style="border:0" onload="setTimeout(() => {{ ' \
            'document.title = this.contentDocument.title }, 100)"></iframe>'  # fmt: skip
    (tmp_path / "frame.html").write_text(f"<title></title><body style='margin:0'>{frame}</body>")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--window-size=1500,900",
             "--virtual-time-budget=3000", "--dump-dom", f"file://{tmp_path}/frame.html"]  # fmt: skip
    said = subprocess.run([CHROMIUM, *words], capture_output=True, text=True, timeout=100, env={**os.environ}).stdout
    title = re.search(r"<title>(.*?)</title>", said)
    assert title and title[1], said[:500]
    inner, scroll, wide = json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert inner == width and scroll <= width and wide == []
