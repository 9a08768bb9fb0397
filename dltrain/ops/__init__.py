"""Every op is one function: forward, and right below it what carries gradients back.

Importing this package also gives Tensors their operators.
"""

from typing import Any

from dltrain.engine import Tensor
from dltrain.ops.activation import (
    FUSED,
    elu,
    gelu,
    hard_swish,
    leaky_relu,
    log_sigmoid,
    prelu,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from dltrain.ops.arithmetic import (
    abs,
    add,
    clip,
    cos,
    divide,
    exp,
    log,
    matmul,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    sin,
    sqrt,
    subtract,
    where,
)
from dltrain.ops.connect import conv, conv_transpose, dense
from dltrain.ops.dropout import dropout, dropout_words
from dltrain.ops.index import index
from dltrain.ops.loss import (
    binary_cross_entropy,
    cross_entropy,
    hinge,
    huber,
    labels_cross_entropy,
    mae,
    mse,
)
from dltrain.ops.norm import absolute_sum, p_norm, square_sum
from dltrain.ops.normalise import batch_norm, group_norm, layer_norm
from dltrain.ops.pool import average_pool, max_pool
from dltrain.ops.reduction import max, mean, sum
from dltrain.ops.resize import pad, upsample
from dltrain.ops.sequence import attention, embedding, gru, lstm, rnn
from dltrain.ops.shape import concatenate, reshape, split, stack, transpose
from dltrain.ops.spectral import spectral_norm
from dltrain.ops.style import content, gram, total_variation

__all__ = [
    "FUSED", "abs", "absolute_sum", "add", "attention", "average_pool", "batch_norm", "binary_cross_entropy",
    "clip", "concatenate", "content", "conv", "conv_transpose", "cos", "cross_entropy", "dense", "divide",
    "dropout", "dropout_words", "elu", "embedding", "exp", "gelu", "gram", "group_norm", "gru", "hard_swish",
    "hinge", "huber", "index", "labels_cross_entropy", "layer_norm", "leaky_relu", "log", "log_sigmoid", "lstm",
    "mae", "matmul", "max", "max_pool", "maximum", "mean", "minimum", "mse", "multiply", "negative", "p_norm",
    "pad", "power", "prelu", "relu", "relu6", "reshape", "rnn", "selu", "sigmoid", "silu", "sin", "softmax",
    "softplus", "spectral_norm", "split", "sqrt", "square_sum", "stack", "subtract", "sum", "tanh",
    "total_variation", "transpose", "upsample", "where",
]  # fmt: skip


def _reshape(self: Tensor, *shape: Any) -> Any:
    return reshape(self, shape=shape[0] if isinstance(shape[0], tuple) else shape)


def _values(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


OPERATORS = {
    "__neg__": negative,
    "__abs__": abs,
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
    # comparisons have no gradient: they give arrays of bools, for `where` and as masks
    "__lt__": lambda self, other: self.data < _values(other),
    "__le__": lambda self, other: self.data <= _values(other),
    "__gt__": lambda self, other: self.data > _values(other),
    "__ge__": lambda self, other: self.data >= _values(other),
    "__getitem__": lambda self, key: index(self, key=key),
    "sum": sum,
    "mean": mean,
    "max": max,
    "exp": exp,
    "log": log,
    "sqrt": sqrt,
    "abs": abs,
    "sin": sin,
    "cos": cos,
    "clip": lambda self, min=None, max=None: clip(self, min=min, max=max),
    "reshape": _reshape,
    "transpose": lambda self, *axes: transpose(self, axes=axes or None),
    "T": property(lambda self: transpose(self)),
}
for _name, _function in OPERATORS.items():
    setattr(Tensor, _name, _function)
