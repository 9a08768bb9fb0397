"""What went wrong, in a line or more, and the exit code that it ends with."""

from dltrain.errors import DltrainError


def explained(error: Exception) -> tuple[str, int]:
    if isinstance(error, DltrainError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError):
        return f"out of memory ({error}); try a smaller train.batch_size or train.shard_size", 1
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}", 1
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this is a bug in dltrain: {what}; --debug shows where", 1
