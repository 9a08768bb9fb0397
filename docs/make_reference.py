"""Write the pages of docs/reference/ that follow from the code: python docs/make_reference.py

A test compares them with what this would write.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer.main

from dltrain.cli import app
from dltrain.nn import LAYERS
from dltrain.registry import REQUIRED, Setting, settings_of
from dltrain.spec.runspec import DEFAULTS, MODEL_DEFAULTS, RunSpec
from dltrain.spec.schema import REGISTRIES
from dltrain.spec.types import describe, is_section, registry_in

FOLDER = Path(__file__).parent / "reference"
GENERATED = "<!-- Made by docs/make_reference.py. Do not edit. -->\n"


GRAPHS = """
A layer takes what the layer before it gives, or what `from` names: an earlier layer of the same list or of a list
around it, or `input`, which is what the list itself is given. Names are `name`, or the type and a running number:
`conv1`, `conv2`. A layer inside of a container has the container's name before its own: `residual1.conv2`. `add`,
`concat` and `multiply` join outputs: `- add: NAME` the one before and NAME, `- add: [NAME, NAME]` exactly those.
`chain`, `residual`, `branch` and `repeat` hold layers. Every output but the last must be taken by some layer.
"""
BLOCKS = """
`blocks: {NAME: {SETTING: DEFAULT, …, layers: […]}}` defines a chain of layers once, to be used like a layer: `-
NAME`, `- NAME: VALUE` (of the first setting) or `- NAME: {SETTING: VALUE}`. In its layers `$SETTING` stands for a
whole value; there are no expressions. A setting whose default is left out (`channels:`) has to be given. A block
may use other blocks, but not itself, and names in it are its own. When a config has been read, each use is a
`chain`.
"""


def config_page() -> str:
    """Every key that a config may have: sections, then the components of each registry."""
    top = dict(line.split(": ", 1) for line in DEFAULTS.split("\n") if line)
    lines = [
        GENERATED,
        "# What a config may say",
        "",
        "A component is written `{type: NAME, KEY: VALUE, …}`, or `NAME: {KEY: VALUE, …}`, or `NAME` alone; a bare",
        "value, as in `max_pool: 2`, goes to the first key of its table.",
        "`dltrain validate CONFIG --show` prints a config with every default.",
        "",
        "| key | value | default |",
        "|---|---|---|",
    ]
    settings = settings_of(RunSpec)
    for key, setting in settings.items():
        lines.append(f"| {_linked(key, setting)} | {_type(setting.annotation)} | {_code(top.get(key, 'required'))} |")
    for key, setting in settings.items():
        lines += _section(key, setting.annotation, MODEL_DEFAULTS if key == "model" else "")
    for registry in REGISTRIES:
        lines += ["", f"## {_plural(registry.kind)}"]
        if registry is LAYERS:
            lines += [GRAPHS.rstrip()]
        if registry.common:
            lines += ["", "All of them have, besides their own:", "", *_table(registry.common)]
        for name in registry:
            own = {k: s for k, s in registry.settings(name).items() if k not in registry.common}
            lines += ["", f"### {name}", "", *_doc(registry[name]), *_table(own)]
        if registry is LAYERS:
            lines += ["", "## blocks", BLOCKS.rstrip()]
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _section(path: str, annotation: Any, defaults: str = "") -> list[str]:
    """The keys of a section, then those of the sections within it."""
    found = [part for part in (annotation, *get_args(annotation)) if is_section(part)]
    if not found or registry_in(annotation):
        return []
    settings = settings_of(found[0])
    known = dict(line.split(": ", 1) for line in defaults.split("\n") if line)
    lines = ["", f"## {path}", "", *_doc(found[0]), *_table(settings, known)]
    for key, setting in settings.items():
        lines += _section(f"{path}.{key}", setting.annotation)
    return lines


def commands_page() -> str:
    """The help of every command."""
    lines = [GENERATED, "# Commands", "", "What `dltrain COMMAND --help` prints."]
    group: Any = typer.main.get_command(app)
    with group.make_context("dltrain", [], resilient_parsing=True, terminal_width=80) as context:
        lines += _helps(group, context)
    return "\n".join(line.rstrip() for line in "\n".join(lines).split("\n")) + "\n"


def _helps(group: Any, context: Any) -> list[str]:
    """Those of a group's commands; a group among them is followed by its own."""
    lines: list[str] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        with command.make_context(name, [], context, resilient_parsing=True, terminal_width=80) as inner:
            lines += ["", f"## {inner.command_path}", "", "```", inner.get_help().strip(), "```"]
            lines += _helps(command, inner) if hasattr(command, "list_commands") else []
    return lines


def _doc(target: Any) -> list[str]:
    """A docstring's paragraphs as lines; nothing for one that Python made up."""
    found = [inspect.getdoc(target) or ""]
    if "__init__" in vars(target) and (own := vars(target)["__init__"].__doc__):
        found.append(inspect.cleandoc(own))
    texts = [text for text in found if text and not text.startswith((f"{target.__name__}(", "Initialize self"))]
    return [line for text in texts for line in (*_escaped(text).split("\n"), "")]


def _table(settings: dict[str, Setting], defaults: dict[str, str] | None = None) -> list[str]:
    if not settings:
        return []
    return ["| key | value | default |", "|---|---|---|", *_rows(settings, defaults or {})]


def _rows(settings: dict[str, Setting], defaults: dict[str, str]) -> Iterator[str]:
    for key, setting in settings.items():
        default = defaults.get(key, "required" if setting.default is REQUIRED else _plain(setting.default))
        yield f"| `{key}` | {_type(setting.annotation)} | {_code(default)} |"


def _linked(key: str, setting: Setting) -> str:
    registry = registry_in(setting.annotation)
    if is_section(setting.annotation):
        return f"[`{key}`](#{key})"
    return f"[`{key}`](#{_plural(registry.kind).lower().replace(' ', '-')})" if registry else f"`{key}`"


def _type(annotation: Any) -> str:
    if is_section(annotation):
        return "settings"
    return _escaped(describe(annotation))


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(map(_plain, value))}]" if isinstance(value, tuple) else str(value)


def _code(text: str) -> str:
    return text if text == "required" else f"`{text}`"


def _plural(kind: str) -> str:
    plurals = {"loss": "losses", "penalty": "penalties"}
    return (plurals.get(kind) or f"{kind}s").capitalize()


def _escaped(text: str) -> str:
    return re.sub(r"([|*_<])", r"\\\1", text)


PAGES = {"config.md": config_page, "commands.md": commands_page}


def main() -> None:
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
