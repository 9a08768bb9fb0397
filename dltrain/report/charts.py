"""Charts as SVG: pygal scales and draws, the page's stylesheet colours, and lines are labelled where they end."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pygal as pygal  # also for curve.py
from markupsafe import Markup
from pygal.style import Style as Style

# pygal looks for plug-ins with maps by a finder as Python had them long ago, at which every later import warns.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

WIDTH, HEIGHT = 360, 210  # about the size at which a chart is shown, so that its text is of the page's size
LINE = 14  # from one label to the next
LETTER = 6.4  # a letter's width, on average
Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Line:
    """label: written at its end; "" for none. look: classes of the stylesheet, such as `first` or `d3 dashed`."""

    label: str
    points: Points
    look: str
    dots: bool = False


def line_chart(
    lines: Sequence[Line],
    *,
    about: str,
    x_ticks: Sequence[float],
    y_range: tuple[float, float] | None = None,
    log: bool = False,
    wide: bool = False,
    axis: str = "epoch",
) -> Markup:
    """Lines over numbers. about: what a reader who cannot see it is told. log: a logarithmic vertical axis. wide: for a
    chart that fills the page. axis: what is written behind the numbers of the horizontal axis.

    At least one line has a value that can be drawn: above 0 where the axis is logarithmic.
    """
    place = log10 if log else float  # pygal's own logarithmic axes come in pairs only
    drawn = [
        Line(line.label, [(x, place(y)) for x, y in _drawable(line.points, log)], line.look, line.dots)
        for line in lines
    ]
    values = [y for line in lines for _, y in _drawable(line.points, log)]
    low, high = y_range or (min(values), max(values))
    ticks = _log_ticks(low, high) if log else nice_ticks(low, high)
    xs = [x for line in drawn for x, _ in line.points]
    chart = pygal.XY(
        **_plain(HEIGHT, _label_space(drawn)) | ({"width": 2 * WIDTH, "height": 300} if wide else {}),
        range=(place(min(low, ticks[0])), place(max(high, ticks[-1]))),
        xrange=(min(*xs, *x_ticks), max(*xs, *x_ticks)),
        show_dots=False,
    )
    chart.y_labels = [{"value": place(tick), "label": number(tick)} for tick in ticks]
    chart.x_labels = [{"value": tick, "label": number(tick)} for tick in x_ticks]
    for line in drawn:
        chart.add(line.label, list(line.points), show_dots=line.dots, dots_size=2)
    chart.add_xml_filter(lambda root: _finish(root, about, drawn, axis))
    return Markup(chart.render(is_unicode=True))


def histogram(counts: Sequence[int], edges: Sequence[float], *, about: str, width: int = 230) -> Markup:
    """Bars between the edges, of which there is one more than counts."""
    chart = pygal.Histogram(**_plain(100, 8) | {"width": width}, show_y_labels=False, range=(0, max(*counts, 1)))
    inside = [tick for tick in nice_ticks(edges[0], edges[-1], 4) if edges[0] <= tick <= edges[-1]]
    chart.x_labels = [{"value": tick, "label": number(tick)} for tick in inside]
    chart.add("", [(n, edges[i], edges[i + 1]) for i, n in enumerate(counts)])
    chart.add_xml_filter(lambda root: _finish(root, about, [Line("", (), "first")]))
    return Markup(chart.render(is_unicode=True))


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Few round numbers from at most `low` to at least `high`."""
    if not high > low:
        low, high = (low - abs(low) / 2, low + abs(low) / 2) if low else (0.0, 1.0)
    rough = (high - low) / most
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def epoch_ticks(epochs: float) -> list[float]:
    """Whole epochs from 0 on, the last one never beyond the data."""
    step = next(s * 10**e for e in range(9) for s in (1, 2, 5) if s * 10**e * 6 >= epochs)
    return [float(i * step) for i in range(int(epochs // step) + 1)]


def thin(points: Points, most: int = 120) -> list[tuple[float, float | None]]:
    """Means of neighbours, so that at most so many are left."""
    group = ceil(len(points) / most) or 1
    return [_mean(points[i : i + group]) for i in range(0, len(points), group)]


def _mean(points: Points) -> tuple[float, float | None]:
    values = [y for _, y in points if y is not None]
    return sum(x for x, _ in points) / len(points), sum(values) / len(values) if values else None


def number(value: float) -> str:
    """A tick: `0.25`, `−2`, `5e-4` as a config would say it."""
    text = f"{value:g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}".replace(".0e", "e")
    mantissa, e, exponent = text.partition("e")
    return (f"{mantissa}e{int(exponent)}" if e else mantissa).replace("-", "−", mantissa.startswith("-"))


def _drawable(points: Points, log: bool) -> list[tuple[float, float]]:
    """Without what the axis has no place for."""
    return [(x, y) for x, y in points if y is not None and isfinite(y) and (y > 0 or not log)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between the values, at most six; where there would be fewer than three, 1, 2 and 5 times them, to
    the next below and above; and where those are too few as well, round numbers at even distances."""
    exponents = range(floor(log10(low)), ceil(log10(high)) + 1)
    tens = [10.0**e for e in exponents if low <= 10.0**e <= high]
    if len(tens) < 3:
        fine = [m * 10.0**e for e in exponents for m in (1, 2, 5)]
        first = max((i for i, tick in enumerate(fine) if tick <= low), default=0)
        around = fine[first : next(i for i, tick in enumerate(fine) if tick >= high) + 1]
        return around if len(around) > 3 else [tick for tick in nice_ticks(low, high, 4) if tick > 0]
    return tens[:: ceil(len(tens) / 6)]


def _plain(height: int, right: float) -> dict[str, Any]:
    """What all charts have in common: no style, no script, no legend of pygal's own."""
    return {
        "width": WIDTH, "height": height, "margin_top": 8, "margin_right": right, "margin_bottom": 2, "margin_left": 2,
        "css": (), "js": (), "disable_xml_declaration": True, "show_legend": False, "truncate_label": -1,
        "spacing": 6, "no_data_text": "",
    }  # fmt: skip


def _label_space(lines: Sequence[Line]) -> float:
    """No less than most charts need, so that the plots of a column are alike."""
    return 12 + LETTER * max(len("validation"), *(len(line.label) for line in lines))


def _finish(root: Element, about: str, lines: Sequence[Line], axis: str = "") -> Element:
    """Take out pygal's styles, scripts and empty layers; name the looks; write the labels at the ends of the lines and
    of the horizontal axis."""
    root.attrib.pop("id", None)
    root.set("role", "img")
    root.set("aria-label", about)
    root.set("class", "chart")
    for parent in list(root.iter()):
        for child in list(parent):
            empty = (child.get("class") or "").endswith(("text-overlay", "tooltip-overlay"))
            if empty or child.tag not in ("g", "path", "rect", "text", "circle"):
                parent.remove(child)
    plot = next(g for g in root.iter("g") if (g.get("class") or "") == "plot")
    ends = []
    for number, line in enumerate(lines):
        groups = [g for g in root.iter("g") if f"serie-{number} " in (g.get("class") or "")]
        for group in groups:  # one with the line, one with its dots
            group.set("class", f"series {line.look}")
        lasts = [p.get("d", "").split()[-2:] for group in groups for p in group.iter("path") if p.get("d")]
        lasts += [[c.get("cx", ""), c.get("cy", "")] for group in groups for c in group.iter("circle")]  # a lone point
        if lasts and line.label:
            x, y = (float(value.lstrip("ML")) for value in lasts[0])
            ends.append((x, y, line))
    width, height = (float(next(plot.iter("rect")).get(key, 0)) for key in ("width", "height"))
    if axis:
        SubElement(plot, "text", {"x": f"{width + 5:.1f}", "y": f"{height + LINE + 1:.1f}"}).text = axis
    right = max((x for x, _, _ in ends), default=0.0)
    for (x, y, line), at in zip(ends, _apart([y for _, y, _ in ends], height), strict=True):
        if abs(at - y) > 4 or right - x > 4:
            way = f"M{x + 1:.1f} {y:.1f}L{right + 8:.1f} {at:.1f}"
            SubElement(plot, "path", {"d": way, "class": f"leader {line.look}"})
        text = SubElement(plot, "text", {"x": f"{right + 10:.1f}", "y": f"{at + 4:.1f}", "class": f"end {line.look}"})
        text.text = line.label
    return root


def _apart(wanted: Sequence[float], limit: float) -> list[float]:
    """Heights as near to the wanted ones as labels of one line each allow, from the top (0) to the limit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed: dict[int, float] = {}
    least = 0.0
    for i in order:
        placed[i] = least = max(wanted[i], least)
        least += LINE
    most = max(limit, LINE * (len(wanted) - 1))
    for i in reversed(order):
        placed[i] = most = min(placed[i], most)
        most -= LINE
    return [placed[i] for i in range(len(wanted))]
