"""`dltrain env`"""

import sys

from dltrain.cli import console
from dltrain.cli.app import Debug, DeviceName, Json, Quiet


def env(device: DeviceName = None, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Show what results may depend on: versions, processor, BLAS, device. Every run keeps this in env.json."""
    from dltrain.backend import open_device
    from dltrain.backend.process import settle
    from dltrain.train.environment import environment
    from dltrain.train.shards import available_cores

    settle()
    found = environment(open_device(device or "auto"), available_cores(), sys.argv)
    if json:
        console.result_json(found)
    else:
        console.result_table(["", ""], [[key, str(value)] for key, value in found.items()])
