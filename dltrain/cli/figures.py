"""The figures of pictures and sentences on the terminal."""

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
    """The figures of pictures that the run's config asks for, and of sentences that its networks tell, of the examples
    of a split; kept in the run. {} where there are none."""
    from dltrain.evaluation.picture_figures import figures_to_keep, keep_figures, measure
    from dltrain.evaluation.pictures import Pictures
    from dltrain.evaluation.sentence_figures import judge_sentences
    from dltrain.evaluation.sentences import told_by
    from dltrain.spec import build_figures, examples_of, find_judges

    spec = restored.spec
    if not spec.metrics.pictures and not told_by(term for update in restored.updates for term in update.terms):
        return {}
    smoke = directory.last_status().get("smoke") is True  # which did without judges that there are not
    judges = find_judges(spec, directory.path.parent, restored.device.name, smoke)
    asked = build_figures(spec, restored.values, judges)
    made_by = Pictures(restored.values, restored.checkpoint.preprocessing, restored.device, spec.train.batch_size)
    train = loader if split == "train" else examples_of(restored, "train", data_dir)[0]
    held_out = None if split == "train" else split
    rows = measure(asked, made_by, {"train": train, split: loader}, held_out, judges)
    learned, size = restored.checkpoint.preprocessing, spec.train.batch_size
    sentences = judge_sentences(restored.updates, learned, train, loader, restored.device, size, spec.write, spec.seed)
    rows += sentences.rows if sentences else []
    kept = figures_to_keep(rows, judges, split, checkpoint, same_data=same_data)
    keep_figures(kept, sentences, directory)
    return kept
