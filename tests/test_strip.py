"""The pictures of a training: grids true to the pixel, and a strip of them in the report that needs no script."""

import base64
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import checkpoint, new_run
from commands import done
from PIL import Image
from test_report import check_page

from dltrain.report import strip
from dltrain.report.grid import draw_values, png
from dltrain.report.page import TEMPLATES
from dltrain.report.strip import frames
from dltrain.run.rundir import RunDir

Array = np.ndarray[Any, Any]


def pictures(count: int, side: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def places(sheet: Array, tile: Array, factor: int) -> list[tuple[int, int]]:
    """(top, left) of everywhere that the enlarged tile stands in the sheet."""
    wanted = tile.repeat(factor, axis=0).repeat(factor, axis=1)
    tops, lefts = np.nonzero((sheet == wanted[0, 0]).all(axis=2))
    height, width = wanted.shape[:2]
    return [
        (top, left)
        for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)
        if np.array_equal(sheet[top : top + height, left : left + width], wanted)
    ]


@pytest.mark.parametrize(("count", "columns"), [(1, 8), (10, 8), (64, 8), (70, 9)])
def test_pictures_of_one_value_are_a_block(count: int, columns: int) -> None:
    """Each enlarged by the same whole factor, in order, row by row."""
    made = pictures(count, 16)
    sheet = np.asarray(draw_values("fake", {"fake": made}))
    found = []
    for tile in made:
        (place,) = places(sheet, tile, 5)
        found.append(place)
    assert found == sorted(found) and len({top for top, _ in found}) == -(-count // columns)
    assert len({left for _, left in found}) == min(count, columns)


def test_several_values_stand_below_each_other() -> None:
    """The same example in one column, in bands of twelve; a smaller picture is in the middle of the room."""
    lines, painted = pictures(14, 20), pictures(14, 32, seed=1)
    sheet = np.asarray(draw_values("x", {"lines": lines, "painted": painted}))
    at_lines = [places(sheet, tile, 4)[0] for tile in lines]
    at_painted = [places(sheet, tile, 3)[0] for tile in painted]
    assert [left - (96 - 80) // 2 for _, left in at_lines] == [left for _, left in at_painted]
    tops = [sorted({top for top, _ in at}) for at in (at_lines, at_painted)]
    assert tops[0][0] < tops[1][0] < tops[0][1] < tops[1][1], "lines, painted, and again"
    assert [at[1] for at in at_lines[12:]] == [at[1] for at in at_lines[:2]]


# --- in the report ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ("fit", "smoke", "--max-steps", 1, "data.validation=3700", "--json")
    return Path(done(*words, "--runs-dir", tmp_path_factory.mktemp("runs")).json["run"])


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(trained, tmp_path / "a")))


def sample(run: RunDir, *steps: int) -> None:
    for step in steps:
        run.write(run.sample(step), png(draw_values(str(step), {"fake": pictures(4, 4, step)})))


def test_the_strip_shows_every_step_and_opens_at_the_last(run: RunDir) -> None:
    """Radio buttons, so that the arrow keys step through; each has the picture behind it."""
    sample(run, 0, 1000, 500)
    done("report", run.path)
    seen = check_page(run.report)
    section = seen.tags.index(("section", {"id": "pictures"}))
    tags = seen.tags[section : seen.tags.index(("section", {"id": "layers"}))]
    radios = [a for tag, a in tags if tag == "input"]
    assert {a["type"] for a in radios} == {"radio"} and len({a["name"] for a in radios}) == 1
    assert [tag for tag, _ in tags if tag in ("input", "label", "div", "img")] == [
        "div",
        *["input", "label", "div", "img"] * 3,
    ]
    assert [a["for"] for tag, a in tags if tag == "label"] == [a["id"] for a in radios]
    assert ["checked" in a for a in radios] == [False, False, True]
    assert "1,000" in seen.words and ("a", {"href": "#pictures"}) in seen.tags
    for step, (_, attributes) in zip((0, 500, 1000), [tag for tag in tags if tag[0] == "img"], strict=True):
        content = base64.b64decode(attributes["src"].partition(",")[2])
        assert content == run.sample(step).read_bytes()
        assert Image.open(io.BytesIO(content)).size == (int(attributes["width"]), int(attributes["height"]))
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    assert "@media screen { .film input:not(:checked) + label + div { display: none } }" in style, (
        "on paper all are shown"
    )


def test_a_run_without_pictures_says_nothing_of_them(run: RunDir) -> None:
    done("report", run.path)
    assert not any("pictures" in str(a) for _, a in check_page(run.report).tags)


def test_of_many_steps_some_at_equal_distances_are_shown(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strip, "MOST_FRAMES", 5)
    sample(run, *range(0, 90, 10))
    assert [frame.step for frame in frames(run)] == [0, 20, 40, 60, 80]
    for step in (0, 10, 20):
        run.sample(step).unlink()
    assert [frame.step for frame in frames(run)] == [30, 40, 50, 70, 80], "six, of which one is left out"
    run.sample(60).unlink()
    assert [frame.step for frame in frames(run)] == [30, 40, 50, 70, 80], "five"
    sample(run, 0, 90)
    shown = [frame.step for frame in frames(run)]
    assert len(shown) == 5 and (shown[0], shown[-1]) == (0, 90)


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n\x1a\n", b"<svg onload=alert(1)>" * 9, b"huge", b"wide", b"GIF"])
def test_what_is_no_picture_is_left_out(damage: bytes, run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    sample(run, 0, 7)
    content = run.sample(7).read_bytes()
    if damage == b"huge":
        monkeypatch.setattr(strip, "MOST_BYTES", len(content) - 1)
        shutil.copy(run.sample(7), run.sample(0))
        assert frames(run) == []
        return
    wide = content[:16] + (1 << 20).to_bytes(4, "big") + (1 << 20).to_bytes(4, "big") + content[24:]
    run.write(run.sample(7), {b"wide": wide, b"GIF": b"GIF" + content[3:]}.get(damage, damage))
    (run.samples / "step-9.png").write_bytes(content)  # not a name that a training gives
    assert [frame.step for frame in frames(run)] == [0]
    done("report", run.path)
    check_page(run.report)


def test_a_training_that_goes_on_begins_with_the_pictures_that_it_had(tmp_path: Path) -> None:
    """Those after the checkpoint are gone, for they are made again; and what a killed process left half-written."""
    run = new_run(tmp_path)
    sample(run, 0, 12, 13, 100)
    (run.samples / ".step-00000014.png.1.tmp").write_bytes(b"half")
    run.release()
    run.hold()
    kept = checkpoint()
    run.save(kept, best=False)
    run.reopen(kept, {}, None, 1)
    assert run.sampled_steps() == [0, kept.position.step] == [0, 12] and len(list(run.samples.iterdir())) == 2
    run.reopen(None, {}, None, 1)
    assert run.sampled_steps() == [0]
