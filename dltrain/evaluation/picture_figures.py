"""The figures of pictures that a config asks for, and of the sentences that networks tell, each with what stands
beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from safetensors.numpy import save

from dltrain.backend import to_host
from dltrain.evaluation.pictures import Pictures, pictures_of
from dltrain.evaluation.sentence_figures import Judged, judge_sentences
from dltrain.job.job import Job
from dltrain.job.judge import Judge
from dltrain.job.loader import DataLoader
from dltrain.metrics.figures import COPY, MATCHED, MEAN, NOISE, REAL, Asked
from dltrain.metrics.figures import Pictures as Set
from dltrain.random import generator
from dltrain.run.files import to_json
from dltrain.run.rundir import figures_file, told_file
from dltrain.run.sink import Sink

Array = Any
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Part:
    """Examples of a loader, from `start` on."""

    loader: DataLoader
    start: int
    size: int


def parts_of(loaders: dict[str, DataLoader], split: str | None) -> tuple[Part, Part, str]:
    """Held-out examples, training examples, and which the former are: those of a split, or, where nothing is held out,
    the second half of the training part."""
    train = loaders["train"]
    if split is None:
        half = train.size // 2
        return Part(train, half, train.size - half), Part(train, 0, half), "train"
    held = loaders[split]
    return Part(held, 0, held.size), Part(train, 0, train.size), split


def judge(job: Job, sink: Sink, between: Callable[[], None]) -> dict[str, float | None] | None:
    """The figures that the config asks for and those of sentences, of held-out examples where there are any, by name;
    None where there are none. The sink keeps them with what stands beside them, and by which weights they were
    judged."""
    for each in job.judges.values():
        sink.note(f"judge {each.name}: {each.run}, weights sha256 {each.weights_sha256}")
    rows = measure(job.asked, pictures_of(job), job.loaders, job.held_out, job.judges, between)
    train, split = job.loaders["train"], job.held_out or "train"
    about = job.updates, job.preprocessing, train, job.loaders[split], job.device, job.train.batch_size
    sentences = judge_sentences(*about, job.write, job.seed, between)
    if not rows and not sentences:
        return None
    rows += sentences.rows if sentences else []
    keep_figures(figures_to_keep(rows, job.judges, split, "last", same_data=True), sentences, sink)
    return {row["name"]: row["value"] for row in rows}


def keep_figures(kept: Row, sentences: Judged | None, sink: Sink) -> None:
    if sentences:
        kept["sentences"] = sentences.shown
        sink.keep(told_file(kept["split"]), save({"inputs": np.ascontiguousarray(sentences.inputs)}))
    sink.keep(figures_file(kept["split"]), to_json(kept))


def decide(job: Job) -> dict[str, float | None]:
    """The figure that `metrics.best` names, of validation examples; nothing where it names none, or where a smoke test
    has no judge."""
    wanted = [asked for asked in job.asked if asked.key == job.metrics.best]
    return {
        each.key: _Measurement(each, pictures_of(job), job.loaders, "validation", job.judges).value()
        for each in wanted
        if has_judge(each, job.judges)
    }


def has_judge(asked: Asked, judges: dict[str, Judge]) -> bool:
    """Whether its judge, if it has one, is there. In a smoke test it may not be, which has said so."""
    name = asked.figure.setting("in_")
    return not name or name in judges


def figures_to_keep(rows: list[Row], judges: dict[str, Judge], split: str, checkpoint: str, *, same_data: bool) -> Row:
    """What a run keeps of them: as `save_analysis` of other figures."""
    told = {name: {"run": str(each.run), "weights_sha256": each.weights_sha256} for name, each in judges.items()}
    return {"split": split, "checkpoint": checkpoint, "same_data": same_data, "judges": told, "figures": rows}


def measure(
    asked: Sequence[Asked],
    made_by: Pictures,
    loaders: dict[str, DataLoader],
    split: str | None,
    judges: dict[str, Judge],
    between: Callable[[], None] = lambda: None,
) -> list[Row]:
    """{"name", "figure", "of", "to", "in", "examples", "better", "value", "baselines"} of each figure, in order.

    split: of the held-out examples, see `parts_of`. between: called before each figure; may raise to end it.
    """
    rows = []
    for each in asked:
        if not has_judge(each, judges):
            continue
        between()
        rows.append(_Measurement(each, made_by, loaders, split, judges).row())
    return rows


def finite(value: float | None) -> float | None:
    """None of what is no number: a network's pictures may be anything."""
    return value if value is not None and isfinite(value) else None


