"""`dltrain fit --seeds N --vary KEY=A,B,…`: several runs, one after the other, that can be continued."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.cli import console

if TYPE_CHECKING:
    from dltrain.cli.fit import Start
    from dltrain.train.group import Group

ENDED = ("done", "diverged")


def new_group(
    config: str, words: list[str], seeds: int | None, varied: Sequence[str], runs_dir: Path, name: str, smoke: bool
) -> "Group":
    """The plan on disk, once every config in it has been checked. Raises ConfigError, RunError."""
    from dltrain.errors import RunError
    from dltrain.spec import load
    from dltrain.spec.vary import variants
    from dltrain.train.group import Group, Member

    spec = load(config, words)
    found = variants(varied, range(spec.seed, spec.seed + seeds) if seeds else ())
    members = [Member(variant.label, [*words, *variant.changes]) for variant in found]
    for member in members:
        load(config, member.changes)
    try:
        return Group.create(runs_dir, name, spec.text, members, smoke)
    except OSError as error:
        raise RunError(f"{runs_dir}: no group can be kept here ({error.strerror}); --runs-dir says where") from None


def train_group(group: "Group", start: "Start", train: Callable[["Start"], dict[str, Any]], json: bool) -> None:
    """Train what has not ended yet, each member in its own run. One that diverges does not stop the others.

    Raises DivergedError at the end where there was one, or whatever stopped the group.
    """
    from dltrain.errors import DivergedError

    results: dict[str, dict[str, Any]] = {}
    for number, member in enumerate(group.members, start=1):
        run = group.run_of(member)
        if run is None or run.status()["status"] not in ENDED:
            console.info(f"{number} of {len(group.members)}: {member.label}")
            try:
                if run is None:
                    start.begin(str(group.source), member.label, list(member.changes), look_for_unfinished=False)
                else:
                    start.resume(run, [])
                train(start)
            except DivergedError as error:
                console.error(str(error))
            except BaseException:
                console.info(f"what is finished is kept; to go on: dltrain fit --resume {group.path}")
                raise
            run = group.run_of(member)
        assert run is not None
        results[member.label] = run.result()
    _show(group, results, json)
    if diverged := [label for label, result in results.items() if result["status"] == "diverged"]:
        raise DivergedError(f"{len(diverged)} of {len(results)} runs diverged: {', '.join(diverged)}")


def _show(group: "Group", results: dict[str, dict[str, Any]], json: bool) -> None:
    if json:
        console.result_json({"group": str(group.path), "runs": list(results.values())})
        return
    split = next((s for s in ("test", "validation") if all(s in r for r in results.values())), "train")
    rows = []
    for label, result in results.items():
        found = result.get(split, {})
        rows.append([label, result["status"], result.get("epochs"), found.get("loss"), found.get("accuracy")])
    console.result_table(["run", "status", "epochs", f"{split} loss", f"{split} accuracy"], rows)
    console.result_text(f"\ngroup {group.path}")
