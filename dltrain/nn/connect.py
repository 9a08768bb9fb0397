"""Layers with weights: dense, conv, conv_transpose."""

from copy import copy
from math import prod

from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.activation import ActivationName, fuse
from dltrain.nn.init import Initializer
from dltrain.nn.layer import LAYERS, Context, Layer, count_text, counted
from dltrain.nn.norm import NormSettings
from dltrain.nn.parameter import Parameter, Shape
from dltrain.nn.penalty import Penalty
from dltrain.nn.spectral import SpectralNorm
from dltrain.ops import conv, conv_transpose, dense
from dltrain.registry import Count, Size
from dltrain.window import Ints, Padding, Window


class Connected(Layer):
    """weight and bias; `activation` and `init` None stand for the model's defaults until the spec fills them in.

    norm: a layer that stands between the product and the activation, as a part of this one. bias: null is true, or
    false with a norm, whose shift does the same. spectral_norm: whether weights are divided by their largest singular
    value; penalties and `layers.jsonl` are about those before. `penalty` replaces the model's for this layer.
    trainable: all of it.
    """

    outputs_axis = -1  # of the weights

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        weight_shape: Shape,
        fans: tuple[int, int],
        bias: bool | None,
        activation: str | None,
        norm: NormSettings | None,
        spectral_norm: bool,
        init: Initializer | None,
        trainable: bool,
        penalty: Penalty | None,
    ):
        super().__init__(in_shape, out_shape)
        if init is None:
            raise TypeError("a layer with weights needs an init")
        init.check(weight_shape)
        self.weight = Parameter(weight_shape, init=init, fan_in=fans[0], fan_out=fans[1], trainable=trainable)
        has_bias = norm is None if bias is None else bias
        self.bias = Parameter(out_shape[-1:], trainable=trainable) if has_bias else None
        self.norm = None if norm is None else norm.build(out_shape, trainable)
        self.spectral_norm = SpectralNorm(weight_shape, self.outputs_axis, trainable) if spectral_norm else None
        self.penalty = penalty
        self._activate(activation)
        counted = [(2, *out_shape[-1:])] if self.norm and self.norm.parameters else []
        self.arithmetic = count_text(weight_shape, *([out_shape[-1:]] if has_bias else []), *counted)

    def begin(self) -> None:
        if self.spectral_norm is not None:
            self.spectral_norm.begin_with(self.weight.data)

    def _weight(self, context: Context) -> Tensor:
        """What the input is multiplied by."""
        if self.spectral_norm is None:
            return self.weight
        return self.spectral_norm(self.weight, context.within(self, "spectral_norm"))

    def _activate(self, activation: str | None) -> None:
        self.activation = None if activation == "none" else activation
        self.fused, self.finish = fuse(activation, last=self.norm is None)

    def _after(self, product: Tensor, context: Context) -> Tensor:
        """What comes out, of the product with the bias and, where it could be fused, the activation."""
        return self.finish(product if self.norm is None else self.norm(product, context.within(self, "norm")))

    @property
    def mixes_examples(self) -> bool:
        return self.norm is not None and self.norm.mixes_examples

    def with_activation_apart(self) -> "Connected":
        """A layer with the same weights that applies the activation by an op of its own, to the same values."""
        apart = copy(self)
        apart.fused, apart.finish = fuse(self.activation, last=False)
        return apart

    def without_activation(self) -> "Connected":
        """A layer with the same weights that gives what the activation would be applied to."""
        linear = copy(self)
        linear._activate(None)
        return linear


