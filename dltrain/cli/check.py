"""`dltrain check CONFIG`"""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from dltrain.cli import console
from dltrain.cli.app import Config, DataDir, Debug, DeviceName, Json, KernelsName, Overrides, Plugins, Quiet
from dltrain.cli.starts import show_starts

FOR_ONE = "for a `model` and its `loss`"


def check(
    config: Config,
    overrides: Overrides = None,
    samples: Annotated[
        Path | None, typer.Option("--samples", metavar="FILE.png", help="Draw a few examples as the network sees them.")
    ] = None,
    backends: Annotated[
        str | None,
        typer.Option(
            "--backends",
            metavar="A,B",
            help="Instead, compare what each layer computes with reference, numpy, native or cupy kernels: numpy,cupy.",
        ),
    ] = None,
    data_dir: DataDir = None,
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check for problems before training.

    Data, state of the network at the start, gradients, and whether it can learn a few examples; of several networks
    the last three, update by update. Saves nothing. Exit code 1 if anything failed.
    """
    from dltrain.check import Subject, check_game, run_checks
    from dltrain.check.finding import Status
    from dltrain.errors import ConfigError
    from dltrain.nn import Network
    from dltrain.run.files import require_ending

    require_ending(samples, ".png")
    if backends:
        given = {"--samples": samples, "--device": device, "--kernels": kernels != "auto"}
        if beside := [option for option, value in given.items() if value]:
            raise ConfigError(f"--backends cannot be combined with {', '.join(beside)}")
        _compare(config, overrides, data_dir, backends, json)
        return
    job = prepare(config, overrides, data_dir, device)
    alone = isinstance(job.model, Network)
    if samples and not alone:
        raise ConfigError(f"check --samples is {FOR_ONE}")
    show_starts(job)
    console.warn_of_missing_kernels(job.device.kernels.note)
    findings = []
    with console.progress("checks"):
        for finding in run_checks(Subject(job)) if alone else check_game(job):
            findings.append(finding)
            if not json:
                console.result_finding(finding.check, finding.status, finding.found, finding.advice)
    if samples:
        from dltrain.report.grid import write_picture
        from dltrain.report.samples import sample_grid

        write_picture(samples, sample_grid(job, Subject(job).step_key))
        console.info(f"wrote {samples}")
    count = {status: sum(f.status == status for f in findings) for status in get_args(Status)}
    if json:
        console.result_json({**count, "findings": [finding.to_json() for finding in findings]})
    else:
        console.result_text(", ".join(f"{number} {status}" for status, number in count.items() if number))
    if count["failed"]:
        raise typer.Exit(1)


def _compare(config: str, overrides: list[str] | None, data_dir: Path | None, backends: str, json: bool) -> None:
    """`--backends`: a row for each layer; exit code 1 where one is beyond its tolerance."""
    from dltrain.check.backends import TOLERANCES, compare, parse
    from dltrain.errors import ConfigError
    from dltrain.nn import Network

    names = parse(backends)

    def job(device: str, dtype: str) -> Any:
        return prepare(config, overrides, data_dir, device, dtype)

    rows, shown = [], None
    if not isinstance(job("cpu", "float64").model, Network):
        raise ConfigError(f"check --backends is {FOR_ONE}")
    for row in compare(job, names):
        rows.append(row)
        if json:
            continue
        if shown != (row.backend, row.dtype):
            shown = row.backend, row.dtype
            allowed = TOLERANCES[row.dtype]
            console.result_text(f"{row.backend} against {names[0]}, {row.dtype}: ‖a - b‖ / ‖b‖, at most {allowed:g}")
        backward = "" if row.backward is None else f"backward {row.backward:.1e}"
        mark = "  above tolerance" if row.is_beyond else ""
        console.result_text(f"  {row.layer:<20}  forward {row.forward:.1e}  {backward:<16}{mark}".rstrip())
    beyond = sum(row.is_beyond for row in rows)
    if json:
        found = [row.to_json() for row in rows]
        console.result_json({"reference": names[0], "tolerances": TOLERANCES, "beyond": beyond, "differences": found})
    else:
        some = f"{beyond} of {len(rows)} above tolerance"
        console.result_text(some if beyond else f"all {len(rows)} within tolerance")
    if beyond:
        raise typer.Exit(1)


def prepare(
    config: str, overrides: list[str] | None, data_dir: Path | None, device: str | None, dtype: str = "float32"
) -> Any:
    """The job of a config, as `fit` would build it."""
    from dltrain.backend import open_device
    from dltrain.backend.process import settle as settle_process
    from dltrain.data import default_data_dir
    from dltrain.spec import Override, build_job, load, settle

    settle_process()
    changes: list[Any] = [*(overrides or [])]
    changes += [Override(f"device={device}", "--device")] if device else []
    spec = load(config, changes)
    opened = open_device(spec.device, dtype)
    return build_job(settle(spec, opened), opened, data_dir or default_data_dir())
