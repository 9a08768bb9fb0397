"""Finding a config: a path, or the name of one that comes with dltrain."""

import os
from pathlib import Path

from dltrain.errors import ConfigError, did_you_mean


def find_config(name: str | Path) -> Path:
    """The file of that path, or else the shipped config of that name."""
    if os.path.isfile(name):
        return Path(name)
    shipped = shipped_configs()
    if str(name) in shipped:
        return shipped[str(name)]
    exists = (
        "is a folder, not a config file" if os.path.isdir(name) else "is a pipe or device; save the config in a file"
    )
    what = exists if os.path.exists(name) else "no such config file"
    raise ConfigError(f"{name}: {what}{did_you_mean(Path(name).stem, shipped) or ';'} shipped: {', '.join(shipped)}")


def is_config(name: str) -> bool:
    """Whether a word means a config, be it there or not."""
    return Path(name).suffix in (".yaml", ".yml") or name in shipped_configs()


def shipped_configs() -> dict[str, Path]:
    """Name -> file. They lie inside an installed package, and beside it in the repository."""
    package = Path(__file__).parent.parent
    folder = next((f for f in (package / "configs", package.parent / "configs") if f.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}
