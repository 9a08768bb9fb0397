"""Devices and array kernels. The only folder that may import cupy or ctypes."""

from dltrain.backend.device import Device, all_to_host, array_module, choose_kernels, kernels, open_device, to_host
from dltrain.backend.kernels import Activation, Kernels
from dltrain.backend.late import LATE, Late
from dltrain.backend.script import Now, Scripts
from dltrain.backend.share import Idle, idle

__all__ = [
    "LATE", "Activation", "Device", "Idle", "Kernels", "Late", "Now", "Scripts", "all_to_host", "array_module",
    "choose_kernels", "idle", "kernels", "open_device", "to_host",
]  # fmt: skip
