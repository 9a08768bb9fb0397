"""A step that is repeated from a tape is the step that Python would have gone through, to the last bit."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial, reduce
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from cases import CASES, Case, outputs_of
from test_script import NETS, SETTINGS, job_of, logged, mixed

from dltrain.backend import Now, Scripts, choose_kernels, kernels
from dltrain.backend.calls import Graph
from dltrain.backend.tape import MEASUREMENTS, Tape, record, recording
from dltrain.engine import OPS, Tensor, gradients
from dltrain.ops import add
from dltrain.ops import sum as ops_sum
from dltrain.train import step
from dltrain.train.shards import Crew
from dltrain.window import Window

Array = Any
NOW = Now(step=3, epoch=2, lr=0.5)


@pytest.fixture(autouse=True)
def in_numpy(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("chosen_kernels")
    choose_kernels("numpy")


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[int]]:
    """How often a tape of so many examples was followed to its end."""
    seen: Counter[int] = Counter()
    follow = Tape.follow

    def watched(self: Tape, data: Any, *others: Any) -> Any:
        found = follow(self, data, *others)
        seen[len(data[0])] += found is not None
        return found

    monkeypatch.setattr(Tape, "follow", watched)
    return seen


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("net", NETS)
def test_the_same_bits_and_logs(
    net: str, settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, followed: Counter[int]
) -> None:
    """Three epochs of 70 examples: in each three steps of 22 in two shards, and one of 4."""
    given = {"shard_size": 11, **SETTINGS[settings]}
    mixup = given.pop("mixup", 0.0)
    found = [logged(mixed(job_of(net, **given), mixup), tmp_path, threads) for threads in (1, 2)]
    counted = dict(followed)
    monkeypatch.setattr(step, "SHORT_IN_NUMPY", -1)
    expected = logged(mixed(job_of(net, **given), mixup), tmp_path)
    assert found == [expected, expected]
    assert counted == ({} if mixup else {11: 2 * 2 * (9 - 1), 4: 2 * (3 - 1)})  # one of each is written down
    assert dict(followed) == counted


@pytest.mark.parametrize("settings", [name for name in SETTINGS if "mixup" not in SETTINGS[name]])
@pytest.mark.parametrize("net", NETS)
def test_whoever_does_a_call_the_bits_are_the_same(
    net: str, settings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole batch as one shard, its calls ranked at random among those that may come next."""
    given = {"shard_size": 22, "epochs": 3, **SETTINGS[settings]}
    ran: list[int] = []
    run = Graph.run
    monkeypatch.setattr(Graph, "run", lambda self, begin, others: (ran.append(others), run(self, begin, others)))
    dice = Random(0)
    made = Graph.__init__

    def anyhow(self: Graph, calls: Any, seconds: Any) -> None:
        made(self, calls, [dice.random() for _ in seconds])
        self.is_worth_it = True

    monkeypatch.setattr(Graph, "__init__", anyhow)
    found = [logged(job_of(net, **given), tmp_path, threads) for threads in (2, 3)]
    assert set(ran) == {1, 2} and len(ran) > 4
    monkeypatch.setattr(step, "SHORT_IN_NUMPY", -1)
    expected = logged(job_of(net, **given), tmp_path)
    assert found == [expected, expected]


