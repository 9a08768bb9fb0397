"""The live page as a browser shows it: quiet, readable, reachable, true to the logs, deaf to runs' names."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from test_serve import EVIL, Client, serving
from test_serve import trained as trained
from test_serve_logs import new_run, steps

from dltrain.run.group import Group, Member
from dltrain.run.rundir import RunDir

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
TABS = ("curves", "run", "layers", "predictions", "samples", "compare", "system")
Page = Any
pytestmark = [
    pytest.mark.outside,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium"),
    pytest.mark.skipif(not find_spec("playwright"), reason="needs playwright"),
    pytest.mark.skipif(not find_spec("axe_playwright_python"), reason="needs axe-playwright-python"),
]


@pytest.fixture(scope="module")
def shown(trained: Path) -> Iterator[Client]:
    """A finished run with hostile names, a sweep, and a run with pictures that still trains."""
    members = [Member(f"lr{lr}-seed{s}", [f"optimizer.lr={lr}", f"seed={s}"]) for lr in (0.1, 1) for s in (0, 1)]
    group = Group.create(trained, "sweep", "seed: 0\n", members, smoke=False)
    for member in members:
        new_run(group.path, member.label, rows=40)
    live = RunDir.create(trained, "live", "seed: 0\n", "seed: 0\n", {})
    live.append(live.metrics, *steps(1, 20))
    pixel = bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001"
        "a5f645400000000049454e44ae426082"
    )
    for step in (10, 20):
        live.write(live.sample(step), pixel)
    yield from serving(trained)
    live.end(status="done")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, shown: Client) -> Iterator[Callable[..., Page]]:
    """Opens the page. When the test ends, it had nothing to complain of and had asked nobody else."""
    heard: list[str] = []
    contexts = []

    def open_page(place: str = "", width: int = 1440, scheme: str = "light", script: str = "") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(f"dialog {dialog.message}"))
        page.on(
            "request", lambda request: request.url.startswith((shown.server.url, "data:")) or heard.append(request.url)
        )
        page.goto(f"{shown.server.url}#{place}")
        page.locator("#list .run").first.wait_for(state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert heard == []


def key_of(client: Client, name: str) -> str:
    return next(row["id"] for row in client.json("runs")["runs"] if row["name"].endswith(name))


def reached(page: Page, question: str, argument: Any = None) -> Any:
    """The answer, once it is not false. (Playwright's own way of waiting needs what our policy forbids.)"""
    for _ in range(200):
        if answer := page.evaluate(question, argument):
            return answer
        page.wait_for_timeout(50)
    raise AssertionError(f"never came: {question}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_every_view_is_quiet_fits_and_is_accessible(
    width: int, scheme: str, opened: Callable[..., Page], shown: Client
) -> None:
    import axe_playwright_python

    axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
    on = "&".join(f"on={key_of(shown, name)}" for name in ("-c", "-live", "seed0", "seed1"))
    page = opened(f"run={key_of(shown, '-c')}&{on}", width, scheme, axe)
    if width < 900:
        page.locator("#toggle").click()
    for tab in TABS:
        page.locator(f"#tab-{tab}").click()
        page.wait_for_timeout(1300 if tab == "system" else 600)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, tab
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        bad = [
            (v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("moderate", "serious", "critical")
        ]
        assert bad == [], tab


def test_names_from_runs_are_seen_as_they_are(opened: Callable[..., Page], shown: Client) -> None:
    key = key_of(shown, "-c")
    shown.post(key, {"tags": [EVIL[:40]], "note": EVIL})
    page = opened(f"tab=predictions&run={key}&on={key}")
    page.locator(".confusion").wait_for()
    assert EVIL in page.locator("#view").inner_text() and EVIL[:40] in page.locator("#list").inner_text()
    assert page.locator("img[src=x]").count() == 0
    assert page.evaluate("[...document.scripts].every(s => s.src.startsWith(location.origin))")
    page.locator("#tab-run").click()
    page.locator(".noteform textarea").wait_for()
    assert page.locator(".noteform textarea").input_value() == EVIL


def test_the_keyboard_does_what_the_mouse_does(opened: Callable[..., Page], shown: Client) -> None:
    key = key_of(shown, "-live")
    page = opened(f"run={key}&on={key}&smooth=0")
    page.locator(".chart canvas").first.wait_for()
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.plot')"):
            break
    page.keyboard.press("ArrowLeft")
    said = page.locator(".told:visible").inner_text()
    assert "step 20" in said and "0.05" in said, "the loss of the last row"
    page.keyboard.press("ArrowLeft")
    assert "step 19" in page.locator(".told:visible").inner_text()
    page.keyboard.press("+")
    page.locator(".reset:visible").wait_for()
    page.keyboard.press("Escape")
    assert page.locator(".reset:visible").count() == 0
    page.locator("#tab-curves").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-run"
    page.locator("#tab-samples").click()
    page.locator(".samples img").wait_for()
    page.locator("input[aria-label=Step]").focus()
    page.keyboard.press("ArrowLeft")
    assert "after 10 steps" in page.locator(".slider").inner_text()


def test_the_mouse_reads_values_and_zooms(opened: Callable[..., Page], shown: Client) -> None:
    key = key_of(shown, "-live")
    page = opened(f"run={key}&on={key}&smooth=0")
    over = page.locator(".u-over").first
    over.wait_for()
    box = over.bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + 40)
    said = page.locator(".told:visible").inner_text()
    assert "step 1" in said and re.search(r"live\s+1$", said), said
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60, steps=5)
    page.mouse.up()
    page.locator(".reset:visible").wait_for()
    over.dblclick()
    assert page.locator(".reset:visible").count() == 0


