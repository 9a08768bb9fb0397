"""What the adapters of ONNX nodes share: channels from the second axis to the last and back."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dltrain.backend import to_host
from dltrain.engine import Tensor

Array = Any
Attributes = dict[str, Any]
Bring = Callable[..., Any]


def channels_last(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def channels_second(y: Tensor) -> Array:
    return np.moveaxis(to_host(y.data), -1, 1)
