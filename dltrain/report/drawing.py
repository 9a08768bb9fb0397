"""A computation graph as SVG: layers below what they take, branches side by side, the ops of a layer in its panel."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from math import log10
from xml.sax.saxutils import escape, quoteattr

from dltrain.nn.graph import Vertex
from dltrain.report.graph import LEAVES, Vertices, gradient_steps, short_name, size_text
from dltrain.report.lanes import arrange
from dltrain.report.palette import DARK, LIGHT, STEPS, Theme, colours

# In pixels. Ops run down beside their layer's name, what they take besides stands to their right.
ROW, BOX, OP_WIDTH, BAR_WIDTH, GAP, BETWEEN, MARGIN = 46, 34, 110, 110, 32, 12, 12  # OP_WIDTH: at least
CROSSING = 26  # above a row that edges from other lanes lead to
BOW = 10  # how far an edge around others stands off from the next one
NAME_WIDTH = 112  # at least, beside the ops
LETTER, STRONG_LETTER = 7.6, 8.4  # the width of a letter of 13 px and of a name, in the widest usual fonts
STYLE = """
.graph{font:13px system-ui,sans-serif}.graph text{fill:var(--ink)}.graph .small{font-size:11px;fill:var(--muted)}
.graph .paper{fill:var(--paper)}.graph .layer{fill:var(--panel)}.graph .op{fill:var(--good1);stroke:var(--first)}
.graph .leaf{fill:var(--paper);stroke:var(--muted)}.graph .edge{fill:none;stroke:var(--muted);stroke-width:1.3}
.graph .bar{fill:var(--second)}.graph .mid{text-anchor:middle}.graph .strong{font-weight:600}
"""
STYLE += "".join(
    f".graph rect.g{i}{{fill:var(--good{i})}}.graph text.g{i}{{fill:var(--on-good{i})}}\n" for i in range(STEPS)
)


def svg_file(vertices: Vertices, title: str) -> str:
    """A picture that stands by itself, light or dark as the reader's system is."""
    dark = f"@media(prefers-color-scheme:dark){{{_coloured(DARK)}}}"
    return svg_figure(vertices, title, _coloured(LIGHT) + dark)


def _coloured(theme: Theme) -> str:
    """STYLE for programs that know no variables."""
    named = colours(theme)
    return re.sub(r"var\(--([\w-]+)\)", lambda name: named[name[1]], STYLE)


def svg_figure(vertices: Vertices, title: str, style: str = "") -> str:
    """Each op below those whose values it takes; beside it, its gradient on a log scale.

    style: given for a picture by itself; a page has STYLE in its own.
    """
    return "".join(_Drawing(vertices, MARGIN + 28 if style else 4).parts(title, style)) + "</svg>\n"


@dataclass(frozen=True)
class _Lane:
    """x, op, bars: where it begins, its ops and the bars of gradients. widths: of the first leaf, the second …"""

    x: float
    op: float
    widths: list[float]
    bars: float
    width: float


