"""The figures of pictures and sentences as a table, for the terminal and the page, each beside its baselines."""

from typing import Any

from dltrain.errors import RunError
from dltrain.metrics import figures, text
from dltrain.metrics.row import figure_text
from dltrain.run.reader import read_json
from dltrain.run.rundir import RunDir, figures_file

Row = dict[str, Any]
NOTHING = "–"
FRECHET = (
    "A Fréchet distance depends on its judge and on the number of examples: compare it with others of the same judge, "
    "and with that of real pictures beside it, but not with published values."
)
SENTENCES = (
    "Of sentences, nearest is that of the training example that is nearest in what they are about, and blind what the "
    "network says of the mean of all."
)


def kept_figures(run: RunDir) -> Row:
    """What is kept of the test examples, or else of those for validation or training; {} where there is nothing."""
    for split in ("test", "validation", "train"):
        try:
            return read_json(run.path / figures_file(split))
        except RunError:
            continue
    return {}


def figure_table(kept: Row) -> tuple[list[str], list[list[str]]]:
    """Columns and rows, those of baselines that some figure has. Raises LookupError where they are damaged."""
    known = (*figures.BASELINES, *text.BASELINES)
    there = [name for name in known if any(name in row["baselines"] for row in kept["figures"])]
    rows = []
    for row in kept["figures"]:
        values = [row["value"], *(row["baselines"].get(name) for name in there)]
        rows.append([row["name"], *(NOTHING if v is None else figure_text(float(v)) for v in values), row["better"]])
    return ["figure", "value", *there, "better"], rows


def notes(kept: Row) -> list[str]:
    """What has to be said with the table, a line each."""
    counts = {row["examples"] for row in kept["figures"]}
    found = [f"Measured on {max(counts):,} {kept['split']} examples{' at most' if len(counts) > 1 else ''}."]
    for name, judge in kept["judges"].items():
        found.append(f"{name} is {judge['run']}, weights sha256 {judge['weights_sha256'][:16]}…")
    if any(row["figure"] == "exact_match" for row in kept["figures"]):
        found.append(SENTENCES)
    return found + ([FRECHET] if any(row["figure"] == "frechet" for row in kept["figures"]) else [])
