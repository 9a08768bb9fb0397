"""A computation graph as text, as DOT for graphviz and as Mermaid for web pages; drawing.py makes a picture of it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from math import log10

from dltrain.nn.graph import CONSTANT, INPUT, PARAMETER, Vertex
from dltrain.report.palette import LIGHT, STEPS, scale

LEAVES = (PARAMETER, CONSTANT)
Vertices = Sequence[Vertex]


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
        parameters = ", ".join(f"{short_name(leaf)} {leaf.shape_text}" for leaf in leaves)
        row: list[object] = [numbers[place], v.layer, v.op, sources, v.shape_text, parameters]
        if measured:
            sizes = ", ".join(f"{short_name(leaf)} {size_text(leaf.gradient)}" for leaf in leaves)
            row += [size_text(v.gradient), sizes]
        rows.append(row)
    columns = ["", "layer", "op", "of", "shape", "parameters"]
    return columns + (["‖gradient‖", "of parameters"] if measured else []), rows


def by_layers(vertices: Vertices) -> list[Vertex]:
    """One vertex for each layer, in place of its ops: what it takes and gives, and how many parameters it has."""
    last = {v.layer: v for v in vertices if v.op not in LEAVES}
    places = {layer: place for place, layer in enumerate(last)}
    found = []
    for layer, end in last.items():
        own = [v for v in vertices if v.layer == layer]
        taken = dict.fromkeys(places[vertices[i].layer] for v in own for i in v.inputs if vertices[i].op not in LEAVES)
        inputs = tuple(place for place in taken if place != places[layer])
        ops = " · ".join(dict.fromkeys(v.op for v in own if v.op not in LEAVES))
        found.append(replace(end, op=ops, inputs=inputs, size=sum(v.size for v in own)))
    return found


def to_mermaid(vertices: Vertices) -> str:
    """For web pages that draw Mermaid: a box for each layer, in it the ops, rounded, and what is stored, angular."""
    lines, coloured = ["flowchart TD"], _colours(vertices)
    for number, (layer, members) in enumerate(groupby(range(len(vertices)), key=lambda i: vertices[i].layer)):
        lines.append(f'  subgraph s{number}["{_plain(layer)}"]')
        for i in members:
            label = "<br/>".join(map(_plain, _label(vertices[i])))
            stored = vertices[i].op in (INPUT, *LEAVES)
            lines.append(f'    v{i}["{label}"]' if stored else f'    v{i}(["{label}"])')
        lines.append("  end")
    lines += [f'  v{i} -->|"{vertices[i].shape_text}"| v{j}' for j, v in enumerate(vertices) for i in v.inputs]
    lines += [f"  style v{i} fill:{back},color:{ink}" for i, (back, ink) in coloured.items()]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Mermaid knows no escapes but entities."""
    return "".join(letter if letter.isalnum() or letter in " .,·×‖()_-=" else f"#{ord(letter)};" for letter in text)


def gradient_steps(vertices: Vertices) -> dict[int, int]:
    """Place -> how far on the colour scale the size of its gradient is, logarithmic, over a factor of 1000 at most."""
    sizes = {i: v.gradient for i, v in enumerate(vertices) if v.gradient}
    if not sizes:
        return {}
    highest = max(sizes.values())
    factors = log10(highest / max(min(sizes.values()), highest / 1e3)) or 1.0
    shares = {i: max(0.0, 1 + log10(size / highest) / factors) for i, size in sizes.items()}
    return {i: round(share * (STEPS - 1)) for i, share in shares.items()}


def _colours(vertices: Vertices) -> dict[int, tuple[str, str]]:
    """Place -> (background, text)."""
    return {i: scale(LIGHT, "good")[step] for i, step in gradient_steps(vertices).items()}


def to_dot(vertices: Vertices) -> str:
    """For `dot -Tsvg`: a cluster for each layer, boxes for what is stored and ellipses for what is computed."""
    coloured = _colours(vertices)
    lines = ["digraph network {", '  node [fontname="sans-serif"]; edge [fontname="sans-serif", fontsize=10];']
    for layer, members in groupby(range(len(vertices)), key=lambda i: vertices[i].layer):
        lines.append(f"  subgraph {_quoted(f'cluster_{layer}')} {{ label={_quoted(layer)};")
        for i in members:
            v = vertices[i]
            shape = "box" if v.op in (INPUT, *LEAVES) else "ellipse"
            back, ink = coloured.get(i, ("", ""))
            fill = f", style=filled, fillcolor={_quoted(back)}, fontcolor={_quoted(ink)}" if back else ""
            lines.append(f"    v{i} [shape={shape}, label={_quoted(chr(10).join(_label(v)))}{fill}];")
        lines.append("  }")
    lines += [
        f"  v{i} -> v{j} [label={_quoted(vertices[i].shape_text)}];" for j, v in enumerate(vertices) for i in v.inputs
    ]
    return "\n".join([*lines, "}"])


def _label(v: Vertex) -> list[str]:
    lines = [v.name or v.op, v.shape_text] if v.op in (INPUT, *LEAVES) else [v.op]
    return lines + ([f"gradient {size_text(v.gradient)}"] if v.gradient is not None else [])


def _numbers(vertices: Vertices) -> dict[int, int]:
    """Place -> the number that a reader sees; leaves have none."""
    return {place: number for number, place in enumerate(i for i, v in enumerate(vertices) if v.op not in LEAVES)}


def short_name(v: Vertex) -> str:
    return v.name.rpartition(".")[2] or v.op


def size_text(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
