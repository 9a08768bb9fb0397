"""Examples of a data set as the network sees them."""

from typing import Any

import numpy as np
from PIL import Image

from dltrain.backend import to_host
from dltrain.data import Preprocessing
from dltrain.job.job import Job
from dltrain.job.loader import DataLoader, StepKey
from dltrain.random import permutation
from dltrain.report.grid import Row, Tile, draw_rows, to_pixels

Array = Any
EACH = 5  # examples in a row: as they are, and again as augmented
MOST_ROWS = 20


def sample_grid(job: Job, step_key: StepKey) -> Image.Image:
    """A row for each class, or rows of examples with their targets. Raises DataError where they are no images."""
    loader, preprocessing = job.loaders["train"], job.preprocessing
    classes = preprocessing.classes if job.loss.classification else None
    targets = loader.targets()
    order = permutation(loader.size, step_key.seed, "order", epoch=1)
    rows = []
    if classes is None:
        for start in range(0, min(len(order), 4 * EACH), EACH):
            chosen = order[start : start + EACH]
            captions = [", ".join(f"{value:.3g}" for value in targets[i][:3]) for i in chosen]
            rows.append(Row("", _tiles(loader, chosen, step_key, preprocessing, captions)))
    else:
        for number, name in enumerate(classes[:MOST_ROWS]):
            chosen = order[targets[order] == number][:EACH]
            if len(chosen):
                rows.append(Row(name, _tiles(loader, chosen, step_key, preprocessing, [""] * len(chosen))))
    kind = "examples, and the same augmented" if loader.augment else "examples"
    return draw_rows(f"Training {kind}", rows)


def _tiles(
    loader: DataLoader, chosen: Array, step_key: StepKey, learned: Preprocessing, captions: list[str]
) -> list[Tile]:
    plain = to_pixels(to_host(loader.examples(chosen)[0]), learned)
    tiles = [Tile(image, caption) for image, caption in zip(plain, captions, strict=True)]
    if loader.augment:
        changed = to_pixels(to_host(loader.examples(chosen, int(chosen[0]), step_key)[0]), learned)
        tiles += [Tile(np.ascontiguousarray(image), marked=True) for image in changed]
    return tiles
