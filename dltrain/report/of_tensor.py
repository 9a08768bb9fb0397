"""The graph of Tensors that somebody made by hand: `dltrain.graph(loss, x=x, w=w)`."""

from dataclasses import dataclass, replace

from dltrain.engine import Tensor
from dltrain.nn.graph import INPUT, PARAMETER, Vertex, below
from dltrain.report.drawing import svg_file
from dltrain.report.graph import to_dot, to_mermaid


@dataclass(frozen=True)
class Graph:
    """vertices: values and the functions that made them, each after what it takes. Notebooks draw it."""

    vertices: list[Vertex]
    title: str = "Computation graph"

    def svg(self) -> str:
        """A picture that stands by itself."""
        return svg_file(self.vertices, self.title)

    def dot(self) -> str:
        """For graphviz."""
        return to_dot(self.vertices)

    def mermaid(self) -> str:
        """For web pages that draw Mermaid, as GitHub does."""
        return to_mermaid(self.vertices)

    def _repr_svg_(self) -> str:
        return self.svg()


def graph(value: Tensor, **names: Tensor) -> Graph:
    """What a Tensor was computed from. names: what Tensors are called. Of one number, such as a loss, with the sizes of
    its gradients; the graph stays, so that `backward` still works. Raises GraphError where it is gone."""
    if not isinstance(value, Tensor):
        raise TypeError(f"graph takes a Tensor, not {value!r}")
    starts = {} if value.node else {"value": value}
    ends = [(value.node.id, "")] if value.node else []
    found = below(value, starts, ends, names, examples=-1, backward=value.data.size == 1)
    shown = {v: replace(v, layer="") for v in found if v.op in (INPUT, PARAMETER)}
    return Graph([shown.get(v, v) for v in found])