def test_an_error_in_a_call_is_raised_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who tries again finds everything in order."""
    scripts, crew, x = Scripts(record), Crew(2), np.arange(6, dtype=np.float32)
    monkeypatch.setattr("dltrain.backend.calls.WORTH_IT", 2)
    monkeypatch.setattr("dltrain.backend.calls.HAND_OVER", -1)

    def run() -> Array:
        return crew.lent(lambda: scripts.run("w", [], NOW, lambda x: {"y": ((x + 1) * 2 - x) @ x}, data=[x])["y"])

    expected = [run() for _ in range(MEASUREMENTS + 2)]
    assert len(set(map(float, expected))) == 1
    (written,) = scripts.learned.values()
    assert isinstance(written, Tape) and written._graph.is_worth_it
    with monkeypatch.context() as broken:
        broken.setattr(written._graph, "_calls", [lambda: [][1]] * len(written._steps))
        with pytest.raises(IndexError):
            run()
    assert run() == expected[0]
    crew.close()


def test_two_steps_of_the_same_tape_draw_other_words() -> None:
    scripts, found = Scripts(record), []

    def work(x: Any) -> dict[str, Array]:
        k = kernels(x)
        words = k.example_words(7, "dropout", "d", epoch=now.epoch, step=now.step, first=4, examples=2, words_each=3)
        return {"words": words}

    x = np.zeros(2, np.float32)
    for now in (NOW, Now(4, 2, 0.5), Now(4, 3, 0.5), NOW):
        words = scripts.run("what", [], now, work, data=[x])["words"]
        np.testing.assert_array_equal(words, work(x)["words"])
        found.append(words.tobytes())
    assert len(set(found)) == 3 and found[0] == found[3]


# --- what is noted ----------------------------------------------------------------------------------------------------


OUTSIDE = np.ones(3, np.float32)
Work = Callable[[Any, Any], Any]


def taped(work: Work, fixed: Array = OUTSIDE) -> tuple[Tape | None, list[bytes]]:
    """The tape of work(module, x), if there is one, and what four steps gave. They were seen to be right."""
    scripts, found = Scripts(record), []
    fixed = fixed.copy()
    for values in ([1, -2, 3], [4, 5, 6], [-1, 0, 1], [1, -2, 3]):
        x = np.array(values, np.float32)
        run = scripts.run("w", [fixed], NOW, lambda x: {"y": work(kernels(x).xp, x)}, data=[x])["y"]
        np.testing.assert_array_equal(run, work(np, x))
        found.append(np.asarray(run).tobytes())
    (tape,) = scripts.learned.values()
    return tape, found


def summed(xp: Any, x: Any) -> Any:
    total = xp.zeros(x.shape, x.dtype)
    total += x
    total[1:] += x[1:]
    return total


def padded(xp: Any, x: Any) -> Any:
    canvas = xp.zeros((5,), x.dtype)
    canvas[1:4] = x
    return canvas * 2


def written_again(xp: Any, x: Any) -> Any:
    canvas = xp.zeros((4,), x.dtype)
    before = canvas + 1
    canvas[1:] = x
    return before + canvas


def other_words(xp: Any, x: Any) -> Any:
    return kernels(x).example_words(7, "a", "b", epoch=1, step=1, first=0, examples=2, words_each=3)


# name -> (work, how many calls of what was noted a step can do without; None where nothing can be noted)
WORKS: dict[str, tuple[Work, int | None]] = {
    "one call": (lambda xp, x: x + 1, 0),
    "a number on the left": (lambda xp, x: 2 - x, 0),
    "views": (lambda xp, x: x[::-1].reshape(3, 1).T.swapaxes(0, 1) * 2, 0),
    "a reshape that copies": (lambda xp, x: (x[:, None] + xp.broadcast_to(x, (2, 3)).T).T.reshape(6) + 1, 0),
    "sums": (summed, 0),
    "a canvas": (padded, 1),
    "a canvas that is looked at before": (written_again, 0),
    "of ones": (lambda xp, x: xp.ones(3, x.dtype) @ x, 1),
    "an array from elsewhere": (lambda xp, x: x + OUTSIDE, None),
    "into an array from elsewhere": (lambda xp, x: np.zeros(3, np.float32).__iadd__(OUTSIDE) + x, None),
    "a number of numpy's": (lambda xp, x: x * np.float32(2), None),
    "numpy by its own name": (lambda xp, x: np.exp(x), None),
    "taken out": (lambda xp, x: np.asarray(x) + 1, None),
    "one number": (lambda xp, x: x[0] * x, None),
    "a decision": (lambda xp, x: x + 1 if x[:1] > 0 else x, None),
    "some of it, by an array": (lambda xp, x: x[np.array([2, 0])], None),
    "a function that is not known": (lambda xp, x: xp.sort(x), None),
    "words of another step": (other_words, None),
}


@pytest.mark.parametrize("name", WORKS)
def test_only_what_numpy_does_alone_is_repeated(name: str) -> None:
    work, spared = WORKS[name]
    tape, found = taped(work)
    assert (tape is None) == (spared is None)
    assert tape is None or len(tape._calls) - len(tape._steps) == spared
    assert found[0] == found[3]


def test_fixed_arrays_may_have_other_values_but_must_stay_where_they_are() -> None:
    scripts, w, asked = Scripts(record), np.ones(3, np.float32), 0

    def work(x: Any) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"y": x @ w}

    x = np.arange(3, dtype=np.float32)
    for scale in (1, 2, 3):
        w *= scale
        assert scripts.run("w", [w], NOW, work, data=[x])["y"] == x @ w
    assert asked == 1
    w = w + 1
    assert scripts.run("w", [w], NOW, work, data=[x])["y"] == x @ w
    assert asked == 2
    assert scripts.run("w", [w], NOW, work, data=[x[:2].repeat(2)[:3]])["y"] == np.dot([0, 0, 1], w)


def test_data_of_another_kind_go_through_python() -> None:
    scripts, x = Scripts(record), np.arange(3, dtype=np.float32)
    for data in (x, x.astype(np.float64), x):
        found = scripts.run("w", [], NOW, lambda x: {"y": x + 1}, data=[data])["y"]
        np.testing.assert_array_equal(found, data + 1)
        assert found.dtype == data.dtype


def test_an_array_of_another_tape_is_not_taken() -> None:
    kept: list[Any] = []

    def keep(x: Any) -> dict[str, Any]:
        kept.append(x)
        return {"y": kept[0] + x}

    x = np.ones(2, np.float32)
    one, other = Scripts(record), Scripts(record)
    one.run("w", [], NOW, keep, data=[x])
    with pytest.raises(TypeError):  # of Python, which does not know it either
        other.run("w", [], NOW, keep, data=[x])


def test_memory_that_is_short_is_told() -> None:
    def fail(x: Any) -> dict[str, Any]:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        Scripts(record).run("w", [], NOW, fail, data=[OUTSIDE])
    assert recording.get() is None


FEW, MANY = 500, 5000  # numbers


@pytest.mark.parametrize(("filters", "kernel"), [(6, 5), (2, 3), (32, 3)])
def test_few_numbers_of_many_are_no_product_of_matmul(filters: int, kernel: int) -> None:
    """Which would hold the interpreter, so that no other thread could begin anything."""
    window = Window.of((28, 28), (kernel, kernel))

    def work(x: Any, g: Any, w: Any) -> dict[str, Any]:
        k = kernels(x)
        _, dw, db = k.conv_grad(g, x, w, g, window, 1, None, (False, True, True))
        sums, squares, _ = k.observe(g)
        return {"dw": dw, "db": db, "sums": sums, "squares": squares, "square": k.square_sum(x)}

    shapes = (16, 28, 28, 1), (16, *window.out_size, filters), (kernel, kernel, 1, filters)
    tape = record([np.ones(shape, np.float32) for shape in shapes], [], [], NOW, work)
    assert tape
    few = [c for c in tape._calls if c.writes.size <= FEW and max((a.size for a in c.reads), default=0) >= MANY]
    functions = {call.again.func for call in few if isinstance(call.again, partial)}
    assert np.dot in functions and np.matmul not in functions


# --- ops --------------------------------------------------------------------------------------------------------------


def settled(value: Any, arrays: Iterator[Any]) -> Any:
    """The settings of a case with these arrays in place of its own."""
    return next(arrays) if isinstance(value, np.ndarray) else value


def arrays_of(case: Case) -> list[Array]:
    found = [case.inputs[i] for i in case.positions] + [v for v in case.settings.values() if isinstance(v, np.ndarray)]
    return [a.astype(np.float32) if a.dtype.kind == "f" else a for a in found]


def back_and_forth(case: Case, *arrays: Any) -> dict[str, Array]:
    """What an op gives, and the gradients of its inputs."""
    given = iter(arrays)
    tensors = [Tensor(next(given)) for _ in case.positions]
    settings = {name: settled(value, given) for name, value in case.settings.items()}
    inputs = iter(tensors)
    outputs = outputs_of(
        OPS[case.op](*(next(inputs) if i in case.positions else x for i, x in enumerate(case.inputs)), **settings)
    )
    loss = reduce(add, [ops_sum(y) for y in outputs])
    found = [*(y.data for y in outputs), *gradients(loss, tensors)]
    return {str(i): a for i, a in enumerate(found)}


def test_every_op() -> None:
    """With other data in the second step, and those of the first again in the third."""
    seen: dict[str, set[bool]] = {}
    for case in CASES:
        scripts, first = Scripts(record), arrays_of(case)
        second = [a.reshape(-1)[::-1].reshape(a.shape).copy() for a in first]
        for data in (first, second, first):
            found = scripts.run("op", [], NOW, lambda *arrays, case=case: back_and_forth(case, *arrays), data=data)
            wanted = back_and_forth(case, *data)
            assert [np.asarray(a).tobytes() for a in found.values()] == [
                np.asarray(a).tobytes() for a in wanted.values()
            ], case
        (tape,) = scripts.learned.values()
        seen.setdefault(case.op, set()).add(tape is not None)
    assert seen.keys() == OPS.keys()
    assert {op for op, recorded in seen.items() if True not in recorded} == {"weigh"}  # whose weights are a setting