@LAYERS.register("dense")
class Dense(Connected):
    """activation(x · weight + bias): every output sees every input. (in,) -> (units,)

    units: how many, or `vocabulary`: one for each token of the data set's text. At every position of (*size, in) by
    itself, with the same weights -> (*size, units); `- flatten` before it makes one row of all positions.
    """

    def __init__(
        self,
        in_shape: Shape,
        *,
        units: Size,
        activation: ActivationName | None = None,
        init: Initializer | None = None,
        bias: bool | None = None,
        norm: NormSettings | None = None,
        spectral_norm: bool = False,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        if not in_shape:
            raise ShapeError("dense takes rows of numbers (*size, in), but the input is ()")
        width = counted(units)
        weight, out_shape = (in_shape[-1], width), (*in_shape[:-1], width)
        own = (bias, activation, norm, spectral_norm, init, trainable, penalty)
        super().__init__(in_shape, out_shape, weight, weight, *own)
        self.multiply_adds = prod(in_shape) * width

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        return self._after(dense(x, self._weight(context), self.bias, activation=self.fused), context)


def _positions(kind: str, in_shape: Shape) -> Shape:
    """in_shape. Raises ShapeError unless it is one of channels at positions."""
    if not 2 <= len(in_shape) <= 4:
        raise ShapeError(f"{kind} takes (*size, channels) with 1 to 3 spatial dimensions, but the input is {in_shape}")
    return in_shape


def _cut(inputs: int, channels: int, groups: int) -> None:
    for what, number in (("input", inputs), ("output", channels)):
        if number % groups:
            raise ShapeError(
                f"{number} {what} channels cannot be cut into {groups} groups: {number} / {groups} is not whole"
            )


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
        bias: bool | None = None,
        norm: NormSettings | None = None,
        spectral_norm: bool = False,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        *size, inputs = _positions("conv", in_shape)
        _cut(inputs, channels, groups)
        window = Window.of(tuple(size), kernel, stride, padding, dilation)
        seen = inputs // groups
        weight = (*window.kernel, seen, channels)
        fans = prod(window.kernel) * seen, prod(window.kernel) * channels // groups
        out_shape = (*window.out_size, channels)
        own = (bias, activation, norm, spectral_norm, init, trainable, penalty)
        super().__init__(in_shape, out_shape, weight, fans, *own)
        self.window, self.groups = window, groups
        self.settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.multiply_adds = prod(window.out_size) * prod(weight)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        return self._after(conv(x, self._weight(context), self.bias, activation=self.fused, **self.settings), context)


@LAYERS.register("depthwise_conv")
class DepthwiseConv(Conv):
    """A conv of each channel by itself, `multiplier` output channels for each. With `conv: {kernel: 1}` after it, a
    separable convolution (Chollet, "Xception", 2017). (*size, C) -> (*out_size, C · multiplier)"""

    def __init__(
        self,
        in_shape: Shape,
        *,
        kernel: Ints = 3,
        stride: Ints = 1,
        padding: Padding = "valid",
        dilation: Ints = 1,
        multiplier: Count = 1,
        activation: ActivationName | None = None,
        init: Initializer | None = None,
        bias: bool | None = None,
        norm: NormSettings | None = None,
        spectral_norm: bool = False,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        inputs = _positions("depthwise_conv", in_shape)[-1]
        super().__init__(
            in_shape, channels=inputs * multiplier, kernel=kernel, stride=stride, padding=padding, dilation=dilation,
            groups=inputs, activation=activation, init=init, bias=bias, norm=norm,
            spectral_norm=spectral_norm, trainable=trainable, penalty=penalty,
        )  # fmt: skip


@LAYERS.register("conv_transpose")
class ConvTranspose(Connected):
    """What carries gradients back through a conv, used forwards: with a stride it makes a picture larger.

    (*size, C) -> (*out_size, channels); out_size = (size - 1) · stride - 2 · padding + (kernel - 1) · dilation + 1 +
    output_padding, as in PyTorch.
    """

    outputs_axis = -2

    def __init__(
        self,
        in_shape: Shape,
        *,
        channels: Count,
        kernel: Ints = 3,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        dilation: Ints = 1,
        groups: Count = 1,
        activation: ActivationName | None = None,
        init: Initializer | None = None,
        bias: bool | None = None,
        norm: NormSettings | None = None,
        spectral_norm: bool = False,
        trainable: bool = True,
        penalty: Penalty | None = None,
    ):
        """output_padding: positions more at the end, below the stride: several sizes are one size when strided."""
        *size, inputs = _positions("conv_transpose", in_shape)
        _cut(inputs, channels, groups)
        window = Window.transposed(tuple(size), kernel, stride, padding, output_padding, dilation)
        weight = (*window.kernel, channels // groups, inputs)
        met = [-(-k // s) for k, s in zip(window.kernel, window.stride, strict=True)]  # the most positions that meet
        fans = prod(met) * inputs // groups, prod(window.kernel) * channels // groups
        out_shape = (*window.in_size, channels)
        own = (bias, activation, norm, spectral_norm, init, trainable, penalty)
        super().__init__(in_shape, out_shape, weight, fans, *own)
        self.groups = groups
        self.settings = {
            "stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation,
            "groups": groups,
        }  # fmt: skip
        self.enlarges = tuple(zip(window.extent, window.stride, strict=True))
        self.multiply_adds = prod(size) * prod(weight)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y = conv_transpose(x, self._weight(context), self.bias, activation=self.fused, **self.settings)
        return self._after(y, context)
