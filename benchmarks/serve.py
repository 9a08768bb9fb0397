"""How long does the live page take with many runs? First paint, curves, and the way of a new row to the screen.

python benchmarks/serve.py [--runs 1000] [--rows 2000] [--long 2000000]   needs Chromium and `pip install playwright`

Runs are made up, one of them still trains. First paint is that of a server that has just started. `--long` is one run
more with so many rows. An update is timed from the write of a row to the frame in which a chart has it.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import exp, sin
from pathlib import Path
from statistics import median
from typing import Any

import record
from playwright.sync_api import Page, sync_playwright

from dltrain.run.rundir import RunDir

UPDATES = 40
# Remembers every chart that is made, and waits for the frame in which one of them reaches a step.
WATCH = """
window.plots = [];
Object.defineProperty(window, "uPlot", { configurable: true, set(made) {
  const construct = (of, words) => { const plot = new of(...words); plots.push(plot); return plot; };
  const watched = new Proxy(made, { construct });
  Object.defineProperty(window, "uPlot", { value: watched, configurable: true });
} });
window.reaches = step => new Promise(done => {
  const look = () => plots.some(p => p.root.isConnected && p.data[0].at(-1) >= step)
    ? requestAnimationFrame(() => done(Date.now() / 1000)) : requestAnimationFrame(look);
  look();
});
"""


def row(step: int, of: int) -> dict[str, Any]:
    loss = 2.3 * exp(-step / 500) + 0.05 * (1.1 + sin(step * 12.9898 + of))
    return {
        "event": "step", "epoch": 1 + step // 100, "step": step, "loss": loss, "data_loss": loss, "penalty": 0.0,
        "accuracy": max(0.0, 1 - loss / 2.4), "lr": 0.001, "gradient_norm": 3 * loss, "examples_per_second": 2100.5,
    }  # fmt: skip


def make(folder: Path, runs: int, rows: int, long: int) -> RunDir:
    """Returns the one that trains."""
    for number in range(runs + bool(long)):
        run = RunDir.create(folder, f"run{number}", "seed: 0\n", "seed: 0\n", {})
        count = long if number == runs else rows
        with open(run.metrics, "w") as file:
            for step in range(1, count + 1):
                file.write(json.dumps(row(step, number)) + "\n")
                if step % 100 == 0 and number < runs:
                    figures = {"loss": row(step, number)["loss"], "accuracy": 0.9}
                    epoch = {
                        "event": "epoch",
                        "epoch": step // 100,
                        "step": step,
                        "train": figures,
                        "validation": figures,
                    }
                    file.write(json.dumps(epoch | {"seconds": 1.0}) + "\n")
        if number != runs - 1:
            final = {"loss": row(count, number)["loss"], "accuracy": 0.9}
            run.end(status="done", epochs=count // 100, steps=count, train=final, validation=final)
        else:
            live = run
    return live


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, int]]:
    """The address, and the process."""
    command = [sys.executable, "-m", "dltrain", "serve", str(folder), "--json", "--quiet"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    try:
        yield json.loads(server.stdout.readline())["url"], server.pid
    finally:
        server.terminate()
        server.wait()


def megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * 4096 / 2**20, 1)


def opened(page: Page, url: str, on: list[str]) -> dict[str, float]:
    """Seconds from the start of the navigation."""
    page.goto(f"{url}#" + "&".join(f"on={key}" for key in on))
    page.evaluate("() => reaches(1)")
    marks = "performance.getEntriesByName('{}')[0].startTime / 1000"
    paint = page.evaluate(f"() => {marks.format('first-contentful-paint')}")
    return {
        "first_paint": round(paint, 3),
        "list": round(page.evaluate(f"() => {marks.format('listed')}"), 3),
        "curves": round(page.evaluate("() => performance.now() / 1000"), 3),
    }


def updates(page: Page, live: RunDir, last: int) -> dict[str, float]:
    times = []
    for step in range(last + 1, last + 1 + UPDATES):
        time.sleep(0.13 + 0.011 * (step % 17))  # at no fixed place between two looks of the server
        page.evaluate("step => { window.reached = reaches(step) }", step)
        written = time.time()
        live.append(live.metrics, row(step, 0))
        times.append(page.evaluate("() => window.reached") - written)
    return {"median": round(median(times), 3), "slowest": round(max(times), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--long", type=int, default=0)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as place, sync_playwright() as player:
        folder = Path(place) / "runs"
        live = make(folder, options.runs, options.rows, options.long)
        names = sorted(path.name for path in folder.iterdir())
        browser = player.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        found: dict[str, Any] = {"runs": len(names), "rows": options.runs * options.rows + options.long}
        for what, on in (("one ticked", [live.path.name]), ("twenty ticked", [*names[:19], live.path.name])):
            with served(folder) as (url, pid):
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.add_init_script(WATCH)
                seconds = opened(page, url, on)
                page.evaluate("step => reaches(step)", options.rows)
                last = len(live.rows(live.metrics)) - options.rows // 100
                found[what] = {**seconds, "update": updates(page, live, last), "server_mb": megabytes(pid)}
                page.close()
        if options.long:
            with served(folder) as (url, pid):
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                page.add_init_script(WATCH)
                seconds = opened(page, url, [names[-1]])
                page.evaluate("step => reaches(step)", options.long)
                whole = round(page.evaluate("() => performance.now() / 1000"), 1)
                found["one long run"] = {**seconds, "whole": whole, "server_mb": megabytes(pid)}
        live.end(status="done")
        browser.close()
    print(json.dumps(found, indent=2))
    record.write("serve", found)


if __name__ == "__main__":
    main()
