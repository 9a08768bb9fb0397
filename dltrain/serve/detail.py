"""All that the page shows of one run besides its curves, in the report's words."""

from typing import Any

from dltrain.errors import RunError
from dltrain.evaluation.error_analysis import load_analysis
from dltrain.nn import shape_text
from dltrain.report import answers, sections, strip
from dltrain.report.record import Record, believed, description_of
from dltrain.run.reader import read_bytes
from dltrain.run.rundir import RunDir
from dltrain.serve.logs import Logs

Row = dict[str, Any]
MOST_CONFIG = 1 << 21  # bytes, as of any config
ENVIRONMENT = ("command", "dltrain", "cpu", "gpu", "kernels", "dtype", "threads", "cores", "numpy", "python")


def detail(run: RunDir, status: Row, logs: Logs) -> Row:
    """What there is of: headline, advice, confusion, classes, mistakes, answers, calibration, samples, texts, config,
    layers, environment. Raises RunError where the files are not as a training writes them."""
    layers = logs.layer_rows()
    found, inputs = load_analysis(run) or ({}, ())
    try:
        config = read_bytes(run.config, MOST_CONFIG).decode(errors="replace")
    except (OSError, ValueError) as error:
        raise RunError(f"{run.config}: cannot be read ({error})") from None
    record = Record(
        run,
        status,
        run.recorded_environment(),
        description_of(run),
        config,
        [logs.first] if logs.first else [],
        list(logs.epoch_rows),
        layers or [],
        found,
        inputs,
    )
    with believed(run):
        return {
            "id": None,
            "headline": sections.headline(record),
            "advice": None if layers is None else [vars(advice) for advice in record.advice],
            "confusion": answers.confusion(record),
            "classes": answers.per_class(record),
            "mistakes": answers.mistakes(record),
            "answers": found.get("answers"),
            "calibration": found.get("calibration"),
            "split": found.get("split"),
            "written": record.written,
            "config": config,
            "network": _network(record),
            "environment": _environment(record),
            "report": run.report.is_file(),
            "problem": logs.problem,
        }


def sample(run: RunDir, step: int) -> bytes | None:
    """The picture that was made after a step; None where there is none, or what is there is no small PNG."""
    try:
        content = read_bytes(run.sample(step), strip.MOST_BYTES)
    except (OSError, ValueError):
        return None
    return content if content.startswith(strip.SIGNATURE) else None


def _network(record: Record) -> list[Row]:
    layers = record.description.get("model", {}).get("layers", [])
    return [
        {
            "name": str(layer["name"]),
            "type": str(layer["type"]),
            "output": shape_text(layer["output_shape"]),
            "parameters": layer["parameters"],
            "share": layer["share"],
        }
        for layer in layers
    ]


def _environment(record: Record) -> list[tuple[str, str]]:
    known = record.environment
    shown = [(key, known[key]) for key in ENVIRONMENT if known.get(key) not in (None, [], "")]
    return [(key, " ".join(map(str, value)) if isinstance(value, list) else str(value)) for key, value in shown]
