"""The sentences that networks tell of held-out examples, wrong words marked."""

from difflib import SequenceMatcher
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load

from dltrain.data import Pixels
from dltrain.errors import RunError
from dltrain.report.data_uri import image_uri
from dltrain.report.picture_table import kept_figures
from dltrain.report.record import Record
from dltrain.run.reader import read_bytes
from dltrain.run.rundir import told_file

Row = dict[str, Any]
Words = list[tuple[str, bool]]  # each with whether it is marked
MOST_BYTES = 1 << 26  # of the file with what they are about


def sentences(record: Record) -> list[Row]:
    """{"picture", "said", "wanted"}: the words that are wrong or too many are marked in what was said, and those that
    were not said in what was wanted; the latter is None where all is right, the former's picture where there is none.
    """
    kept = kept_figures(record.run)
    told = kept.get("sentences", [])
    pixels = Pixels.described(record.description.get("data", {}))
    try:
        file = record.run.path / told_file(str(kept.get("split")))
        inputs: list[Any] = [*load(read_bytes(file, MOST_BYTES))["inputs"]]
    except (RunError, OSError, ValueError, KeyError, SafetensorError):
        inputs = []
    pictures = [image_uri(each, pixels) for each in inputs] if len(inputs) == len(told) else [None] * len(told)
    return [{"picture": p} | marked(row["wanted"], row["said"]) for p, row in zip(pictures, told, strict=True)]


def marked(wanted: list[str], said: list[str]) -> Row:
    """{"said", "wanted"} as `sentences` has them."""
    found = SequenceMatcher(None, wanted, said, autojunk=False).get_matching_blocks()
    right = {block.b + i for block in found for i in range(block.size)}
    heard = {block.a + i for block in found for i in range(block.size)}
    return {
        "said": [(word, i not in right) for i, word in enumerate(said)],
        "wanted": None if wanted == said else [(word, i not in heard) for i, word in enumerate(wanted)],
    }


def headline(record: Record) -> list[tuple[str, str, str]]:
    """(share of sentences that are right, what it is, note), for the top of the page; nothing where none are told."""
    kept = kept_figures(record.run)
    rows = [row for row in kept.get("figures", []) if row["figure"] == "exact_match"]
    shown = [
        (row, ", ".join(f"{name} {100 * value:.0f} %" for name, value in row["baselines"].items())) for row in rows
    ]
    return [(f"{100 * row['value']:.1f} %", f"{kept['split']} sentences right", note) for row, note in shown]
