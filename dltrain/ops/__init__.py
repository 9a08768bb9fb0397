"""Every op is one function: forward, and right below it what carries gradients back.

Importing this package also gives Tensors their operators.
"""

from typing import Any

from dltrain.engine import Tensor
from dltrain.ops.activation import (
    FUSED,
    elu,
    gelu,
    leaky_relu,
    prelu,
    relu,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from dltrain.ops.arithmetic import add, divide, exp, log, matmul, multiply, negative, power, subtract
from dltrain.ops.connect import conv, dense
from dltrain.ops.dropout import dropout, dropout_words
from dltrain.ops.loss import binary_cross_entropy, cross_entropy, hinge, huber, mae, mse
from dltrain.ops.norm import absolute_sum, p_norm, square_sum
from dltrain.ops.pool import average_pool, max_pool
from dltrain.ops.reduction import max, mean, sum
from dltrain.ops.shape import concatenate, index, reshape, split, transpose

__all__ = [
    "FUSED", "absolute_sum", "add", "average_pool", "binary_cross_entropy", "concatenate", "conv", "cross_entropy",
    "dense", "divide", "dropout", "dropout_words", "elu", "exp", "gelu", "hinge", "huber", "index", "leaky_relu",
    "log", "mae", "matmul", "max", "max_pool", "mean", "mse", "multiply", "negative", "p_norm", "power", "prelu",
    "relu", "reshape", "selu", "sigmoid", "silu", "softmax", "softplus", "split", "square_sum", "subtract", "sum",
    "tanh", "transpose",
]  # fmt: skip


def _reshape(self: Tensor, *shape: Any) -> Any:
    return reshape(self, shape=shape[0] if isinstance(shape[0], tuple) else shape)


OPERATORS = {
    "__neg__": negative,
    "__add__": add,
    "__radd__": lambda self, other: add(other, self),
    "__sub__": subtract,
    "__rsub__": lambda self, other: subtract(other, self),
    "__mul__": multiply,
    "__rmul__": lambda self, other: multiply(other, self),
    "__truediv__": divide,
    "__rtruediv__": lambda self, other: divide(other, self),
    "__pow__": power,
    "__rpow__": lambda self, other: power(other, self),
    "__matmul__": matmul,
    "__rmatmul__": lambda self, other: matmul(other, self),
    "__getitem__": lambda self, key: index(self, key=key),
    "sum": sum,
    "mean": mean,
    "max": max,
    "exp": exp,
    "log": log,
    "reshape": _reshape,
    "transpose": lambda self, *axes: transpose(self, axes=axes or None),
    "T": property(lambda self: transpose(self)),
}
for _name, _function in OPERATORS.items():
    setattr(Tensor, _name, _function)
