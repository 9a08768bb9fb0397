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
from dltrain.metrics.figures import FIGURES
from dltrain.nn import LAYERS, TERMS, VALUES
from dltrain.nn.values import term
from dltrain.registry import REQUIRED, Setting, settings_of
from dltrain.spec.forms import INHERITED
from dltrain.spec.runspec import DEFAULTS, FORMS, MODEL_DEFAULTS, NETWORK_DEFAULTS, TOGETHER, RunSpec
from dltrain.spec.schema import REGISTRIES
from dltrain.spec.types import describe, is_section, registry_in, values_of

FOLDER = Path(__file__).parent / "reference"
OF_CONFIG = dict.fromkeys(INHERITED, "that of the config")
WORDS = ("required", "instead of `model`", "that of the config", "the update's name")  # in place of a default
SECTION_DEFAULTS = {"model": MODEL_DEFAULTS, "networks": NETWORK_DEFAULTS} | {
    "updates": "\n".join(f"{key}: {text}" for key, text in OF_CONFIG.items()) + "\nnetworks: the update's name"
}
GENERATED = "<!-- Made by docs/make_reference.py. Do not edit. -->\n"


GRAPHS = """
A layer takes what the layer before it gives, or what `from` names: an earlier layer of the same list or of a list
around it, or `input`, which is what the list itself is given. Names are `name`, or the type and a running number:
`conv1`, `conv2`. A layer inside of a container has the container's name before its own: `residual1.conv2`. `add`,
`concat` and `multiply` join outputs: `- add: NAME` the one before and NAME, `- add: [NAME, NAME]` exactly those.
`chain`, `residual`, `branch` and `repeat` hold layers. Every output but the last must be taken by some layer.
"""
GAMES = """
`networks`, `values` and `updates` stand in place of `model` and `loss` where several networks are trained together.

```yaml
data: {type: digits, normalize: signed}  # gives the values `image` and `label`
networks:
  generator: [{dense: 64}, {dense: {units: 64, activation: tanh}}, {reshape: [8, 8, 1]}]
  discriminator: [flatten, {dense: 64}, {dense: {units: 1, activation: none}}]
values:                                  # what is computed from what
  noise: {normal: 16}
  fake: {generator: noise}
  judged_real: {discriminator: image}
  judged_fake: {discriminator: fake}
updates:                                 # in every step, in this order: who is trained to make what small
  discriminator:
    - binary_cross_entropy: {of: judged_real, target: 0.9}
    - binary_cross_entropy: {of: judged_fake, target: 0}
  generator:
    - binary_cross_entropy: {of: judged_fake, target: 1}
```

Every update computes the values that its losses need, by the weights that the updates before it have made, and changes
the weights of its own networks alone. The values that chance decides are the same for all updates of a step: what is
computed again comes out with the same bits. Running statistics follow the passes of the update that trains their
network; in all other passes of the training batch_norm takes the statistics of the batch, and a network that no update
trains is asked as in evaluation. Layers are called `NETWORK.LAYER`, in logs, checkpoints and overrides
(`networks.generator.layers.dense1.units=32`). With several updates the figures of each have its name in the logs
(`loss/generator`), and the best checkpoint is the last one, unless `metrics.best` names a figure of pictures.
"""
VALUES_TEXT = """
A value of the data set (`image`, `label`, …) or of `values` is written by its name. `{NETWORK: VALUE}` is what a
network makes of it, `{NETWORK: [VALUE, VALUE]}` of several: side by side along the channels, or by the names in the
network's `inputs`. `{network: NAME, of: VALUE, over: 5, then: softmax}` is the long form. A network whose first layer
takes no input stands alone: `painted: NETWORK`. Such an expression may stand wherever a value may; the same text is the
same value.
"""
FIGURES_TEXT = """
For `metrics.pictures`. `of` is the value that is looked at, `to` the one that real pictures have. `in` names the run
whose network is the judge: by its name, a part of it or its path; it is trained first. `examples` are as many as are
held out at most. `name` is what the figure is called, `frechet/fake` unless it is given. `where: {value: NAME, colour:
[RED, GREEN, BLUE]}` lets only pixels count where that picture of the same example has this colour, from 0 to 255 and to
within 13; `{value: NAME, like: NAME}` those where two pictures are alike. What stands beside each figure:
[numbers](numbers.md).
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
    top |= {"model": "required", "loss": "cross_entropy"} | dict.fromkeys(TOGETHER, "instead of `model`")
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
        setting = _demanded(setting) if key in FORMS else setting
        lines.append(f"| {_linked(key, setting)} | {_type(setting.annotation)} | {_code(top.get(key, 'required'))} |")
    for key, setting in settings.items():
        lines += _section(key, setting.annotation, SECTION_DEFAULTS.get(key, ""))
    for registry in REGISTRIES:
        if registry is TERMS:
            common = [line.strip() for line in _doc(term)]
            lines += ["", "### in `minimise`", "", *common, *_table(registry.common)]
            continue
        lines += ["", f"## {_plural(registry.kind)}"]
        lines += [VALUES_TEXT.rstrip()] if registry is VALUES else []
        lines += [FIGURES_TEXT.rstrip()] if registry is FIGURES else []
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


def _demanded(setting: Setting) -> Setting:
    """Of one of the two forms of a config, each of whose keys is null in the other."""
    return Setting(get_args(setting.annotation)[0], setting.default)


def _section(path: str, annotation: Any, defaults: str = "") -> list[str]:
    """The keys of a section, then those of the sections within it."""
    found = [part for part in (annotation, *get_args(annotation), values_of(annotation)) if is_section(part)]
    if not found or registry_in(annotation):
        return []
    settings = settings_of(found[0])
    known = dict(line.split(": ", 1) for line in defaults.split("\n") if line)
    lines = ["", f"## {path}", "", *([GAMES] if path == "networks" else []), *_doc(found[0]), *_table(settings, known)]
    for key, setting in settings.items():
        lines += _section(f"{path}.{key}", setting.annotation) if key not in INHERITED else []
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
    return text if text in WORDS else f"`{text}`"


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
