"""A computation graph as text, as DOT for graphviz, and as SVG."""

import re
from collections.abc import Sequence
from itertools import groupby, zip_longest
from math import log10
from xml.sax.saxutils import escape, quoteattr

from dltrain.nn.graph import CONSTANT, INPUT, PARAMETER, Vertex
from dltrain.report.palette import DARK, LIGHT, Theme, colours

LEAVES = (PARAMETER, CONSTANT)
Vertices = Sequence[Vertex]

# The layout of the SVG, in pixels. Ops run down beside the layers' names, what they take besides stands to their right.
ROW, BOX, OP_WIDTH, BAR_WIDTH, GAP, BETWEEN, MARGIN = 46, 34, 130, 110, 32, 12, 12
LEFT, RIGHT = 124, 124 + OP_WIDTH  # the sides of an op
LETTER = 6.4  # a small letter's width, on average
STYLE = """
.graph{font:13px system-ui,sans-serif}.graph text{fill:var(--ink)}.graph .small{font-size:11px;fill:var(--muted)}
.graph .paper{fill:var(--paper)}.graph .layer{fill:var(--panel)}.graph .op{fill:var(--good1);stroke:var(--first)}
.graph .leaf{fill:var(--paper);stroke:var(--muted)}.graph .edge{fill:none;stroke:var(--muted);stroke-width:1.3}
.graph .bar{fill:var(--second)}.graph .mid{text-anchor:middle}.graph .strong{font-weight:600}
"""


def graph_rows(vertices: Vertices) -> tuple[list[str], list[list[object]]]:
    """(columns, a row for each op): its layer, what it makes of what, and the parameters that it takes."""
    measured = any(v.gradient is not None for v in vertices)
    rows: list[list[object]] = []
    numbers = _numbers(vertices)
    for place, v in enumerate(vertices):
        if v.op in LEAVES:
            continue
        leaves = [vertices[i] for i in v.inputs if vertices[i].op in LEAVES]
        sources = ", ".join(str(numbers[i]) for i in v.inputs if i in numbers)
        parameters = ", ".join(f"{_short_name(leaf)} {leaf.shape_text}" for leaf in leaves)
        row: list[object] = [numbers[place], v.layer, v.op, sources, v.shape_text, parameters]
        if measured:
            row += [_size(v.gradient), ", ".join(f"{_short_name(leaf)} {_size(leaf.gradient)}" for leaf in leaves)]
        rows.append(row)
    columns = ["", "layer", "op", "of", "shape", "parameters"]
    return columns + (["‖gradient‖", "of parameters"] if measured else []), rows


def to_dot(vertices: Vertices) -> str:
    """For `dot -Tsvg`: a cluster for each layer, boxes for what is stored and ellipses for what is computed."""
    lines = ["digraph network {", '  node [fontname="sans-serif"]; edge [fontname="sans-serif", fontsize=10];']
    for layer, members in groupby(range(len(vertices)), key=lambda i: vertices[i].layer):
        lines.append(f"  subgraph {_quoted(f'cluster_{layer}')} {{ label={_quoted(layer)};")
        for i in members:
            v = vertices[i]
            shape = "box" if v.op in (INPUT, *LEAVES) else "ellipse"
            lines.append(f"    v{i} [shape={shape}, label={_quoted(chr(10).join(_label(v)))}];")
        lines.append("  }")
    lines += [
        f"  v{i} -> v{j} [label={_quoted(vertices[i].shape_text)}];" for j, v in enumerate(vertices) for i in v.inputs
    ]
    return "\n".join([*lines, "}"])


def svg_file(vertices: Vertices, title: str) -> str:
    """A picture that stands by itself, light or dark as the reader's system is."""
    dark = f"@media(prefers-color-scheme:dark){{{_coloured(DARK)}}}"
    return svg_figure(vertices, title, _coloured(LIGHT) + dark)


def _coloured(theme: Theme) -> str:
    """STYLE for programs that know no variables."""
    named = colours(theme)
    return re.sub(r"var\(--(\w+)\)", lambda name: named[name[1]], STYLE)


