"""Devices and array kernels. The only folder that may import cupy or ctypes."""

from dltrain.backend.capture import GraphCache, Replay, StepScalars, eager
from dltrain.backend.device import (
    Device,
    all_to_host,
    array_module,
    choose_kernels,
    is_array,
    kernels,
    open_device,
    to_host,
)
from dltrain.backend.ranks import Ranks
from dltrain.backend.reference import Activation, Reference
from dltrain.backend.share import Idle, idle

__all__ = [
    "Activation", "Device", "GraphCache", "Idle", "Ranks", "Reference", "Replay", "StepScalars", "all_to_host",
    "array_module", "choose_kernels", "eager", "idle", "is_array", "kernels", "open_device", "to_host",
]  # fmt: skip
