"""Parallel coordinates of a comparison: an axis for each setting and one for what decides, a line for each variant
(Inselberg, "The plane with parallel coordinates", 1985)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log10

from markupsafe import Markup, escape

from dltrain.metrics.row import figure_text
from dltrain.report.charts import number
from dltrain.report.comparison import Comparison, Variant

WIDTH, HEIGHT, TOP, BOTTOM, SIDE = 1100, 320, 44, 16, 90
MOST_AXES = 8  # of settings
MOST_TICKS = 6
LETTERS = 18  # of a label
DECADES = 20.0  # from where on the largest value is so many times the smallest, an axis is logarithmic


@dataclass(frozen=True)
class _Axis:
    """place: of a value, from 0 at the bottom to 1 at the top. ticks: label and place."""

    name: str
    place: Callable[[str], float]
    ticks: list[tuple[str, float]]


def parallel_chart(comparison: Comparison) -> Markup | None:
    """None where fewer than three variants are ranked."""
    judged = comparison.judged
    shown = [variant for variant in comparison.variants if judged in variant.results]
    if judged is None or len(shown) < 3:
        return None
    keys = comparison.differs[:MOST_AXES]
    axes = [_axis(key, [variant.settings[key] for variant in shown]) for key in keys]
    axes.append(_axis(judged, [str(variant.results[judged].mean) for variant in shown], figure_text))
    best = [variant for variant in shown if not variant.given_up][: ceil(len(shown) / 10)]
    parts = [_strand(variant, axes, keys, judged, best) for variant in reversed(shown)]  # the best above the others
    parts += [part for i, axis in enumerate(axes) for part in _drawn(axis, _x(i, axes))]
    about = f"{len(shown)} variants over {', '.join(axis.name for axis in axes)}"
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart parallel" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(about)}">{"".join(parts)}</svg>'
    )


def _x(i: int, axes: Sequence[_Axis]) -> float:
    return SIDE + i * (WIDTH - 2 * SIDE) / max(len(axes) - 1, 1)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _strand(variant: Variant, axes: Sequence[_Axis], keys: Sequence[str], judged: str, best: Sequence[Variant]) -> str:
    values = [*(variant.settings[key] for key in keys), str(variant.results[judged].mean)]
    points = [(_x(i, axes), _y(axis.place(value))) for i, (axis, value) in enumerate(zip(axes, values, strict=True))]
    way = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x, y) in pairwise(points):
        way += f"C{(x0 + x) / 2:.1f} {y0:.1f} {(x0 + x) / 2:.1f} {y:.1f} {x:.1f} {y:.1f}"
    look = "second" if variant in best[:1] else "first" if variant in best else "faint"
    title = escape(f"{variant.label}: {variant.results[judged]}")
    return f'<path class="strand {look}{" dashed" if variant.given_up else ""}" d="{way}"><title>{title}</title></path>'


def _drawn(axis: _Axis, x: float) -> list[str]:
    parts = [
        f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(0)}" y2="{_y(1)}"/>',
        f'<text class="name" x="{x:.1f}" y="18">{escape(_short(axis.name))}</text>',
    ]
    for label, share in axis.ticks:
        parts.append(f'<text x="{x + 6:.1f}" y="{_y(share) + 4:.1f}">{escape(_short(label))}</text>')
    return parts


def _short(text: str) -> str:
    return text if len(text) <= LETTERS else f"…{text[1 - LETTERS :]}"


def _axis(name: str, values: Sequence[str], form: Callable[[float], str] = number) -> _Axis:
    """Numbers from low to high, by their logarithm where they span decades; words one below the other."""
    try:
        numbers = sorted({float(value) for value in values})
    except ValueError:
        words = sorted(set(values))
        places = {word: 0.5 if len(words) == 1 else 1 - i / (len(words) - 1) for i, word in enumerate(words)}
        return _Axis(name, places.__getitem__, list(places.items()))
    low, high = numbers[0], numbers[-1]
    log = low > 0 and high / low > DECADES
    at: Callable[[float], float] = log10 if log else float

    def place(value: str) -> float:
        return 0.5 if low == high else (at(float(value)) - at(low)) / (at(high) - at(low))

    if len(numbers) > MOST_TICKS:
        shares = [i / 4 for i in range(5)]
        raw = [at(low) + share * (at(high) - at(low)) for share in shares]
        round_ = [float(f"{10**value if log else value:.3g}") for value in raw]
        return _Axis(name, place, [(form(value), share) for value, share in zip(round_, shares, strict=True)])
    return _Axis(name, place, [(form(value), place(str(value))) for value in numbers])
