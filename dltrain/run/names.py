"""What a run, or a group of runs, may be called."""

import re
from pathlib import Path

from dltrain.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LATEST = "latest"  # stands for the newest run


def name_of(config: str | Path) -> str:
    """What a run of this config is called unless said otherwise: as it, without what a run's name may not hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(config).stem).lstrip("._-")[:100] or "run"


def require_name(name: str) -> None:
    """Raises ConfigError where no run and no group may be called so."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"run name {name!r}: letters, digits, dots, dashes and underscores only, at most 100")
    if name == LATEST:
        raise ConfigError(f"run name {name!r}: the word stands for the newest run; --name gives another name")
