"""`dltrain predict RUN PICTURE` of networks that make a picture of a picture: as large as the one that is given."""

from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.cli import console

if TYPE_CHECKING:
    from dltrain.nn import Value
    from dltrain.run.rundir import RunDir
    from dltrain.spec import Restored

MOST = 1 << 22  # pixels of a picture; what a network keeps of it is some hundred times as large


def painted_values(restored: "Restored") -> list[str]:
    """The pictures with a name of their own that networks make of the inputs alone; none where a single network is
    trained, which predict asks itself."""
    from dltrain.evaluation.pictures import is_picture
    from dltrain.nn import Applied, Drawn, Given, Network, in_order

    if isinstance(restored.model, Network):
        return []
    inputs, *_ = restored.checkpoint.preprocessing.named
    found = []
    for name, value in restored.values.items():
        leaves = [each.name for each in in_order([value]) if isinstance(each, Given | Drawn)]
        if isinstance(value, Applied) and is_picture(value.shape) and leaves == [inputs]:
            found.append(name)
    return found


def paint(
    restored: "Restored",
    directory: "RunDir",
    known: list[str],
    value: list[str] | None,
    words: list[str],
    output: Path | None,
    json: bool,
) -> None:
    """What a network makes of a picture, as PNG. known: of `painted_values`. Raises DltrainError."""
    import numpy as np
    from PIL import Image

    from dltrain.data.given import find_given
    from dltrain.data.pictures.images import first_look, read_picture
    from dltrain.errors import ConfigError
    from dltrain.evaluation.pictures import Pictures
    from dltrain.report.grid import to_bytes, write_picture
    from dltrain.run.files import require_ending
    from dltrain.spec.nodes import allowed

    learned = restored.checkpoint.preprocessing
    names = value or known
    if len(names) != 1:
        raise ConfigError(f"this run makes {', '.join(names)} of a picture; say one with --value NAME")
    (name,) = names
    if name not in known:
        raise ConfigError(
            f"--value {name}: no picture of a picture is called so in {directory.path}{allowed(name, known)}"
        )
    if output is None:
        raise ConfigError(f"{name} is a picture; --output FILE.png says where it goes")
    require_ending(output, ".png")
    files, notes = find_given(words, learned)
    if len(files) != 1:
        raise ConfigError(f"{len(files):,} pictures are given; --output FILE.png is for one")
    for note in notes:
        console.warning(note)
    (path,), shape = files, learned.input_shape
    if slides(restored.values[name]):
        sizes, _ = first_look([path])
        height, width = next(iter(sizes), shape[:2])
        smaller = min(1.0, (MOST / (height * width)) ** 0.5)
        if smaller < 1:
            console.warning(f"{path}: {width} x {height} pixels are many; it is made smaller, {smaller:.0%} each way")
        shape = (max(1, int(height * smaller)), max(1, int(width * smaller)), shape[2])
    picture = read_picture(path, shape, learned.pixels.background)
    if picture.size != shape[:2]:
        console.warning(f"{path}: is resized to {shape[1]} x {shape[0]} pixels")
    x = learned.ready(learned.pixels.to_inputs(picture.pixels)[None], restored.device.dtype)
    made_by = Pictures(restored.values, learned, restored.device, 1)
    with np.errstate(all="ignore"):
        found = to_bytes(made_by.of_inputs(name, x))[0, : shape[0], : shape[1]]  # halves were rounded up
    write_picture(output, Image.fromarray(np.ascontiguousarray(found)))
    if json:
        console.result_json({"run": str(directory.path), "value": name, "input": str(path), "picture": str(output)})
    else:
        console.result_text(str(output))


def slides(value: "Value") -> bool:
    """Whether the networks below take pictures of any size: each layer has positions, and none a place of its own."""
    from dltrain.nn import Applied, in_order

    made = [each for each in in_order([value]) if isinstance(each, Applied)]
    layers = [layer for each in made for layer in each.network.layers]
    return all(len(layer.out_shape) == 3 and not layer.mixes and layer.takes_input for layer in layers)
