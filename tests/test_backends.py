"""`dltrain check --backends`: what each layer computes with two sets of kernels."""

from collections.abc import Callable
from typing import Any

import pytest
import standin
from commands import dltrain, done

from dltrain.backend import cuda
from dltrain.spec import load


@pytest.mark.usefixtures("chosen_kernels")
def test_backends_are_compared_layer_by_layer() -> None:
    """digits_cnn: conv, pooling, dropout and dense layers, and the loss; numbers as programs get them."""
    with standin.installed():
        found = done("check", "digits_cnn", "--backends", "reference,cupy", "--json").json
    layers = ["data", *(layer["name"] for layer in load("digits_cnn").resolved()["model"]["layers"]), "loss"]
    for dtype, limit in (("float32", 1e-4), ("float64", 1e-10)):
        rows = [row for row in found["differences"] if row["dtype"] == dtype]
        assert [row["layer"] for row in rows] == layers and found["tolerances"][dtype] == limit
        assert all(row["forward"] < limit / 10 and not row["beyond"] for row in rows)
        assert all(row["backward"] < limit / 10 for row in rows[1:])
    assert found["beyond"] == 0
    assert any((row["backward"] or 0) > 0 for row in found["differences"]), "nothing was compared"


FAULTS: dict[str, tuple[str, Callable[..., Any]]] = {  # the layer it shows in -> (a kernel, how it goes wrong)
    "conv1": ("column_sums", lambda plain, k, rows: plain(k, rows) * 1.001),
    "max_pool1": ("max_pool_grad", lambda plain, k, g, *rest: plain(k, g * 1.001, *rest)),
    "data": ("normalise", lambda plain, k, *rest: plain(k, *rest) * float("nan")),
}


@pytest.mark.usefixtures("chosen_kernels")
@pytest.mark.parametrize("layer", FAULTS)
def test_a_wrong_kernel_is_found_in_its_layer(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, wrong = FAULTS[layer]
    plain = getattr(cuda.CudaKernels, name)
    monkeypatch.setattr(cuda.CudaKernels, name, lambda k, *rest: wrong(plain, k, *rest))
    with standin.installed():
        said = dltrain("check", "digits_cnn", "data.augment=[]", "--backends", "numpy,cupy")
    assert said.code == 1 and said.out.splitlines()[-1].endswith(" above tolerance")
    lines = [line for line in said.out.splitlines() if line.endswith("above tolerance")]
    beyond = {line.split()[0] for line in lines if line[:2] == "  "}
    same_kernel = {"conv1", "conv2", "dense1", "dense2"} if layer == "conv1" else {layer}
    assert layer in beyond and beyond <= same_kernel


@pytest.mark.parametrize("names", ["numpy", "numpy,numpy", "numpy,cuda", ""])
def test_backends_that_do_not_exist(names: str) -> None:
    said = dltrain("check", "smoke", f"--backends={names or ','}")
    assert (
        said.code == 2 and "expected two or three of reference, numpy, native, cupy, as in numpy,cupy" in said.errors[0]
    )


@pytest.mark.usefixtures("chosen_kernels")
@pytest.mark.parametrize("option", [["--samples", "s.png"], ["--device", "cpu"], ["--kernels", "numpy"]], ids=" ".join)
def test_what_backends_cannot_be_given_beside(option: list[str]) -> None:
    said = dltrain("check", "smoke", "--backends", "numpy,native", *option)
    assert said.code == 2 and said.errors[0].endswith(f"cannot be combined with {option[0]}")
