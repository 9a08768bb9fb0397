"""docs/networks: nets that others published, by their parameters and multiply-adds, but for batch normalisation."""

from pathlib import Path

import pytest
from commands import done

from dltrain.spec import build_model, load

FOLDER = Path(__file__).parent.parent / "docs" / "networks"

# name -> (parameters as published, channels that batch normalisation scales and shifts, multiply-adds of torchvision's)
PUBLISHED = {
    "resnet18": (11_689_512, 64 + 4 * 64 + 5 * (128 + 256 + 512), 1_814_073_344),
    "resnet50": (25_557_032, 64 + sum((2 + 4) * c * n + 4 * c for c, n in ((64, 3), (128, 4), (256, 6), (512, 3))),
                 4_089_184_256),
    "mobilenet_v2": (
        3_504_872,
        32 + 32 + 16 + 1280 + sum(2 * 6 * before + after for before, after in [
            (16, 24), (24, 24), (24, 32), (32, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 64), (64, 96),
            (96, 96), (96, 96), (96, 160), (160, 160), (160, 160), (160, 320),
        ]),
        300_774_272,
    ),
    "densenet121": (
        7_978_856,
        64 + sum(start + 32 * i + 128 for start, n in ((64, 6), (128, 12), (256, 24), (512, 16)) for i in range(n))
        + 256 + 512 + 1024 + 1024,
        2_834_161_664,
    ),
}  # fmt: skip


def test_each_is_there() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_counts(name: str) -> None:
    total, normalised, multiply_adds = PUBLISHED[name]
    found = done("inspect-params", FOLDER / f"{name}.yaml", "--json").json
    assert (found["total"] + 2 * normalised, found["multiply_adds"]) == (total, multiply_adds)
    inside = [row for row in found["layers"] if "." in row["name"]]
    outermost = [group for group in found["groups"] if "." not in group["name"]]
    assert sum(group["parameters"] for group in outermost) == sum(row["parameters"] for row in inside)
    model = build_model(load(FOLDER / f"{name}.yaml"))
    assert model.out_shape == (1000,) and all(p.data is None for p in model.parameters.values()), "no weights yet"
