"""`dltrain check CONFIG`"""

from pathlib import Path
from typing import Annotated, Any

import typer

from dltrain.cli import console
from dltrain.cli.app import Config, DataDir, Debug, DeviceName, Json, KernelsName, Overrides, Plugins, Quiet


def check(
    config: Config,
    overrides: Overrides = None,
    samples: Annotated[
        Path | None, typer.Option("--samples", metavar="FILE.png", help="Draw some examples as the network sees them.")
    ] = None,
    data_dir: DataDir = None,
    device: DeviceName = None,
    kernels: KernelsName = "auto",
    plugin: Plugins = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look for what would spoil a training before it starts.

    Data, state of the network at the start, gradients, and whether it can learn a few examples. Keeps nothing.
    Exit code 1 if anything failed.
    """
    from dltrain.check import Subject, run_checks

    subject = Subject(prepare(config, overrides, data_dir, device))
    findings = []
    for finding in run_checks(subject):
        findings.append(finding)
        if not json:
            console.result_finding(finding.check, finding.status, finding.found, finding.advice)
    if samples:
        from dltrain.report.grid import write_picture
        from dltrain.report.samples import sample_grid

        write_picture(samples, sample_grid(subject.job, subject.moment))
        console.info(f"wrote {samples}")
    count = {status: sum(f.status == status for f in findings) for status in ("passed", "warned", "failed")}
    if json:
        console.result_json({**count, "findings": [finding.to_json() for finding in findings]})
    else:
        console.result_text(", ".join(f"{number} {status}" for status, number in count.items() if number))
    if count["failed"]:
        raise typer.Exit(1)


def prepare(config: str, overrides: list[str] | None, data_dir: Path | None, device: str | None) -> Any:
    """The job of a config, as `fit` would build it."""
    from dltrain.backend import open_device
    from dltrain.backend.process import settle as settle_process
    from dltrain.data import default_data_dir
    from dltrain.spec import Override, build_job, load, settle

    settle_process()
    changes: list[Any] = [*(overrides or [])]
    changes += [Override(f"device={device}", "--device")] if device else []
    spec = load(config, changes)
    opened = open_device(spec.device)
    return build_job(settle(spec, opened), opened, data_dir or default_data_dir())
