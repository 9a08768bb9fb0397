"""The right to train a member of a group: of several workers, on any machines that share the folder, one has it."""

from contextlib import suppress
from pathlib import Path

from dltrain.run.files import Lock
from dltrain.run.names import require_name


class Claim:
    """A lock on `claims/LABEL` in the group's folder; the system takes it back when its process ends, however it
    ends."""

    def __init__(self, file: Path, lock: Lock):
        self._file, self._lock = file, lock

    @classmethod
    def take(cls, group: Path, label: str) -> "Claim | None":
        """None where somebody else has it. Raises OSError where the group's folder cannot be written to, ConfigError
        for a label that no run may have: it may be a path to elsewhere."""
        require_name(label)
        file = group / "claims" / label
        while True:
            file.parent.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):  # whoever trained the last one has just removed the folder
                try:
                    return cls(file, Lock(file, file=True))
                except BlockingIOError:
                    return None

    def release(self, ended: bool) -> None:
        """ended: whether the member has come to its end, which its run says; then nobody wants the file any more."""
        if ended:
            with suppress(OSError):  # others have claims
                self._file.unlink()
                self._file.parent.rmdir()
        self._lock.release()
