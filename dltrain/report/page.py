"""Pages: one HTML file each, with nothing from outside."""

import shlex
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError
from markupsafe import Markup

from dltrain import __version__
from dltrain.nn import shape_text
from dltrain.report import answers, drawing, picture_table, sections, sentences, strip
from dltrain.report.advice import RULES
from dltrain.report.palette import DEPTHS, cell_classes, stylesheet_colours
from dltrain.report.record import Record, believed
from dltrain.run.files import write_output
from dltrain.run.rundir import RunDir

ELSEWHERE = ("command", "variables")  # of env.json: what has a place of its own, or none in a page
TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: RunDir, to: Path | None = None) -> Record:
    """Make report.html (or the file `to`) of what the run has kept. Raises DltrainError."""
    with believed(run):
        record = Record.read(run)
        page = report_page(record)
    write_output(to or run.report, page.encode(errors="replace"))
    return record


def report_page(record: Record) -> str:
    environment = record.environment
    return render(
        "report.html",
        title=record.name,
        record=record,
        headline=[*sentences.headline(record), *sections.headline(record)],
        learning=sections.learning(record),
        frames=strip.frames(record.run),
        pictures=picture_table.figure_table(kept) if (kept := picture_table.kept_figures(record.run)) else None,
        picture_notes=picture_table.notes(kept) if kept else [],
        written=record.written,
        sentences=sentences.sentences(record),
        layer_charts=sections.layer_charts(record),
        dead=sections.dead_map(record),
        spreads=sections.spreads(record),
        confusion=answers.confusion(record),
        per_class=answers.per_class(record),
        calibration=answers.calibration(record),
        confidences=answers.confidences(record),
        roc=answers.roc(record),
        precision_recall=answers.precision_recall(record),
        threshold=record.found.get("threshold"),
        answers=answers.answers(record),
        mistakes=answers.mistakes(record),
        weights=sections.weights(record),
        filters=sections.first_filters(record),
        layers=sections.layer_table(record, shape_text),
        graph=sections.graph(record),
        model=record.description.get("model"),
        rules=len(RULES),
        notes=record.description.get("data", {}).get("notes", []),
        command=_command(environment.get("command")),
        environment={key: _text(value) for key, value in environment.items() if key not in ELSEWHERE and value != []},
    )


def render(template: str, **content: Any) -> str:
    """Raises LookupError where the content lacks something."""
    try:
        return _environment().get_template(template).render(version=__version__, **content)
    except UndefinedError as error:
        raise LookupError(str(error)) from error


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": sections.percent, "short": sections.short}
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(stylesheet_colours() + _classes() + style + drawing.STYLE)
    return environment


def _classes() -> str:
    """The classes that colour lines and cells."""
    looks = ["first", "second", "third", "faint", *(f"d{i}" for i in range(DEPTHS))]
    return "".join(f".{look}{{--look:var(--{look})}}" for look in looks) + cell_classes()


def _command(words: Any) -> str | None:
    """As it was typed, with the program's bare name."""
    return shlex.join([Path(words[0]).name, *map(str, words[1:])]) if isinstance(words, list) and words else None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)
