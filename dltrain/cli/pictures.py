"""`dltrain predict [RUN] --value NAME`: pictures that a run's networks make."""

from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.cli import console

if TYPE_CHECKING:
    from dltrain.run.rundir import RunDir
    from dltrain.spec import Restored

SPLITS = ("test", "validation", "train")


def draw_pictures(
    restored: "Restored",
    directory: "RunDir",
    names: list[str],
    count: int,
    seed: int,
    output: Path | None,
    data_dir: Path,
    json: bool,
) -> None:
    """Pictures of values, those of the examples that they are made of beside them, as a grid. Raises DltrainError."""
    import numpy as np

    from dltrain.errors import ConfigError, DataError
    from dltrain.evaluation.pictures import Pictures, is_picture
    from dltrain.report.grid import draw_values, to_bytes, write_picture
    from dltrain.run.files import require_ending
    from dltrain.spec import examples_of
    from dltrain.spec.nodes import allowed

    made_by = Pictures(
        restored.values, restored.checkpoint.preprocessing, restored.device, restored.spec.train.batch_size
    )
    pictures = [name for name, value in restored.values.items() if is_picture(value.shape)]
    for name in names:
        if name not in pictures:
            raise ConfigError(f"--value {name}: no picture is called so in {directory.path}{allowed(name, pictures)}")
    if output is None:
        raise ConfigError("--value makes pictures; --output FILE.png says where they go")
    require_ending(output, ".png")
    sources = [source for name in names if (source := made_by.source_of(name)) is not None]
    shown = list(dict.fromkeys([*sources, *names]))
    loader = None
    if made_by.need_examples(shown):
        for split in SPLITS:
            with nullcontext() if split == "train" else suppress(DataError):
                loader, _ = examples_of(restored, split, data_dir)
                count = min(count, loader.size)
                console.info(f"run {directory.path}: the first {count:,} {split} examples")
                break
    with np.errstate(all="ignore"):
        found = made_by.make(shown, loader, count, seed=seed)
    write_picture(output, draw_values(", ".join(shown), {name: to_bytes(shades) for name, shades in found.items()}))
    if json:
        console.result_json({"run": str(directory.path), "values": shown, "count": count, "picture": str(output)})
    else:
        console.result_text(str(output))
