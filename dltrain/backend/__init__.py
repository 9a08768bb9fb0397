"""Devices and array kernels. The only folder that may import cupy or ctypes."""

from dltrain.backend.device import Device, array_module, kernels, open_device, to_host
from dltrain.backend.kernels import Kernels

__all__ = ["Device", "Kernels", "array_module", "kernels", "open_device", "to_host"]