def svg_figure(vertices: Vertices, title: str, style: str = "") -> str:
    """Ops from top to bottom in the order in which they were computed; beside each, its gradient on a log scale.

    style: given for a picture by itself; a page has STYLE in its own.
    """
    ops = [i for i, v in enumerate(vertices) if v.op not in LEAVES]
    row_of = {place: row for row, place in enumerate(ops)}
    leaves = {place: [i for i in vertices[place].inputs if vertices[i].op in LEAVES] for place in ops}
    widths = [  # of an op's first leaf, its second one …
        max(60.0, *(LETTER * len(line) + 16 for i in column if i is not None for line in _leaf_lines(vertices[i])))
        for column in zip_longest(*leaves.values())
    ]
    bars = RIGHT + GAP + sum(widths) + BETWEEN * max(len(widths) - 1, 0) + GAP
    norms = [vertices[i].gradient or 0.0 for i in ops[:-1] if vertices[i].gradient]  # the last one's is always 1
    width = round(bars + (BAR_WIDTH + 90 if norms else MARGIN - GAP))
    top = (MARGIN + 28 if style else 4) + (20 if norms else 0)
    height = top + len(ops) * ROW + 4

    def y(place: int) -> float:
        """The middle of an op's row."""
        return top + row_of[place] * ROW + ROW / 2

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label={quoteattr(title)}>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="edge" d="M1,1 L8,4 L1,7"/></marker></defs>',
    ]
    if style:
        parts.append(
            f'<style>{style}</style><rect class="paper" width="{width}" height="{height}"/>'
            f'<text x="{MARGIN}" y="{MARGIN + 14}" style="font-size:16px;font-weight:600">{escape(title)}</text>'
        )
    if norms:
        parts.append(f'<text class="small" x="{bars}" y="{top - 6}">‖gradient‖ of the output, logarithmic</text>')
    for layer, members in groupby(ops, key=lambda i: vertices[i].layer):
        rows = list(members)
        band = y(rows[0]) - ROW / 2 + 2
        parts.append(
            f'<rect class="layer" rx="6" x="0" y="{band}" width="{width}" height="{len(rows) * ROW - 4}"/>'
            f'<text class="strong" x="{MARGIN}" y="{band + len(rows) * ROW / 2 + 3}">{escape(layer)}</text>'
        )
    for place in ops:
        v, middle, end = vertices[place], y(place), float(RIGHT)
        for number, (i, leaf_width) in enumerate(zip(leaves[place], widths, strict=False)):
            x = end + (BETWEEN if number else GAP)
            tip = "" if number else ' marker-end="url(#tip)"'
            parts.append(f'<path class="edge"{tip} d="M{x:.1f},{middle} H{end:.1f}"/>')
            parts.append(_box("leaf", x, middle, leaf_width, _leaf_lines(vertices[i])))
            end = x + leaf_width
        parts.append(_box("op", LEFT, middle, OP_WIDTH, [v.op, v.shape_text]))
        parts += [_edge(y(i), middle, row_of[place] - row_of[i]) for i in v.inputs if i in row_of]
        if v.gradient and place != ops[-1]:
            lowest = min(*norms, max(norms) / 1e3)  # small differences are to look small
            share = log10(v.gradient / lowest) / log10(max(norms) / lowest)
            bar = 4 + share * (BAR_WIDTH - 4)
            parts.append(f'<rect class="bar" rx="2" x="{bars}" y="{middle - 6}" width="{bar:.1f}" height="12"/>')
            parts.append(f'<text class="small" x="{bars + bar + 8:.1f}" y="{middle + 4}">{_size(v.gradient)}</text>')
    return "".join([*parts, "</svg>\n"])


def _edge(start: float, end: float, rows: int) -> str:
    """Straight down to the next row; around the rows between on the left where there are some."""
    x = (LEFT + RIGHT) / 2
    way = f"M{x},{start + BOX / 2} V{end - BOX / 2}" if rows == 1 else (
        f"M{LEFT},{start} C{LEFT - GAP},{start} {LEFT - GAP},{end} {LEFT},{end}"
    )  # fmt: skip
    return f'<path class="edge" marker-end="url(#tip)" d="{way}"/>'


def _box(kind: str, x: float, middle: float, width: float, lines: Sequence[str]) -> str:
    corners = BOX / 2 if kind == "op" else 4
    return (
        f'<rect class="{kind}" rx="{corners}" x="{x:.1f}" y="{middle - BOX / 2}" width="{width:.1f}" height="{BOX}"/>'
        f'<text class="mid" x="{x + width / 2:.1f}" y="{middle - 2}">{escape(lines[0])}</text>'
        f'<text class="small mid" x="{x + width / 2:.1f}" y="{middle + 11}">{escape(lines[1])}</text>'
    )


def _leaf_lines(v: Vertex) -> list[str]:
    gradient = f" · ‖g‖ {_size(v.gradient)}" if v.gradient is not None else ""
    return [_short_name(v), f"{v.shape_text}{f' = {v.size:,}' if len(v.shape) > 1 and v.size else ''}{gradient}"]


def _label(v: Vertex) -> list[str]:
    lines = [v.name or v.op, v.shape_text] if v.op in (INPUT, *LEAVES) else [v.op]
    return lines + ([f"gradient {_size(v.gradient)}"] if v.gradient is not None else [])


def _numbers(vertices: Vertices) -> dict[int, int]:
    """Place -> the number that a reader sees; leaves have none."""
    return {place: number for number, place in enumerate(i for i, v in enumerate(vertices) if v.op not in LEAVES)}


def _short_name(v: Vertex) -> str:
    return v.name.rpartition(".")[2] or v.op


def _size(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
