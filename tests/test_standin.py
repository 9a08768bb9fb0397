"""The stand-in refuses what CuPy refuses; were it lenient, tests on it would prove nothing."""

import importlib
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import numpy as np
import pytest
import standin

from dltrain.backend import array_module, open_device, to_host

cp: Any = standin.cupy
HOST = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def x() -> Any:
    return cp.asarray(HOST)


def test_it_is_what_the_product_imports() -> None:
    before = sys.modules.get("cupy")
    with standin.installed():
        assert importlib.import_module("cupy") is cp
        device = open_device("cuda", np.float64)
        assert open_device("auto").name == "cuda"
    assert sys.modules.get("cupy") is before
    assert (device.name, device.xp) == ("cuda", cp)
    array = device.asarray(np.arange(3, dtype=np.float32))
    assert type(array) is cp.ndarray and array.dtype == np.float64
    assert array_module(array) is cp
    assert np.array_equal(to_host(array), [0, 1, 2])


REFUSED: dict[str, Callable[[Any], Any]] = {
    "asarray": np.asarray,
    "array": np.array,
    "a numpy function": lambda x: np.concatenate([x, x]),
    "a numpy ufunc": np.exp,
    "adding a numpy array": lambda x: x + HOST,
    "adding to a numpy array": lambda x: HOST + x,
    "adding in place": lambda x: x.__iadd__(HOST),
    "adding in place to numpy's": lambda x: HOST.copy().__iadd__(x),
    "adding a 0-d numpy array": lambda x: x + np.array(1.0),
    "adding a list": lambda x: x * [1, 2, 3],
    "comparing with a numpy array": lambda x: x < HOST,
    "comparing with None": lambda x: x == None,  # noqa: E711
    "a product with a numpy array": lambda x: x @ HOST.T,
    "a function of a numpy array": lambda x: cp.exp(HOST),
    "a function of two kinds": lambda x: cp.maximum(x, HOST),
    "copying from numpy": lambda x: cp.copyto(x, HOST),
    "where with numpy": lambda x: cp.where(x > 0, HOST, x),
    "joining with numpy": lambda x: cp.concatenate([x, HOST]),
    "an output of numpy's": lambda x: cp.exp(x, out=HOST.copy()),
    "assigning numpy's": lambda x: x.__setitem__(0, HOST[0]),
    "an axis from an array": lambda x: x.sum(axis=cp.asarray(0)),
    "an axis from numpy": lambda x: x.sum(axis=np.array(0)),
    "the length of a scalar": lambda x: len(x.sum()),
    "as a list index": lambda x: [1, 2][cp.asarray(0)],
    "a range": lambda x: range(cp.asarray(2)),
    "a key": lambda x: {x: 1},
    "an argument that CuPy lacks": lambda x: x.max(initial=0.0),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refuses(what: str, x: Any) -> None:
    with pytest.raises(TypeError):
        REFUSED[what](x)


REFUSED_OTHERWISE: dict[str, tuple[type[Exception], Callable[[Any], Any]]] = {
    "an index out of range, which CuPy wraps": (IndexError, lambda x: x[cp.asarray([0, 2])]),
    "taking out of range": (IndexError, lambda x: cp.take(x, cp.asarray([3]), axis=1)),
    "a host index": (IndexError, lambda x: x[np.array([0, 1])]),
    "a list index": (IndexError, lambda x: x[[0, 1]]),
    "one entry assigned twice": (ValueError, lambda x: x.__setitem__(cp.asarray([1, 1]), 0.0)),
    "a comparison out of the dtype's range": (OverflowError, lambda x: cp.asarray(np.zeros(2, np.uint16)) < 65536),
    "writing into a broadcast array": (ValueError, lambda x: cp.broadcast_to(x, (4, 2, 3)).fill(0)),
    "objects": (ValueError, lambda x: cp.asarray([None])),
    "strings": (ValueError, lambda x: cp.asarray("text")),
    "the truth of many values": (ValueError, lambda x: bool(x)),
    "functions that CuPy lacks": (AttributeError, lambda x: cp.nditer(x)),
    "methods that CuPy lacks": (AttributeError, lambda x: x.setflags(write=False)),
}


@pytest.mark.parametrize("what", REFUSED_OTHERWISE)
def test_refuses_otherwise(what: str, x: Any) -> None:
    error, attempt = REFUSED_OTHERWISE[what]
    with pytest.raises(error):
        attempt(x)


READS: dict[str, Callable[[Any], Any]] = {
    "get": lambda x: x.get(),
    "asnumpy": cp.asnumpy,
    "to_host": to_host,
    "float": lambda x: float(x.sum()),
    "int": lambda x: int(x.sum()),
    "truth": lambda x: bool(x.sum() > 0),
    "if": lambda x: 1 if x.sum() else 2,
    "max of two": lambda x: max(x.sum(), x.mean()),
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "repr": repr,
    "format": lambda x: f"{x.sum()}",
    "a loop over numbers": lambda x: [float(y) for y in x[0]],
    "containing": lambda x: 1.0 in x.ravel(),
    "bincount": lambda x: cp.bincount(x.astype("int64").ravel()),
    "nonzero": lambda x: x.nonzero(),
    "where alone": lambda x: cp.where(x > 0),
    "a mask": lambda x: x[x > 1],
}


@pytest.mark.parametrize("what", READS)
def test_gives_values_to_the_host_only_outside_of_a_step(what: str, x: Any) -> None:
    READS[what](x)
    with standin.inside_step(), pytest.raises(standin.HostRead):
        READS[what](x)
    READS[what](x)


def test_a_thread_in_a_copied_context_is_inside_too(x: Any) -> None:
    seen = []

    def read() -> None:
        try:
            seen.append(x.get())
        except standin.HostRead as error:
            seen.append(error)

    with standin.inside_step():
        thread = threading.Thread(target=copy_context().run, args=(read,))
        thread.start()
        thread.join()
    assert isinstance(seen[0], standin.HostRead)


def test_results_stay_on_the_device_with_numpys_dtypes(x: Any) -> None:
    small = x.astype("float32")
    cases = {
        "float64": [x.sum(), x[0, 0], np.float64(2) * small, small * x, x.mean(axis=(0, 1)), x.T @ x],
        "float32": [small.sum(), small * 2.5, 2 - small, small**2, small / 3, cp.maximum(small, 0), small.max()],
        "bool": [x > 0, x != 2, (x > 0) & (x < 3), cp.isfinite(x)],
        "int64": [x.argmax(axis=1), (x > 0).sum(), cp.arange(3)],
    }
    for dtype, results in cases.items():
        assert all(type(y) is cp.ndarray and y.dtype == dtype for y in results), dtype


def test_parts_are_views_and_copies_are_not(x: Any) -> None:
    x[0][1:] += 10
    x[1, 2, ...] = -1
    last = x[1, 0]
    last += 5
    x.reshape(-1)[4:5] *= 0
    assert np.array_equal(x.get(), [[0, 11, 12], [8, 0, -1]])
    untouched = cp.asarray(HOST)
    assert cp.asarray(untouched) is untouched
    for other in (untouched.copy(), untouched.astype("float64"), cp.array(untouched), untouched[cp.asarray([0, 1])]):
        other += 1
    untouched.get()[:] = 9
    assert np.array_equal(untouched.get(), HOST)


def test_new_memory_holds_garbage() -> None:
    assert np.isnan(cp.empty((2, 2)).get()).all() and np.isnan(cp.empty_like(cp.zeros(3, "float32")).get()).all()
    assert (cp.empty(3, "int64").get() != 0).all()


def test_results_are_laid_out_in_c_order(x: Any) -> None:
    assert not x.T.flags.c_contiguous
    assert all(y.flags.c_contiguous for y in (x.T * 2, x.T + x.T, -x.T, x.T.copy(), cp.exp(x.T), x.T.sum(axis=())))
