"""The arithmetic of windows against counting."""

import re
from itertools import product
from typing import Any

import plain
import pytest

from dltrain.errors import ShapeError
from dltrain.window import Window, per_dimension


def test_sizes_are_what_counting_gives():
    counted = 0
    for i, k, s, d, padding in product(range(1, 9), (1, 2, 3, 5), (1, 2, 3), (1, 2, 3), ("valid", "same", 0, 1, 2, 4)):
        outputs = plain.out_size((i,), k, s, padding, d)
        if outputs == (0,):
            with pytest.raises(ShapeError, match=f"the kernel covers {(k - 1) * d + 1} positions"):
                Window.of((i,), k, s, padding, d)
            continue
        window = Window.of((i,), k, s, padding, d)
        assert window.out_size == outputs
        assert window.padding == tuple(plain.ends((i,), (k,), (s,), padding, (d,)))
        assert window.extent == ((k - 1) * d + 1,)
        assert window.padded_size == (i + sum(window.padding[0]),)
        if padding == "same":
            before, after = window.padding[0]
            assert outputs == (-(-i // s),) and 0 <= after - before <= 1, "an odd pixel goes to the end"
        counted += 1
    assert counted > 1000


def test_dimensions_do_not_mix():
    window = Window.of((9, 4, 7), (3, 1, 2), (2, 1, 3), (1, 0, 2), (1, 1, 2))
    alone = [
        Window.of((i,), k, s, p, d)
        for i, k, s, p, d in zip((9, 4, 7), (3, 1, 2), (2, 1, 3), (1, 0, 2), (1, 1, 2), strict=True)
    ]
    for name in ("in_size", "out_size", "kernel", "stride", "padding", "dilation", "extent", "padded_size"):
        assert getattr(window, name) == tuple(getattr(one, name)[0] for one in alone)


@pytest.mark.parametrize(
    ("arguments", "formula"),
    [
        (((32, 32), 3, 1, "same"), "⌊(32 + 1 + 1 − 3) / 1⌋ + 1 = 32"),
        (((32, 32), 2, 2, "valid"), "⌊(32 + 0 + 0 − 2) / 2⌋ + 1 = 16"),
        (((7, 6), 2, 2, "same"), "⌊(7 + 0 + 1 − 2) / 2⌋ + 1 = 4; ⌊(6 + 0 + 0 − 2) / 2⌋ + 1 = 3"),
        (((9,), 3, 2, 1, 2), "⌊(9 + 1 + 1 − 5) / 2⌋ + 1 = 4"),
    ],
)
def test_the_formula_holds(arguments: Any, formula: str):
    window = Window.of(*arguments)
    assert window.explain() == formula
    for term in formula.split("; "):
        size, before, after, extent, stride, one, result = map(int, re.findall(r"\d+", term))
        assert (size + before + after - extent) // stride + one == result


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (((), 3), "1 to 3 spatial dimensions, but this input has 0"),
        (((2, 2, 2, 2), 1), "but this input has 4"),
        (((5, 5), (3, 3, 3)), "kernel [3, 3, 3] has 3 numbers, but the input has 2 spatial dimensions"),
        (((5,), 0), "kernel [0] must be at least 1 everywhere"),
        (((5, 5), 3, (1, 0)), "stride [1, 0] must be at least 1 everywhere"),
        (((5,), 3, 1, -1), "padding [-1] must be at least 0 everywhere"),
        (((5,), 3, 1, 0, 3), "the kernel covers 7 positions but the input has only 5 + 0 + 0 = 5"),
    ],
)
def test_refused(arguments: Any, says: str):
    with pytest.raises(ShapeError, match=re.escape(says)):
        Window.of(*arguments)


def test_one_number_for_all_dimensions():
    assert per_dimension(3, 2, "kernel") == (3, 3)
    assert per_dimension((3, 4), 2, "kernel") == (3, 4)
