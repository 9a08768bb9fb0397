"""Who trains in a folder. The system lets go of a lock when its process ends, however it ends: none is left over."""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Lock:
    """Held on a folder until `release`, the end of this object or that of the process."""

    def __init__(self, folder: Path, *, shared: bool = False):
        """Raises BlockingIOError where another process holds it, OSError where the folder is gone.

        known: False where there are no such locks (Windows, some network file systems) and everybody gets one.
        """
        self._descriptor: int | None = None
        self.known = False
        if fcntl is None:
            return
        self._descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            self.known = True
        except BlockingIOError:
            self.release()
            raise
        except OSError:
            pass

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def is_held(folder: Path) -> bool | None:
    """Whether a process holds the folder; None where that cannot be known."""
    try:
        lock = Lock(folder, shared=True)  # two who only ask are not in each other's way
    except BlockingIOError:
        return True
    except OSError:
        return None
    lock.release()
    return False if lock.known else None
