"""The command line: one file per command, listed here."""

import sys

from dltrain.cli.app import app
from dltrain.cli.evaluate import evaluate
from dltrain.cli.fit import fit
from dltrain.cli.inspect_params import inspect_params
from dltrain.cli.predict import predict
from dltrain.cli.runs import runs
from dltrain.cli.show_env import env
from dltrain.cli.validate import validate

app.command("fit")(fit)
app.command("eval")(evaluate)
app.command("predict")(predict)
app.command("inspect-params")(inspect_params)
app.command("validate")(validate)
app.command("runs")(runs)
app.command("env")(env)


def main() -> None:
    """Run a command; whatever goes wrong becomes one message and an exit code."""
    from dltrain.cli import console
    from dltrain.errors import DltrainError

    try:
        app(prog_name="dltrain")
    except DltrainError as error:
        console.error(str(error))
        code = error.exit_code
    except KeyboardInterrupt:
        console.error("interrupted")
        code = 130
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        console.forget_output()
        code = 1
    except MemoryError as error:
        console.error(f"out of memory ({error}); try a smaller train.batch_size or train.shard_size")
        code = 1
    except OSError as error:
        console.error(f"{error.filename or 'the system'}: {error.strerror or error}")
        code = 1
    except Exception as error:
        console.error(f"this is a bug in dltrain: {type(error).__name__}: {error}; --debug shows where")
        code = 1
    else:
        code = 0
    sys.exit(code)
