"""Commands and options as other tools call them, answered with ours before typer finds them unknown, and in plain
words what typer finds wrong with a value."""

import re
from collections.abc import Sequence
from typing import Any

from typer import BadParameter
from typer.core import TyperGroup

from dltrain.errors import ConfigError

# What pydantic, which typer asks, says of a value, and how that is said here.
PLAIN = {
    "Value error, ": "",
    "Input should be a valid integer.*": "expected a whole number",
    "Input should be a valid number.*": "expected a number",
    "Input should be greater than or equal to (.*)": r"expected \1 or more",
    "Input should be less than or equal to (.*)": r"expected \1 or less",
}


class Commands(TyperGroup):
    """The commands. Raises ConfigError where a word is known to be another tool's."""

    def invoke(self, ctx: Any) -> Any:
        typed: list[str] = [*ctx._protected_args, *ctx.args]
        name, words = typed[0], typed[1:]
        command: Any = self.get_command(ctx, name)
        if command is None:
            _explain_command(name)
        elif not isinstance(command, TyperGroup):
            options = {option[2:] for p in command.params for option in p.opts if option.startswith("--")}
            _explain_options(name, words, options, any(p.name == "overrides" for p in command.params))
        try:
            return super().invoke(ctx)
        except BadParameter as error:
            for theirs, ours in PLAIN.items():
                error.message = re.sub(theirs, ours, error.message)
            raise


def _explain_command(name: str) -> None:
    from dltrain.spec.foreign import our_command

    if ours := our_command(name):
        raise ConfigError(f"there is no command {name!r}; here it is `dltrain {ours}`")


def _explain_options(command: str, words: Sequence[str], known: set[str], changes: bool) -> None:
    """changes: whether the command takes KEY=VALUE."""
    for word, after in zip(words, [*words[1:], ""], strict=False):
        option, _, value = word[2:].partition("=")
        if word == "--":
            return
        if not word.startswith("--") or option in known or option in ("help", "quiet", "debug"):
            if option == "device" and word.startswith("--device"):
                _explain_device(value or after)
            continue
        value = value or ("" if after.startswith("-") else after)
        if option in ("config", "yaml", "cfg"):
            raise ConfigError(f"the config is given without --{option}: dltrain {command} {value or 'CONFIG'}")
        if lead := _lead(option, known, changes, value or "VALUE"):
            raise ConfigError(f"`dltrain {command}` has no option --{option}; {lead}")


def _lead(option: str, known: set[str], changes: bool, value: str) -> str | None:
    from dltrain.registry import settings_of
    from dltrain.spec import RunSpec
    from dltrain.spec.complaint import section_of
    from dltrain.spec.foreign import our_option, our_path

    if ours := our_option(option, known):
        return f"here it is --{ours}{' cuda' if ours == 'device' else ''}"
    key = option.replace("-", "_")
    path = key if key in settings_of(RunSpec) else our_path(key)
    if path is None and (section := section_of(key)) not in (None, "model"):
        path = f"{section}.{key}"
    if path is None:
        return None
    return f"write {path}={value} after the config" if changes else f"it belongs in the config, as {path}"


def _explain_device(name: str) -> None:
    from dltrain.spec.foreign import our_word

    if ours := our_word(name, ("auto", "cpu", "cuda")):
        raise ConfigError(f"--device {name}: here it is --device {ours}")