class _Measurement:
    """One figure: of the value, and of what stands beside it."""

    def __init__(
        self,
        asked: Asked,
        made_by: Pictures,
        loaders: dict[str, DataLoader],
        split: str | None,
        judges: dict[str, Judge],
    ):
        self.asked, self.figure, self.made_by = asked, asked.figure, made_by
        self.held, self.training, _ = parts_of(loaders, split)
        self.to: str | None = self.figure.setting("to")
        self.judge = judges.get(self.figure.setting("in_") or "")
        self.copied = made_by.source_of(asked.of)
        self.count = asked.examples
        if self.to or made_by.need_examples([asked.of]):
            self.count = min(self.count, self.held.size)

    def value(self) -> float | None:
        made, real = self.compared()
        return finite(self.figure(made, real or made))

    def compared(self) -> tuple[Set, Set | None]:
        real = self.real(self.figure.against) if self.figure.against else None
        return self.of_values(self.asked.of, self.held, self.count), real

    def row(self) -> Row:
        made, real = self.compared()
        beside = {name: pictures for name in self.figure.baselines if (pictures := self.baseline(name, made))}
        measured = {name: finite(self.figure(pictures, real or pictures)) for name, pictures in beside.items()}
        row: Row = {"name": self.asked.name, "figure": self.asked.type, "of": self.asked.of, "to": self.to}
        row |= {"in": self.judge.name if self.judge else None, "examples": self.count, "better": self.figure.better}
        return row | {"value": finite(self.figure(made, real or made)), "baselines": measured}

    def baseline(self, name: str, made: Set) -> Set | None:
        """None where there can be none."""
        if name == COPY or name in MATCHED:
            if self.copied is None:
                return None
            copy = self.of_values(self.copied, self.held, self.count)
            pixels = np.broadcast_to(copy.pixels, made.pixels.shape)  # grey ones stand beside colours
            if name in MATCHED:
                pixels = MATCHED[name](pixels, self.real("held out").pixels)
            return Set(pixels, copy.where, copy.classes, self.judge)
        if name == NOISE:
            drawn = generator(0, "baseline", "noise").random(made.pixels.shape, np.float32)
            return Set(drawn, made.where, made.classes, self.judge)
        if self.to is None:
            return None
        if name == REAL and self.figure.setting("as_") in self.made_by.values:
            return None  # other pictures are of other classes
        if name == REAL:
            return self.real("training" if self.figure.against == "held out" else "held out")
        assert name == MEAN
        mean = self.real("training").pixels.mean(axis=0, dtype=np.float64).astype(np.float32)
        return Set(np.broadcast_to(mean, made.pixels.shape), made.where, made.classes, self.judge)

    def real(self, part: str) -> Set:
        """Real pictures: as many as are made, or, to look for the nearest one, all that there were to train on."""
        assert self.to
        training = part == "training"
        among = training and self.figure.against == "training"
        here = self.training if training else self.held
        return self.of_values(self.to, here, here.size if among else min(self.count, here.size))

    def of_values(self, name: str, part: Part, count: int) -> Set:
        """count pictures of a value, with what the figure has to know of their examples."""
        region, wanted = self.figure.setting("where"), self.figure.setting("as_")
        names = [name, *([region.value, *([region.like] if region.like else [])] if region else [])]
        needed = self.made_by.need_examples(names) or wanted in self.made_by.values
        loader = part.loader if needed else None
        found = self.made_by.make(names, loader, count, part.start)
        where = region(found[region.value], found.get(region.like)) if region else None
        return Set(found[name], where, self.classes(part, count), self.judge)

    def classes(self, part: Part, count: int) -> Array | int | None:
        """What each picture is to be taken for."""
        wanted = self.figure.setting("as_")
        if wanted is None:
            return None
        if wanted in self.made_by.values:
            return to_host(part.loader.values(part.loader.rows(part.start, part.start + count))[wanted])
        assert self.judge
        return self.judge.number_of(wanted)
