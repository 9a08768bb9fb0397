"""The figures of merit in a row of a log, and how they are written."""

from typing import Any

Row = dict[str, Any]


def scores(found: Row) -> list[str]:
    """`loss 0.1234`, `accuracy 0.9876`: as many of the figures of merit as there are."""
    return [f"{key} {figure_text(value)}" for key, value in figures_in(found).items()]


def figures_in(found: Row) -> dict[str, float]:
    """The figures of merit that there are, in order; then those of several updates, such as `loss/generator`, and of
    pictures, such as `frechet/fake`."""
    # here, so that the command line can begin without what these need
    from dltrain.metrics.figures import is_figure
    from dltrain.metrics.settings import METRICS

    values = {key: found[key] for key in METRICS if found.get(key) is not None}
    others = (key for key in found if key.startswith(("loss/", "accuracy/")) or is_figure(key))
    return values | {key: found[key] for key in others if found[key] is not None}


def figure_text(value: float) -> str:
    """`0.1234`; `2.753e+04` where four digits behind the point would be noise."""
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.4g}"
