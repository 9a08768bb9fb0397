"""Several ranks give the bits of one, whatever their number. Here they are threads; test_ranks_mpi.py has processes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import EVERY_LAYER, Silent, make_job, rows, tree_sum, weights_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_parallel import Term
from test_train_bits import configured, job_of
from together import Meeting, Thread, together, train_together

from dltrain.backend import Ranks
from dltrain.backend.packed import pack, unpack
from dltrain.data.pictures.image_folder import ImageFiles
from dltrain.errors import ConfigError, DivergedError, Interrupted, RankError
from dltrain.job import parallel
from dltrain.job.job import Job
from dltrain.job.parallel import ThreadPool, owner_of, run_of
from dltrain.run.checkpoint import weights_sha256
from dltrain.run.sink import Nothing
from dltrain.spec.shards import require_shards
from dltrain.train import loop, step
from dltrain.train.stopping import Signals

ALONE = Ranks()


# --- who computes what, and how it is added up -----------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 12))
def test_every_shard_has_one_rank_and_rank_0_has_the_first(count: int, ranks: int) -> None:
    runs = [run_of(rank, ranks, count) for rank in range(ranks)]
    assert [shard for run in runs for shard in run] == list(range(count))
    assert [owner_of(shard, ranks, count) for shard in range(count)] == [
        rank for rank, run in enumerate(runs) for _ in run
    ]
    assert 0 in runs[0] and max(map(len, runs)) - min(map(len, runs)) <= 1


@given(st.integers(1, 24), st.integers(2, 6))
@settings(deadline=None, max_examples=30)
def test_the_sum_is_that_of_one_process(count: int, size: int) -> None:
    """In text, so that every bracket shows."""
    expected = tree_sum([Term(str(shard)) for shard in range(count)]).text

    def added(ranks: Ranks) -> str:
        pool = ThreadPool(2, ranks)
        found = pool.tree_sum(count, lambda shard: {"x": Text(str(shard))})["x"]
        pool.close()
        return str(np.asarray(found).item())

    assert {*together(size, added)} == {expected}


class Text(np.ndarray):
    """A text as an array that is packed, and that adds up to `(a+b)`."""

    def __new__(cls, text: str) -> "Text":
        return np.array(text).view(cls)

    def __add__(self, other: Any) -> "Text":  # type: ignore[override]
        return Text(f"({self.item()}+{np.asarray(other).item()})")


def test_a_rank_reads_only_its_own_examples() -> None:
    """Of 70 in batches of 22, which are shards of 6, 6, 6 and 4."""
    whole = np.arange(70) * 3
    own = [ThreadPool(1, Thread(Meeting(3), rank)).own(whole, 22, 6).tolist() for rank in range(3)]
    assert own[0][:12] == whole[:12].tolist() and own[1][:6] == whole[12:18].tolist()
    assert sorted(example for examples in own for example in examples) == whole.tolist()
    assert ThreadPool(1).own(whole, 22, 6) is whole


# --- what goes from rank to rank -------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_arrays_arrive_with_the_order_of_their_axes(axes: tuple[int, ...]) -> None:
    """numpy adds up in that order, so bits depend on it."""
    x = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32).transpose(axes)
    arrays = {"x": x, "zero": np.float64(-0.0), "none": np.empty((0, 3), np.int64), "é": np.array([True, False])}
    found = unpack(pack(arrays))
    assert [*found] == [*arrays]
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    assert found["x"].strides == x.strides


# --- whole trainings -------------------------------------------------------------------------------------------------


def pictures(folder: Path) -> Job:
    """48 files of two classes, each decoded when it is asked for."""
    if not (folder / "train").exists():
        rng = np.random.default_rng(0)
        for split, count in (("train", 48), ("test", 12)):
            for number in range(count):
                (folder / split / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 128, (6, 5, 3)) + 100 * (number % 2)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / "ab"[number % 2] / f"{number}.png")
        (folder / "pictures.yaml").write_text(f"""\
