"""What does it cost before anything is trained? Start-up times, and the size of an installation.

python benchmarks/startup.py [--rounds 20]      needs a package index: dltrain is installed into a fresh environment

`--help` is timed beside two empty typer apps, in turn: one set as dltrain's is (plain help), one left as typer comes.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import record

ROOT = Path(__file__).parents[1]
EMPTY_APP = """
import typer

app = typer.Typer({settings})


@app.command()
def main(name: str) -> None:
    "Nothing."


app()
"""
PLAIN = "rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False"
NOT_SOURCE = (".*", "build", "runs", "*.egg-info", "__pycache__", "*.so")  # what an earlier build left must not count
TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")


def seconds(command: list[str], folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run(
        command, check=True, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - started


def environment() -> dict[str, str]:
    """Without paths that would lead to another copy of dltrain than the installed one."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}


def in_turn(commands: dict[str, list[str]], rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    for command in commands.values():
        seconds(command, folder)  # the first call writes and reads what later ones find in memory
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(seconds(command, folder))
    return {
        name: {"median_s": round(median(found), 4), "best_s": round(min(found), 4)} for name, found in times.items()
    }


def imported(python: Path, folder: Path) -> list[str]:
    """Of the large packages, those that `dltrain --help` imports."""
    command = [str(python), "-X", "importtime", "-m", "dltrain", "--help"]
    report = subprocess.run(command, check=True, cwd=folder, env=environment(), capture_output=True, text=True).stderr
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in report.splitlines()}
    if "dltrain" not in names:
        raise SystemExit("python -X importtime says nothing of dltrain")
    return sorted(names & {"numpy", "cupy", "rich", "pydantic", "yaml", "PIL", "torch"})


def installed(site: Path) -> dict[str, Any]:
    """Megabytes (10^6 bytes) of the files in site-packages without pip's and setuptools', and the largest parts."""
    parts = {
        entry.name: sum(file.stat().st_size for file in [entry, *entry.rglob("*")] if file.is_file())
        for entry in site.iterdir()
        if not entry.name.startswith(TOOLS)
    }
    largest = sorted(parts, key=lambda name: -parts[name])[:8]
    return {
        "total_mb": round(sum(parts.values()) / 1e6, 1),
        "largest_mb": {name: round(parts[name] / 1e6, 1) for name in largest},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    record.forbid_blas_settings()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, env=environment())
        python, dltrain = folder / "venv/bin/python", str(folder / "venv/bin/dltrain")
        shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*NOT_SOURCE))
        command: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            folder / "source",
        ]
        subprocess.run(command, check=True, env=environment())
        (site,) = (folder / "venv/lib").glob("python*/site-packages")
        size = installed(site)
        for name, settings in (("empty", PLAIN), ("default", "")):
            (folder / f"{name}.py").write_text(EMPTY_APP.format(settings=settings))
        empty = {name: [str(python), str(folder / f"{name}.py"), "--help"] for name in ("empty", "default")}
        times = in_turn({"dltrain --help": [dltrain, "--help"], **empty}, arguments.rounds, folder)
        runs = ["--runs-dir", str(folder / "runs")]
        times |= in_turn(
            {
                "dltrain validate cifar_cnn": [dltrain, "validate", "cifar_cnn"],
                "dltrain fit smoke": [dltrain, "fit", "smoke", *runs],
                "dltrain fit digits_cnn --smoke": [dltrain, "fit", "digits_cnn", "--smoke", *runs],
            },
            max(1, arguments.rounds // 4),
            folder,
        )
        help_ = times["dltrain --help"]["median_s"]
        figures = {
            "times": times,
            "help_over_empty_app": round(help_ / times["empty"]["median_s"], 3),
            "help_over_empty_app_as_typer_comes": round(help_ / times["default"]["median_s"], 3),
            "help_imports": imported(python, folder),
            "installed": size,
        }
    for name, row in times.items():
        print(f"{name:<32}{row['median_s']:>9.3f} s{row['best_s']:>9.3f} s at best")
    for name in ("help_over_empty_app", "help_over_empty_app_as_typer_comes", "help_imports", "installed"):
        print(f"{name}: {figures[name]}")
    record.write("startup", figures)


if __name__ == "__main__":
    main()