def test_a_row_is_drawn_when_it_is_written(opened: Callable[..., Page], shown: Client) -> None:
    key = key_of(shown, "-live")
    run = RunDir(shown.server.watch.folder / key)
    page = opened(f"run={key}&on={key}&smooth=0")
    page.locator(".chart canvas").first.wait_for()
    assert "live, 1 in training" in page.locator("#live").inner_text()
    run.append(run.metrics, *steps(21, 25))
    page.locator(".plot").first.focus()

    reached(
        page,
        """() => { const key = new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true });
        document.querySelector(".plot").dispatchEvent(key);
        return document.querySelector(".told").textContent.includes("step 25"); }""",
    )
    new_run(shown.server.watch.folder, "newcomer")
    page.get_by_text("newcomer", exact=True).wait_for()


def test_the_list_filters_groups_and_ticks(opened: Callable[..., Page], shown: Client) -> None:
    page = opened()
    page.locator("#filter").fill("optimizer.lr=1 -seed1")
    assert page.locator("#list .run").count() == 1 and "lr1-seed0" in page.locator("#list").inner_text()
    page.locator("#filter").fill("sweep")
    page.get_by_label("Show all of", exact=False).check()
    page.get_by_text("mean ± sd").click()
    labels = page.locator(".keys button").all_inner_texts()
    assert {"lr 0.1", "lr 1"} <= {label.strip() for label in labels}
    page.reload()
    page.locator(".keys button").first.wait_for()
    assert {label.strip() for label in page.locator(".keys button").all_inner_texts()} >= {
        "sweep, lr 0.1",
        "sweep, lr 1",
    }


def test_a_note_is_written_from_the_page(opened: Callable[..., Page], shown: Client) -> None:
    key = key_of(shown, "lr1-seed1")
    page = opened(f"tab=run&run={key}")
    page.locator("input[aria-label=Tags]").fill("good, again")
    page.locator("textarea").fill("a note")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved in notes.json").wait_for()
    kept = json.loads((shown.server.watch.folder / key / "notes.json").read_text())
    assert kept == {"tags": ["good", "again"], "note": "a note"}
    assert page.locator("#list .tag").all_inner_texts().count("good") == 1
