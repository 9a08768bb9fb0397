"""`dltrain env`"""

import sys
from typing import Any

from dltrain.cli import console
from dltrain.cli.app import Debug, DeviceName, Json, KernelsName, Quiet


def env(
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show the environment.

    Versions, processor, BLAS, device, and the GPU or why none can be used. Every run records this in env.json.
    """
    from dltrain.backend import open_device
    from dltrain.backend.process import available_cores, settle
    from dltrain.errors import DeviceError
    from dltrain.run.environment import environment

    settle()
    found = environment(open_device(device or "auto"), available_cores(), sys.argv)
    if found["device"] == "cpu":
        try:
            found["gpu"] = open_device("cuda").describe()
        except DeviceError as error:
            found["gpu"] = str(error)
    if json:
        console.result_json(found)
    else:
        width = max(map(len, found))
        console.result_text("\n".join(f"{key:<{width}}  {_plain(value)}" for key, value in found.items()))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(entry)}" for key, entry in value.items())
    return str(value)