data: {{type: image_folder, path: {folder}, size: [6, 5], memory: 0}}
model: {{layers: [flatten, {{dense: 4}}, {{dense: {{units: 2, activation: none}}}}]}}
train: {{epochs: 2, batch_size: 20, shard_size: 4}}
""")
    return configured(str(folder / "pictures.yaml"), folder)


TRAININGS: dict[str, Callable[[Path], Job]] = {
    **{net: lambda folder, net=net: job_of(net, clip_norm=1.0) for net in EVERY_LAYER},  # type: ignore[misc]
    "accumulated": lambda folder: job_of("deep", batch_size=7, accumulate=3),
    "averaged": lambda folder: job_of("max", average=0.9),
    "an early stop": lambda folder: make_job(
        splits={"train": rows(70), "validation": rows(40, seed=1)}, epochs=6,
        early_stopping={"patience": 1, "min_delta": 0.05}, metrics={"best": "auc"},
    ),
    "mixup": lambda folder: configured("smoke", folder, "data.mixup=0.4", "train.max_steps=8", "train.shard_size=7"),
    "a game": lambda folder: configured("digits_gan", folder, "train.max_steps=4", "train.shard_size=8"),
    "pictures on demand": pictures,
}  # fmt: skip


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in ("seconds", "examples_per_second")} for row in rows]


@pytest.mark.parametrize("name", TRAININGS)
def test_weights_and_figures_do_not_depend_on_ranks(name: str, tmp_path: Path) -> None:
    found = []
    for size, threads in ((1, 2), (2, 1), (3, 2)):
        jobs, seen = train_together(lambda: TRAININGS[name](tmp_path), size, threads)
        hashes = {weights_sha256(weights_of(job)) for job in jobs}
        assert len(hashes) == 1, "the ranks have other weights"
        epochs = [(without_times([row]), layers) for row, layers in seen.epochs]
        found.append((hashes, without_times(seen.steps), epochs))
    assert found[1] == found[0] and found[2] == found[0]


def test_another_order_of_the_sum_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a reduction by MPI would have it: each rank's shards in a row, then the ranks."""
    expected = weights_sha256(weights_of(train_together(lambda: job_of("deep"), 1)[0][0]))

    def finish(ranks: Ranks, count: int, waiting: dict[Any, Any]) -> Any:
        parts = [waiting[at] for at in sorted(waiting)]
        mine = {name: sum(part[name] for part in parts) for name in parts[0]} if parts else {}
        told = [part for part in ranks.gather(mine) if part]
        return {name: sum(part[name] for part in told) for name in told[0]}

    monkeypatch.setattr(parallel, "finish", finish)
    jobs, _ = train_together(lambda: job_of("deep"), 3)
    assert {weights_sha256(weights_of(job)) for job in jobs} != {expected}


def test_each_picture_is_decoded_by_one_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path)
    plain, read = ImageFiles.example, list[str]()

    def example(files: ImageFiles, index: int) -> Any:
        read.append(str(files.paths[index]))
        return plain(files, index)

    def job() -> Job:
        return replace(pictures(tmp_path), train=replace(pictures(tmp_path).train, epochs=1))

    jobs = [job(), job(), job()]
    monkeypatch.setattr(ImageFiles, "example", example)
    train_together(lambda: jobs.pop(), 3)
    trained = [name for name in read if "/train/" in name]
    assert len({*trained}) == 48 and len(trained) == 48


# --- how it ends -----------------------------------------------------------------------------------------------------


def test_other_weights_on_a_rank_end_it_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loop.train_step

    def flipped(job: Job, pool: ThreadPool, *more: Any) -> Any:
        if pool.ranks.rank == 1 and pool.ranks.step == 3:
            next(iter(job.model.parameters.values())).data[...] *= 1 + 1e-6
        return plain(job, pool, *more)

    monkeypatch.setattr(loop, "train_step", flipped)
    with pytest.raises(RankError, match=r"after step 4 the weights of rank 1 on \S+ are not those of rank 0 on"):
        train_together(lambda: job_of("max"), 2)


def test_what_is_not_finite_on_one_rank_ends_all_in_that_step(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, ended = step.shard_sums, list[str]()

    def broken(job: Job, update: Any, inputs: Any, shard: int, *more: Any) -> Any:
        sums = plain(job, update, inputs, shard, *more)
        return {n: a * np.nan for n, a in sums.items()} if (inputs.key.step, shard) == (2, 3) else sums

    monkeypatch.setattr(step, "shard_sums", broken)

    def train(ranks: Ranks) -> None:
        with pytest.raises(DivergedError) as raised:
            loop.fit(job_of("max"), Nothing(Path("nowhere")), 1, Silent(), None, ranks)
        ended.append(str(raised.value))

    together(2, train)
    assert len(ended) == 2 and len({*ended}) == 1 and "diverged at step 2 (epoch 1)" in ended[0]


def test_a_signal_to_any_rank_ends_all_at_the_same_point() -> None:
    def hear(ranks: Ranks) -> str:
        signals = Signals(ranks)
        for moment in range(5):
            if (ranks.rank, moment) == (2, 3):
                signals.caught = 15
            signals.meet()
            try:
                signals.check(Path("there"))
            except Interrupted as error:
                return f"{moment} {error.exit_code} {error}"
        return "never"

    (told,) = {*together(3, hear)}
    assert told.startswith("3 143 stopped by SIGTERM (rank 2 on ") and told.endswith(
        "; the training so far is saved in there"
    )


def test_while_rank_0_works_by_itself_the_others_hear_of_signals() -> None:
    def work(ranks: Ranks) -> str:
        signals = Signals(ranks)
        if ranks.rank == 1:
            signals.caught = 15

        def endless() -> None:
            while True:
                signals.meet()
                signals.check(Path("there"))

        with pytest.raises(Interrupted):
            signals.alone(Path("there"), endless)
        return "ended"

    assert together(3, work) == ["ended"] * 3


@pytest.mark.parametrize(
    ("job", "ranks", "told"),
    [
        (lambda: make_job(), 5, "22 examples in shards of 6 make 4, too few for 5 ranks; train.shard_size=4 makes 6"),
        (lambda: job_of("normalised by batches", shard_size=22), 2,
         "in shards of 22 make 1, too few for 2 ranks; train.shard_size=8 makes 3 .*batch_norm's statistics"),
        (lambda: make_job(batch_size=3, shard_size=1), 4, "a larger train.batch_size has more"),
    ],
)  # fmt: skip
def test_too_few_shards(job: Callable[[], Job], ranks: int, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        require_shards(job(), Thread(Meeting(ranks), 0))
    require_shards(job(), ALONE)
