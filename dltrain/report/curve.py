"""A curve over a logarithmic axis, in letters for the terminal and as SVG."""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, floor, log10
from xml.etree.ElementTree import Element

Floats = Sequence[float]
WIDTH, HEIGHT = 66, 12  # letters
TALLEST = 1.3  # times the first value
# The dots of a braille letter, two columns of four rows; U+2800 plus the sum of its dots is the letter.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
LOOK = {
    "background": "#ffffff",
    "plot_background": "#ffffff",
    "foreground": "#1d1f24",
    "foreground_strong": "#1d1f24",
    "foreground_subtle": "#dcdcd6",
    "colors": ("#a9c0d8", "#245a92", "#b2500d"),
    "font_family": "system-ui, sans-serif",
    "label_font_size": 13,
    "major_label_font_size": 13,
    "legend_font_size": 13,
    "title_font_size": 16,
    "guide_stroke_color": "#dcdcd6",
    "major_guide_stroke_color": "#dcdcd6",
    "guide_stroke_dasharray": "",
    "major_guide_stroke_dasharray": "",
}


def text_curve(xs: Floats, ys: Floats, mark: float | None) -> str:
    """The curve in braille letters, whose dots are finer than letters; a dotted line of them at x = mark.

    What lies far above the start is cut off.
    """
    low, high = min(ys), TALLEST * ys[0]
    left, right = log10(xs[0]), log10(xs[-1])
    cells = [[0] * WIDTH for _ in range(HEIGHT)]

    def column(x: float) -> int:
        return round((log10(x) - left) / ((right - left) or 1) * (2 * WIDTH - 1))

    def dot(column: int, row: int) -> None:
        cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]

    heights = [(high - min(y, high)) / ((high - low) or 1) * (4 * HEIGHT - 1) for y in ys]
    for (x0, y0), (x1, y1) in pairwise(zip(map(column, xs), heights, strict=True)):
        pieces = max(x1 - x0, round(abs(y1 - y0)), 1)
        for i in range(pieces + 1):
            dot(round(x0 + (x1 - x0) * i / pieces), round(y0 + (y1 - y0) * i / pieces))
    if mark is not None:
        for row in range(0, 4 * HEIGHT, 2):
            dot(column(mark), row)
    scale = [f"{high:.3g}", *[""] * (HEIGHT - 2), f"{low:.3g}"]
    wide = max(map(len, scale))
    letters = ["".join(chr(0x2800 + cell) for cell in row) for row in cells]
    lines = [f"{label:>{wide}} │{row}" for label, row in zip(scale, letters, strict=True)]
    axis, labels = ["─"] * WIDTH, [" "] * (WIDTH + 8)
    for power in range(ceil(left), floor(right) + 1):
        at = column(10.0**power) // 2
        axis[at], labels[at : at + 4] = "┴", f"1e{power}".ljust(4)
    lines += [f"{'':>{wide}} └{''.join(axis)}", f"{'':>{wide}}  {''.join(labels)}".rstrip()]
    return "\n".join(lines)


def svg_curve(title: str, xs: Floats, ys: Floats, smooth: Floats, mark: float | None) -> bytes:
    """The same as a picture, with the values as they were and smoothed."""
    from dltrain.report.charts import Style, pygal

    top, bottom = TALLEST * smooth[0], min(smooth) * 0.9
    chart = pygal.XY(
        js=[],
        style=Style(**LOOK),
        width=760,
        height=420,
        title=title,
        x_title="learning rate",
        y_title="loss",
        show_dots=False,
        legend_at_bottom=True,
        legend_at_bottom_columns=3,
        x_value_formatter=lambda x: f"{10**x:.0e}",
        range=(bottom, top),
    )
    chart.x_labels = [float(power) for power in range(ceil(log10(xs[0])), floor(log10(xs[-1])) + 1)]
    chart.add("each step", [(log10(x), min(y, top)) for x, y in zip(xs, ys, strict=True)])
    chart.add("smoothed", [(log10(x), min(y, top)) for x, y in zip(xs, smooth, strict=True)], stroke_style={"width": 3})
    if mark is not None:
        line = [(log10(mark), bottom), (log10(mark), top)]
        chart.add(f"suggested {mark:.1e}", line, stroke_style={"width": 2, "dasharray": "3, 5"})
    chart.add_xml_filter(_without_scripts)
    svg: bytes = chart.render()
    return svg


def _without_scripts(root: Element) -> Element:
    """pygal leaves one that holds its configuration even where it is told to use none."""
    for parent in list(root.iter()):
        for child in [child for child in parent if str(child.tag).endswith("script")]:
            parent.remove(child)
    return root
