"""The figures of pictures on the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.cli import console

if TYPE_CHECKING:
    from dltrain.job.loader import DataLoader
    from dltrain.run.rundir import RunDir
    from dltrain.spec import Restored


def show_figures(kept: dict[str, Any]) -> None:
    """kept: what a run keeps of them; nothing is shown where there is nothing."""
    from dltrain.report.picture_table import figure_table, notes

    if not kept:
        return
    console.result_text("")
    console.result_table(*figure_table(kept))
    for note in notes(kept):
        console.info(note)


def measure_figures(
    restored: "Restored",
    directory: "RunDir",
    checkpoint: str,
    split: str,
    loader: "DataLoader",
    data_dir: Path,
    same_data: bool,
) -> dict[str, Any]:
    """The figures of pictures that the run's config asks for, of the examples of a split; kept in the run. {} where it
    asks for none."""
    from dltrain.evaluation.picture_figures import figures_to_keep, measure
    from dltrain.evaluation.pictures import Pictures
    from dltrain.run.files import to_json
    from dltrain.run.rundir import figures_file
    from dltrain.spec import build_figures, examples_of, find_judges

    spec = restored.spec
    if not spec.metrics.pictures:
        return {}
    judges = find_judges(spec, directory.path.parent, restored.device.name)
    asked = build_figures(spec, restored.values, judges)
    made_by = Pictures(restored.values, restored.checkpoint.preprocessing, restored.device, spec.train.batch_size)
    train = loader if split == "train" else examples_of(restored, "train", data_dir)[0]
    held_out = None if split == "train" else split
    rows = measure(asked, made_by, {"train": train, split: loader}, held_out, judges)
    kept = figures_to_keep(rows, judges, split, checkpoint, same_data=same_data)
    directory.keep(figures_file(split), to_json(kept))
    return kept
