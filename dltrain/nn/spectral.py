"""Spectral normalisation, as a part of layers with weights."""

from math import prod
from typing import Any

from dltrain import ops
from dltrain.backend import array_module
from dltrain.engine import Tensor
from dltrain.nn.init import Normal
from dltrain.nn.layer import Context, Layer
from dltrain.nn.parameter import Buffer, Shape
from dltrain.ops.spectral import as_matrix

Array = Any
AT_FIRST = 15  # iterations, as in PyTorch


class SpectralNorm(Layer):
    """(weights, context) -> the weights divided by their largest singular value σ, so that no input of the layer gets
    longer than it was (Miyato et al., 2018). Weights count as a matrix of all that an output sums over by all outputs.

    σ = vᵀ M u is found by power iteration: u and v are buffers, and every step goes on from the last one's by one
    iteration, u = Mᵀ v / ‖Mᵀ v‖, v = M u / ‖M u‖. To the gradient they are constants, as in PyTorch.
    """

    def __init__(self, weight_shape: Shape, axis: int, trainable: bool):
        """axis: along which the outputs lie. trainable: whether the weights change, and the vectors with them."""
        super().__init__(weight_shape, weight_shape)
        self.axis, self.trainable = axis, trainable
        outputs = weight_shape[axis]
        inputs = prod(weight_shape) // outputs
        self.u = Buffer((outputs,), start=Normal(std=1.0), momentum=1.0)
        self.v = Buffer((inputs,), start=Normal(std=1.0), momentum=1.0)

    def __call__(self, w: Tensor, context: Context) -> Tensor:
        u, v = self.u.data, self.v.data
        if context.training and context.record is not None and self.trainable:
            u, v = self._nearer(w.data, u, v)
            context.record(self, {"u": u, "v": v})
        y: Tensor = ops.spectral_norm(w, u=u, v=v, axis=self.axis)
        return y

    def begin_with(self, w: Array) -> None:
        """Bring the vectors near to those of the initial weights."""
        for _ in range(AT_FIRST):
            self.u.data, self.v.data = self._nearer(w, self.u.data, self.v.data)

    def _nearer(self, w: Array, u: Array, v: Array) -> tuple[Array, Array]:
        matrix = as_matrix(w, self.axis)
        u = _unit(matrix.T @ v, u)
        return u, _unit(matrix @ u, v)


def _unit(x: Array, before: Array) -> Array:
    """Of length 1; what it was before where there is no direction, as with weights that are all 0."""
    xp = array_module(x)
    length = xp.sqrt(x @ x)
    return xp.where(length > 0, x / (length + (length == 0)), before)