class _Drawing:
    """members: the ops of each layer, in order. spots: where layers stand. y: the middle of each op."""

    def __init__(self, vertices: Vertices, top: int):
        self.vertices = vertices
        self.ops = [i for i, v in enumerate(vertices) if v.op not in LEAVES]
        self.members: dict[str, list[int]] = {}
        for i in self.ops:
            self.members.setdefault(vertices[i].layer, []).append(i)
        self.spots = arrange({name: self._taken(name) for name in self.members})
        self.norms = [vertices[i].gradient or 0.0 for i in self.ops[:-1] if vertices[i].gradient]  # the last one's is 1
        self.steps = gradient_steps(vertices)
        self.top = top + (20 if self.norms else 0)
        labels = [line for i in self.ops for line in (vertices[i].op, vertices[i].shape_text)]
        self.op_width = max(OP_WIDTH, *(round(LETTER * len(line)) + BOX for line in labels))
        self._find_heights()
        self.around = self._edges_around()
        self.lanes = self._find_lanes()

    def _taken(self, layer: str) -> list[str]:
        others = [self.vertices[i].layer for place in self.members[layer] for i in self._inputs(place)]
        return [name for name in dict.fromkeys(others) if name != layer]

    def _inputs(self, place: int) -> list[int]:
        return [i for i in self.vertices[place].inputs if self.vertices[i].op not in LEAVES]

    def _leaves(self, place: int) -> list[Vertex]:
        return [self.vertices[i] for i in self.vertices[place].inputs if self.vertices[i].op in LEAVES]

    def _lane_of(self, place: int) -> int:
        return self.spots[self.vertices[place].layer].lane

    # --- the layout -------------------------------------------------------------------------------------------

    def _find_heights(self) -> None:
        """Every row is as high as its highest panel."""
        rows = max(spot.row for spot in self.spots.values()) + 1
        heights, crossed = [0] * rows, [False] * rows
        for name, places in self.members.items():
            row, lane = self.spots[name].row, self.spots[name].lane
            heights[row] = max(heights[row], len(places) * ROW)
            crossed[row] |= any(self.spots[other].lane != lane for other in self._taken(name))
        ends = list(accumulate(h + CROSSING * c for h, c in zip(heights, crossed, strict=True)))
        self.row_tops = [self.top + end - height for end, height in zip(ends, heights, strict=True)]
        self.height = self.top + ends[-1] + 4
        self.y = {
            place: self.row_tops[self.spots[name].row] + number * ROW + ROW / 2
            for name, places in self.members.items()
            for number, place in enumerate(places)
        }

    def _edges_around(self) -> dict[tuple[int, int], int]:
        """(from, to) in one lane with something in between -> how many others lie within its bow."""
        found: dict[tuple[int, int], int] = {}
        pairs = [(i, place) for place in self.ops for i in self._inputs(place)]
        for start, end in sorted(pairs, key=lambda pair: self.y[pair[1]] - self.y[pair[0]]):
            if self._lane_of(start) != self._lane_of(end):
                continue
            lane = [p for p in self.ops if self._lane_of(p) == self._lane_of(start)]
            if any(self.y[start] < self.y[p] < self.y[end] for p in lane):
                inner = [n for (a, b), n in found.items() if self._lane_of(a) == self._lane_of(start)
                         and self.y[start] <= self.y[b] and self.y[a] <= self.y[end]]  # fmt: skip
                found[start, end] = 1 + max(inner, default=-1)
        return found

    def _find_lanes(self) -> list[_Lane]:
        lanes, x = [], 0.0
        for number in range(max(spot.lane for spot in self.spots.values()) + 1):
            names = [name for name, spot in self.spots.items() if spot.lane == number]
            leaves = [self._leaves(place) for name in names for place in self.members[name]]
            widths = [
                max([60.0, *(LETTER * len(line) + 16 for v in column if v for line in _leaf_lines(v))])
                for column in zip_longest(*leaves)
            ]
            texts = [width for name in names for width in _name_widths(name)]
            bows = [n for (start, _), n in self.around.items() if self._lane_of(start) == number]
            op = x + MARGIN + max(NAME_WIDTH, *texts) + (BOW * max(bows) if bows else 0)
            bars = op + self.op_width + GAP + sum(widths) + BETWEEN * max(len(widths) - 1, 0) + (GAP if widths else 0)
            end = bars + (BAR_WIDTH + 140 if self.norms else MARGIN - (GAP if widths else 0))
            lanes.append(_Lane(x, op, widths, bars, round(end) - x))
            x = round(end) + 8.0
        return lanes

    # --- the picture ------------------------------------------------------------------------------------------

    def parts(self, title: str, style: str) -> Iterator[str]:
        width = round(self.lanes[-1].x + self.lanes[-1].width)
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" viewBox="0 0 {width} {self.height}" '
            f'width="{width}" height="{self.height}" role="img" aria-label={quoteattr(title)}>'
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path class="edge" d="M1,1 L8,4 L1,7"/></marker></defs>'
        )
        if style:
            yield (
                f'<style>{style}</style><rect class="paper" width="{width}" height="{self.height}"/>'
                f'<text x="{MARGIN}" y="{MARGIN + 14}" style="font-size:16px;font-weight:600">{escape(title)}</text>'
            )
        if self.norms:
            x = self.lanes[0].bars
            yield f'<text class="small" x="{x}" y="{self.top - 6}">‖gradient‖ of the output, logarithmic</text>'
        yield from map(self._panel, self.members)
        for place in self.ops:
            yield from self._edges(place)
        for place in self.ops:
            yield from self._op(place)

    def _panel(self, name: str) -> str:
        spot, places = self.spots[name], self.members[name]
        lane, band = self.lanes[spot.lane], self.y[places[0]] - ROW / 2 + 2
        x, middle = lane.x + MARGIN, band + len(places) * ROW / 2 + 3
        around, _, own = name.rpartition(".")
        above = f'<text class="small" x="{x}" y="{middle - 9}">{escape(around)}</text>' if around else ""
        height = len(places) * ROW - 4
        return (
            f'<rect class="layer" rx="6" x="{lane.x}" y="{band}" width="{lane.width}" height="{height}"/>'
            f'{above}<text class="strong" x="{x}" y="{middle + 5 if around else middle}">{escape(own)}</text>'
        )

    def _op(self, place: int) -> Iterator[str]:
        v, middle, lane = self.vertices[place], self.y[place], self.lanes[self._lane_of(place)]
        end = lane.op + self.op_width
        for number, (leaf, width) in enumerate(zip(self._leaves(place), lane.widths, strict=False)):
            x = end + (BETWEEN if number else GAP)
            tip = "" if number else ' marker-end="url(#tip)"'
            yield f'<path class="edge"{tip} d="M{x:.1f},{middle} H{end:.1f}"/>'
            yield _box("leaf", x, middle, width, _leaf_lines(leaf))
            end = x + width
        step = self.steps.get(place)
        yield _box("op", lane.op, middle, self.op_width, [v.op, v.shape_text], "" if step is None else f" g{step}")
        if v.gradient and place != self.ops[-1]:
            lowest = min(*self.norms, max(self.norms) / 1e3)  # small differences are to look small
            share = log10(v.gradient / lowest) / log10(max(self.norms) / lowest)
            bar = 4 + share * (BAR_WIDTH - 4)
            yield f'<rect class="bar" rx="2" x="{lane.bars}" y="{middle - 6}" width="{bar:.1f}" height="12"/>'
            x = lane.bars + bar + 8
            yield f'<text class="small" x="{x:.1f}" y="{middle + 4}">{size_text(v.gradient)}</text>'

    def _edges(self, place: int) -> Iterator[str]:
        """Straight down in a lane, or around what stands between; from another lane, across above the row."""
        for source in self._inputs(place):
            start, end = self.lanes[self._lane_of(source)].op, self.lanes[self._lane_of(place)].op
            y, down = self.y[source], self.y[place] - BOX / 2
            x, across = start + self.op_width / 2, end + self.op_width / 2
            if (source, place) in self.around:
                left = start - GAP - BOW * self.around[source, place]
                way = f"M{start},{y} C{left},{y} {left},{self.y[place]} {start},{self.y[place]}"
            elif start == end:
                way = f"M{x},{y + BOX / 2} V{down}"
            else:
                turn = self.row_tops[self.spots[self.vertices[place].layer].row] - CROSSING
                way = f"M{x},{y + BOX / 2} V{turn} C{x},{turn + CROSSING} {across},{turn} {across},{down}"
            yield f'<path class="edge" marker-end="url(#tip)" d="{way}"/>'


def _box(kind: str, x: float, middle: float, width: float, lines: Sequence[str], colour: str = "") -> str:
    corners = BOX / 2 if kind == "op" else 4
    place = f'x="{x:.1f}" y="{middle - BOX / 2}" width="{width:.1f}" height="{BOX}"'
    return (
        f'<rect class="{kind}{colour}" rx="{corners}" {place}/>'
        f'<text class="mid{colour}" x="{x + width / 2:.1f}" y="{middle - 2}">{escape(lines[0])}</text>'
        f'<text class="small mid{colour}" x="{x + width / 2:.1f}" y="{middle + 11}">{escape(lines[1])}</text>'
    )


def _name_widths(name: str) -> tuple[float, float]:
    around, _, own = name.rpartition(".")
    return len(own) * STRONG_LETTER + GAP, len(around) * LETTER + GAP


def _leaf_lines(v: Vertex) -> list[str]:
    gradient = f" · ‖g‖ {size_text(v.gradient)}" if v.gradient is not None else ""
    return [short_name(v), f"{v.shape_text}{f' = {v.size:,}' if len(v.shape) > 1 and v.size else ''}{gradient}"]
