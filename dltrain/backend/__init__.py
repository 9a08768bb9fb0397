"""Devices and array kernels. The only folder that may import cupy or ctypes."""

from dltrain.backend.device import Device, array_module, choose_kernels, kernels, open_device, to_host
from dltrain.backend.kernels import Activation, Kernels

__all__ = ["Activation", "Device", "Kernels", "array_module", "choose_kernels", "kernels", "open_device", "to_host"]
