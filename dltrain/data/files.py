"""Where downloaded data sets lie, and what to tell a user who has not downloaded them yet."""

import os
import sys
from collections.abc import Collection
from pathlib import Path

from dltrain.errors import DataError


class MissingData(DataError):
    """Files that were never there, as against damaged ones: `fit --smoke` goes on with generated examples."""


class MissingPath(MissingData):
    """Nothing is at a path that a setting gives. The spec adds the position, and takes `path` away."""

    def __init__(self, path: Path, what: str):
        super().__init__(f"{path}: no such {what} (a path is taken from the folder where the command runs)")
        self.path: Path | None = path


def default_data_dir() -> Path:
    """The folder that holds one folder for each data set: DLTRAIN_DATA, else `dltrain` in the user's cache folder."""
    if chosen := os.environ.get("DLTRAIN_DATA"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "dltrain"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dltrain"


def require_file(path: Path) -> None:
    """Raises MissingData where there is none; a pipe, which would be waited for, is none."""
    if not path.is_file():
        raise MissingPath(path, "file")


def require_files(data_dir: Path, data: str, folder: str, names: Collection[str], where_from: str) -> Path:
    """The folder `data_dir / folder`, once every named file is known to be in it.

    data: what the data set is called. where_from: the authors' page, and which of its downloads is meant.
    Raises MissingData.
    """
    place = data_dir / folder
    missing = [name for name in names if not (place / name).is_file()]
    if missing:
        raise MissingData(
            f"{len(missing)} of {len(names)} files are missing in {place}: {', '.join(missing)}. "
            f"`dltrain data download {data}` gets them; or get them from {where_from} and put them into that folder. "
            f"--data-dir or the variable DLTRAIN_DATA says where the folder {folder!r} lies (now {data_dir})."
        )
    return place
