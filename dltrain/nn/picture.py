"""A picture that is trained: a layer without an input."""

from dltrain import ops
from dltrain.backend import array_module
from dltrain.engine import Tensor
from dltrain.errors import ShapeError
from dltrain.nn.layer import LAYERS, Context, Layer, count_text
from dltrain.nn.parameter import Parameter, Shape


@LAYERS.register("picture")
class Picture(Layer):
    """A picture whose pixels are what is trained, the same for every example. It stands first in a network, whose name
    alone is a value then.

    start: the picture of the data that it is at first, of the first training example; it has its size.
    """

    takes_input = False

    def __init__(self, shape: Shape, *, start: str):
        if len(shape) != 3:
            raise ShapeError(f"a picture is (height, width, channels), but {start} is {shape}")
        super().__init__((), shape)
        self.start = start
        self.weight = Parameter(shape, kind="weight")
        self.arithmetic = count_text(shape)

    def __call__(self, *, context: Context) -> Tensor:
        w = self.weight.data
        every = array_module(w).zeros((context.examples, *self.out_shape), w.dtype)
        y: Tensor = ops.add(Tensor(every), self.weight)
        return y
