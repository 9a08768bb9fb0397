"""Devices and array kernels. The only folder that may import cupy or ctypes."""

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
from dltrain.backend.reference import Activation, Reference
from dltrain.backend.script import Now, Replay, Scripts, eager
from dltrain.backend.share import Idle, idle

__all__ = [
    "Activation", "Device", "Idle", "Now", "Reference", "Replay", "Scripts", "all_to_host", "array_module",
    "choose_kernels", "eager", "idle", "is_array", "kernels", "open_device", "to_host",
]  # fmt: skip
