"""Automatic differentiation: Tensors, gradients and how to check them. Knows no layer and no device."""

from dltrain.engine.gradcheck import GradientMismatch, distinct, gradcheck
from dltrain.engine.tensor import OPS, GraphError, Node, Tensor, ancestors, gradients, no_grad, op

__all__ = [
    "OPS", "GradientMismatch", "GraphError", "Node", "Tensor", "ancestors", "distinct", "gradcheck", "gradients",
    "no_grad", "op",
]  # fmt: skip
