"""Normalisation layers. Each scales and shifts every channel by numbers that it learns, unless `affine` is false."""

from dataclasses import dataclass
from functools import wraps
from math import prod
from typing import Any

from dltrain import ops
from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.init import Constant
from dltrain.nn.layer import LAYERS, Context, Layer, count_text
from dltrain.nn.parameter import Buffer, Parameter, Shape
from dltrain.registry import Count, Positive, Rate, Registry


class Norm(Layer):
    """scale, shift: (C,), which start at 1 and 0; no penalty touches them but one of biases."""

    def __init__(self, in_shape: Shape, affine: bool, trainable: bool):
        super().__init__(in_shape, in_shape)
        channels = in_shape[-1:]
        one = Constant(value=1.0)
        self.scale = Parameter(channels, init=one, kind="scale", trainable=trainable) if affine else None
        self.shift = Parameter(channels, kind="shift", trainable=trainable) if affine else None
        self.arithmetic = count_text((2, *channels)) if affine else ""


def _check_several(kind: str, in_shape: Shape, groups: int) -> None:
    """Raise ShapeError where each group holds one number only."""
    if prod(in_shape) == groups:
        raise ShapeError(f"{kind} of a single number gives 0 whatever comes in, and each is by itself in {in_shape}")


@LAYERS.register("batch_norm")
class BatchNorm(Norm):
    """Each channel gets mean 0 and variance 1 over all examples and positions of a shard, then `scale` and `shift`.

    A shard is the whole batch unless train.shard_size is smaller. What is trained is evaluated by running statistics:
    after a step running = (1 - momentum) · running + momentum · (the mean of the shards' statistics, each by its number
    of examples), the variance divided by n - 1, as in PyTorch; a single number has no variance and leaves them alone.
    They are no parameters, but part of every checkpoint.
    With trainable: false they are used in training too, and stay as they are.

    Ioffe and Szegedy, "Batch Normalization", 2015; of shards smaller than the batch: Hoffer, Hubara, Soudry, "Train
    longer, generalize better", 2017 (ghost batch normalisation).
    """

    def __init__(
        self,
        in_shape: Shape,
        *,
        momentum: Rate = 0.1,
        epsilon: Positive = 1e-5,
        affine: bool = True,
        trainable: bool = True,
    ):
        if not in_shape:
            raise ShapeError(f"batch_norm takes (*size, channels), but the input is {in_shape}")
        super().__init__(in_shape, affine, trainable)
        self.epsilon, self.trainable = epsilon, trainable
        self.running_mean = Buffer(in_shape[-1:], start=0.0, momentum=momentum)
        self.running_variance = Buffer(in_shape[-1:], start=1.0, momentum=momentum)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        if not (context.by_batch and self.trainable):
            return self._by_running_statistics(x)
        y: Tensor
        y, mean, variance = ops.batch_norm(x, self.scale, self.shift, epsilon=self.epsilon)
        if context.record is not None:
            count = prod(x.shape[:-1])
            seen = {name: buffer.data for name, buffer in self.buffers.items()}
            if count > 1:
                seen = {"running_mean": mean.data, "running_variance": (variance * (count / (count - 1))).data}
            context.record(self, seen)
        return y

    def _by_running_statistics(self, x: Tensor) -> Tensor:
        deviation = (self.running_variance.data + self.epsilon) ** 0.5
        y: Tensor = ops.divide(ops.subtract(x, self.running_mean.data), deviation)
        if self.scale is None or self.shift is None:
            return y
        scaled: Tensor = ops.add(ops.multiply(y, self.scale), self.shift)
        return scaled


@LAYERS.register("layer_norm")
class LayerNorm(Norm):
    """Each example at each position: its channels get mean 0 and variance 1, then `scale` and `shift`. In a picture
    that is every pixel by itself; `group_norm: {groups: 1}` takes all pixels together.

    Ba, Kiros, Hinton, "Layer Normalization", 2016.
    """

    def __init__(self, in_shape: Shape, *, epsilon: Positive = 1e-5, affine: bool = True, trainable: bool = True):
        _check_several("layer_norm", in_shape[-1:], 1)
        super().__init__(in_shape, affine, trainable)
        self.epsilon = epsilon

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.layer_norm(x, self.scale, self.shift, epsilon=self.epsilon)
        return y


@LAYERS.register("group_norm")
class GroupNorm(Norm):
    """Each example by itself: groups of neighbouring channels, at all positions together, get mean 0 and variance 1,
    then `scale` and `shift` by channel.

    Wu and He, "Group Normalization", 2018.
    """

    def __init__(
        self,
        in_shape: Shape,
        *,
        groups: Count = 32,
        epsilon: Positive = 1e-5,
        affine: bool = True,
        trainable: bool = True,
    ):
        if not in_shape or in_shape[-1] % groups:
            raise ShapeError(f"the channels of {in_shape} cannot be cut into {groups} groups; set groups")
        _check_several("group_norm", in_shape, groups)
        super().__init__(in_shape, affine, trainable)
        self.groups, self.epsilon = groups, epsilon

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.group_norm(x, self.scale, self.shift, groups=self.groups, epsilon=self.epsilon)
        return y


@LAYERS.register("instance_norm")
class InstanceNorm(Norm):
    """Each channel of each example by itself gets mean 0 and variance 1 over its positions, then `scale` and `shift`
    (which PyTorch's has on request only).

    Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", 2016.
    """

    def __init__(self, in_shape: Shape, *, epsilon: Positive = 1e-5, affine: bool = True, trainable: bool = True):
        _check_several("instance_norm", in_shape, in_shape[-1] if in_shape else 1)
        super().__init__(in_shape, affine, trainable)
        self.epsilon = epsilon

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.group_norm(x, self.scale, self.shift, groups=self.in_shape[-1], epsilon=self.epsilon)
        return y


# --- as a setting of conv and dense -----------------------------------------------------------------------------------

NORMS = Registry("norm")


@dataclass(frozen=True)
class NormSettings:
    """What `norm:` of a layer says, before the layer's output is known."""

    kind: str
    settings: dict[str, Any]

    def build(self, in_shape: Shape, trainable: bool) -> Norm:
        """trainable: whether the layer is, of which this will be a part. Raises ShapeError."""
        trainable = trainable and self.settings["trainable"]
        try:
            norm: Norm = LAYERS[self.kind](in_shape, **self.settings | {"trainable": trainable})
        except ShapeError as error:
            raise ShapeError(f"norm: {error}") from None
        norm.kind = self.kind
        return norm


def _as_a_setting(kind: str) -> None:
    """Register a layer to be named by `norm:`, with the same settings."""
    layer: Any = LAYERS[kind]

    @NORMS.register(kind)
    @wraps(layer.__init__)
    def later(**settings: Any) -> NormSettings:
        return NormSettings(kind, settings)

    later.__name__, later.__doc__ = kind, "The layer of this name, as a part of another."


for _kind in ("batch_norm", "layer_norm", "group_norm", "instance_norm"):
    _as_a_setting(_kind)
