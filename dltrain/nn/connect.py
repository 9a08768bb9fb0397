"""Layers with weights: dense and conv."""

from copy import copy
from math import prod

from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.activation import ActivationName, fuse
from dltrain.nn.init import Initializer
from dltrain.nn.layer import LAYERS, Context, Layer, count_text
from dltrain.nn.parameter import Parameter, Shape
from dltrain.nn.penalty import Penalty
from dltrain.ops import conv, dense
from dltrain.registry import Count
from dltrain.window import Ints, Padding, Window


class Connected(Layer):
    """weight and bias; `activation` and `init` None stand for the model's defaults until the spec fills them in.

    `penalty` replaces the model's for this layer.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        weight_shape: Shape,
        fans: tuple[int, int],
        bias: bool,
        activation: str | None,
        init: Initializer | None,
        trainable: bool,
        penalty: Penalty | None,
    ):
        super().__init__(in_shape, out_shape)
        if init is None:
            raise TypeError("a layer with weights needs an init")
        init.check(weight_shape)
        self.weight = Parameter(weight_shape, init=init, fan_in=fans[0], fan_out=fans[1], trainable=trainable)
        self.bias = Parameter(out_shape[-1:], trainable=trainable) if bias else None
        self.penalty = penalty
        self.activation = None if activation == "none" else activation
        self.fused, self.finish = fuse(activation)
        self.arithmetic = count_text(*weight_shape, plus=out_shape[-1] if bias else 0)

    def without_activation(self) -> "Connected":
        """A layer with the same weights that gives what the activation would be applied to."""
        linear = copy(self)
        linear.activation, (linear.fused, linear.finish) = None, fuse(None)
        return linear


@LAYERS.register("dense")
class Dense(Connected):
    """activation(x · weight + bias): every output sees every input. (in,) -> (units,)"""

    def __init__(
        self,
        in_shape: Shape,
        *,
        units: Count,
        activation: ActivationName | None = None,
        init: Initializer | None = None,
        bias: bool = True,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        if len(in_shape) != 1:
            raise ShapeError(
                f"dense takes a row of numbers (in,), but the input is {in_shape}; put `- flatten` before it, "
                f"which makes {'·'.join(map(str, in_shape))} = {prod(in_shape):,} numbers"
            )
        weight = (in_shape[0], units)
        super().__init__(in_shape, (units,), weight, weight, bias, activation, init, trainable, penalty)
        self.multiply_adds = in_shape[0] * units

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        return self.finish(dense(x, self.weight, self.bias, activation=self.fused))


@LAYERS.register("conv")
class Conv(Connected):
    """activation(x ∗ weight + bias) over 1, 2 or 3 spatial dimensions, as many as the input has.

    (*size, C) -> (*out_size, channels)
    """

    def __init__(
        self,
        in_shape: Shape,
        *,
        channels: Count,
        kernel: Ints = 3,
        stride: Ints = 1,
        padding: Padding = "valid",
        dilation: Ints = 1,
        groups: Count = 1,
        activation: ActivationName | None = None,
        init: Initializer | None = None,
        bias: bool = True,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        if not 2 <= len(in_shape) <= 4:
            raise ShapeError(
                f"conv takes (*size, channels) with 1 to 3 spatial dimensions, but the input is {in_shape}"
            )
        *size, inputs = in_shape
        for what, number in (("input", inputs), ("output", channels)):
            if number % groups:
                raise ShapeError(
                    f"{number} {what} channels cannot be cut into {groups} groups: {number} / {groups} is not whole"
                )
        window = Window.of(tuple(size), kernel, stride, padding, dilation)
        seen = inputs // groups
        weight = (*window.kernel, seen, channels)
        fans = prod(window.kernel) * seen, prod(window.kernel) * channels // groups
        out_shape = (*window.out_size, channels)
        super().__init__(in_shape, out_shape, weight, fans, bias, activation, init, trainable, penalty)
        self.window, self.groups = window, groups
        self.settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.multiply_adds = prod(window.out_size) * prod(weight)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        return self.finish(conv(x, self.weight, self.bias, activation=self.fused, **self.settings))
