"""docs/networks: nets that others published, by their parameters and multiply-adds."""

from pathlib import Path

import pytest
from commands import done

from dltrain.spec import build_model, load

FOLDER = Path(__file__).parent.parent / "docs" / "networks"

# name -> (parameters as published, multiply-adds of torchvision's)
PUBLISHED = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet50": (25_557_032, 4_089_184_256),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "densenet121": (7_978_856, 2_834_161_664),
    "vgg16_bn": (138_365_992, 15_470_264_320),
}


def test_each_is_there() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_counts(name: str) -> None:
    total, multiply_adds = PUBLISHED[name]
    found = done("inspect-params", FOLDER / f"{name}.yaml", "--json").json
    assert (found["total"], found["multiply_adds"]) == (total, multiply_adds)
    inside = [row for row in found["layers"] if "." in row["name"]]
    outermost = [group for group in found["groups"] if "." not in group["name"]]
    assert sum(group["parameters"] for group in outermost) == sum(row["parameters"] for row in inside)
    model = build_model(load(FOLDER / f"{name}.yaml"))
    assert model.out_shape == (1000,) and all(p.data is None for p in model.parameters.values()), "no weights yet"
