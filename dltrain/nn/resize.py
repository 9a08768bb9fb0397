"""Layers that give an example another shape and hold no weights: upsample, pad, reshape."""

from math import prod

from dltrain import ops
from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.layer import LAYERS, Context, Layer
from dltrain.nn.parameter import Shape
from dltrain.ops.resize import PadMode, UpsampleMode
from dltrain.window import Ints, per_dimension


def _size(kind: str, in_shape: Shape) -> Shape:
    if not 2 <= len(in_shape) <= 4:
        raise ShapeError(f"{kind} takes (*size, channels) with 1 to 3 spatial dimensions, but the input is {in_shape}")
    return in_shape[:-1]


@LAYERS.register("upsample")
class Upsample(Layer):
    """`factor` times as many positions along each dimension. (*size, C) -> (*(size · factor), C)

    mode: nearest repeats each position; bilinear goes from one to the next in a straight line, as PyTorch does with
    align_corners=False (in 1 and 3 dimensions it says linear and trilinear).
    """

    def __init__(self, in_shape: Shape, *, factor: Ints = 2, mode: UpsampleMode = "nearest"):
        size = _size("upsample", in_shape)
        factors = per_dimension(factor, len(size), "factor")
        super().__init__(in_shape, (*(n * f for n, f in zip(size, factors, strict=True)), in_shape[-1]))
        self.factor, self.mode = factor, mode
        self.enlarges = tuple((f if mode == "nearest" else 2 * f - f % 2, f) for f in factors)

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.upsample(x, factor=self.factor, mode=self.mode)
        return y


@LAYERS.register("pad")
class Pad(Layer):
    """More positions at both ends of each dimension. (*size, C) -> (*(size + 2 · padding), C)

    mode: zero fills them with 0, replicate with what stands at the edge, reflect with what a mirror at the edge shows.
    """

    def __init__(self, in_shape: Shape, *, padding: Ints = 1, mode: PadMode = "zero"):
        size = _size("pad", in_shape)
        amounts = per_dimension(padding, len(size), "padding", least=0)
        for n, amount in zip(size, amounts, strict=True):
            if mode == "reflect" and amount >= n:
                raise ShapeError(f"padding {amount} must be below {n}, the positions that reflect mirrors")
        super().__init__(in_shape, (*(n + 2 * p for n, p in zip(size, amounts, strict=True)), in_shape[-1]))
        self.padding, self.mode = tuple((p, p) for p in amounts), mode

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.pad(x, padding=self.padding, mode=self.mode)
        return y


def _product(shape: Shape) -> str:
    """`8·8 = 64`; of one number, that one."""
    return ("·".join(map(str, shape)) + " = " if len(shape) > 1 else "") + f"{prod(shape):,}"


@LAYERS.register("reshape")
class Reshape(Layer):
    """The same numbers of an example in another shape, in the same order; -1 in it stands for what is left over."""

    mixes = True

    def __init__(self, in_shape: Shape, *, shape: Ints):
        wanted = (shape,) if isinstance(shape, int) else shape
        numbers, known = prod(in_shape), prod(n for n in wanted if n != -1)
        if not wanted or any(n < 1 and n != -1 for n in wanted) or wanted.count(-1) > 1:
            raise ShapeError(f"shape {[*wanted]} must be of numbers above 0; one may be -1, for what is left over")
        if numbers % known if -1 in wanted else numbers != known:
            given, fixed = _product(in_shape), _product(tuple(n for n in wanted if n != -1))
            raise ShapeError(f"the input has {given} numbers, which do not go into shape {[*wanted]}: {fixed}")
        super().__init__(in_shape, tuple(numbers // known if n == -1 else n for n in wanted))

    def __call__(self, x: Tensor, context: Context) -> Tensor:
        y: Tensor = ops.reshape(x, shape=(len(x), *self.out_shape))
        return y
