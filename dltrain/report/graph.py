"""A computation graph as text and as DOT for graphviz; drawing.py makes a picture of it."""

from collections.abc import Sequence
from itertools import groupby

from dltrain.nn.graph import CONSTANT, INPUT, PARAMETER, Vertex

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
