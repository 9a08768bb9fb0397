"""The same with processes that MPI starts: what is carried, how it ends, and what the command line says of it."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from commands import Said, dltrain, done
from endurance.harness import Place, remains
from endurance.ranks import OUTSIDE, Ranks, why_not

from dltrain.cli.ranks import find_mpiexec

needs_mpi = pytest.mark.usefixtures("mpi")
CONFIG = ["smoke", "train.shard_size=8", "train.max_steps=10"]
SLURM = Path(__file__).parent.parent / "docs" / "slurm"


@pytest.fixture(scope="session")
def mpi() -> None:
    if why_not():
        pytest.skip(f"several ranks: {why_not()}")


def run(command: list[str], **settings: Any) -> Said:
    said = subprocess.run(command, capture_output=True, text=True, timeout=600, **settings)
    return Said(said.returncode, said.stdout, said.stderr)


def ranks(number: int, *words: object, by_mpiexec: bool = False) -> Said:
    program = [sys.executable, "-m", "dltrain", *map(str, words)]
    if by_mpiexec:
        return run([find_mpiexec(), "-n", f"{number}", *program])
    return run([*program, "--ranks", f"{number}"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = done("fit", *CONFIG, "--runs-dir", tmp_path_factory.mktemp("alone"), "--json").json
    return found


# --- the same bits ----------------------------------------------------------------------------------------------------


@needs_mpi
@pytest.mark.parametrize(("number", "by_mpiexec"), [(2, False), (3, True), (5, False)])
def test_a_run_of_several_ranks_is_that_of_one(
    number: int, by_mpiexec: bool, alone: dict[str, Any], tmp_path: Path
) -> None:
    said = ranks(number, "fit", *CONFIG, "--runs-dir", tmp_path, "--json", by_mpiexec=by_mpiexec)
    assert said.code == 0, said.err
    assert {**said.json, "run": ""} == {**alone, "run": ""}
    (folder,) = tmp_path.iterdir()
    assert len(json.loads((folder / "status.json").read_text())["ranks"]) == number
    assert said.err.count("\nepoch 1/") == 1, "rank 0 alone speaks"
    assert (folder / "report.html").exists()


@needs_mpi
def test_a_group_of_runs(tmp_path: Path) -> None:
    alike = ["fit", *CONFIG, "--seeds", 2, "--json", "--runs-dir"]
    one, two = done(*alike, tmp_path / "one").json, ranks(2, *alike, tmp_path / "two").json
    assert [r["weights_sha256"] for r in two["runs"]] == [r["weights_sha256"] for r in one["runs"]]


WHOLE = {
    "images": ["cifar_cnn", "train.max_steps=40", "train.shard_size=16"],
    "text": ["char_gru", "train.max_steps=12", "train.shard_size=8"],
    "a game with batch norms": ["digits_gan", "train.max_steps=40", "train.shard_size=16"],
    "batch norms": ["cifar_resnet20", "train.max_steps=6", "train.batch_size=48", "train.shard_size=16"],
}


@pytest.mark.slow
@needs_mpi
@pytest.mark.parametrize("words", WHOLE.values(), ids=WHOLE)
def test_whole_trainings_come_to_the_same_bits(words: list[str], tmp_path: Path) -> None:
    found = {}
    for number, threads in product((1, 2, 3), (1, 2)):
        said = ranks(number, "fit", *words, "--threads", threads, "--runs-dir", tmp_path, "--json")
        assert said.code == 0, said.err
        found[number, threads] = {**said.json, "run": ""}
    print(found[1, 1]["weights_sha256"])
    assert [key for key, result in found.items() if result != found[1, 1]] == []


# --- the command line -------------------------------------------------------------------------------------------------


def test_mpi_is_not_loaded_where_it_has_started_nobody(tmp_path: Path) -> None:
    program = "import sys; from dltrain.backend.ranks import world; print(world().size, 'mpi4py' in sys.modules)"
    assert run([sys.executable, "-c", program]).out == "1 False\n"


@pytest.mark.parametrize("tasks", ["1", "4"])
def test_srun_without_mpi_is_noticed(tasks: str) -> None:
    """It starts so many trainings that know nothing of each other."""
    said = run([sys.executable, "-m", "dltrain", "fit", "nothing"], env=os.environ | {"SLURM_STEP_NUM_TASKS": tasks})
    told = (
        "warning: srun has started this 4 times, each by itself; for one training of 4 ranks: srun --mpi=pmi2, or what"
    )
    assert (told in said.err) == (tasks == "4")


@pytest.mark.parametrize("missing", ["mpiexec", "mpi4py"])
def test_what_is_missing_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "mpiexec":
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        said = dltrain("fit", "smoke", "--ranks", 2)
    else:
        (tmp_path / "mpi4py.py").write_text("raise ImportError('No module named mpi4py')")
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
        words = [sys.executable, "-m", "dltrain", "fit", "smoke"]
        said = run(words, env=os.environ | {"PYTHONPATH": path, "PMI_SIZE": "2"})
    assert said.code == 1 and len(said.errors) == 1
    assert missing in said.errors[0] and "pip install '.[mpi]'" in said.errors[0]


@needs_mpi
def test_too_few_shards_and_mistakes_are_told_once(tmp_path: Path) -> None:
    said = ranks(3, "fit", "smoke", "train.shard_size=32", "--runs-dir", tmp_path)
    assert said.code == 2 and not [*tmp_path.iterdir()]
    assert said.errors == ["train.shard_size: 64 examples in shards of 32 make 2, too few for 3 ranks; "
                           "train.shard_size=16 makes 4 (other bits)"]  # fmt: skip
    assert ranks(2, "fit", "nothing").code == 2
    said = run([find_mpiexec(), "-n", "2", sys.executable, "-m", "dltrain", "fit", "smoke", "--ranks", "3"])
    assert said.code == 2 and "--ranks 3, but MPI has started 2" in said.err


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"), shard_size=4)


@needs_mpi
@pytest.mark.parametrize(
    ("kind", "number", "rank", "code"),
    [("error", 3, 1, 1), ("disk", 2, 0, 1), ("diverge", 2, 1, 3), (signal.SIGTERM, 2, 1, 143),
     (signal.SIGKILL, 2, 1, 137)],
)  # fmt: skip
def test_a_rank_that_fails_ends_all_and_one_less_goes_on(
    kind: Any, number: int, rank: int, code: int, place: Place
) -> None:
    """The seconds are for a machine that has other things to do; `tools/endurance` measures them."""
    place.clear()
    together = Ranks(place)

    def send(pid: int) -> None:
        (place.folder / "at").write_text(repr(time.time()))
        os.kill(pid, kind)

    got, said, seconds = together.fail("signal" if kind in OUTSIDE else kind, number, rank, 8, True, send)
    assert got == code and 0 < seconds < 30, said
    status = place.only_run().status()
    told = status["ended_by"]
    if kind == signal.SIGKILL:
        assert status["status"] == "crashed" and "a rank was killed" in told["reason"] and "--resume" in said
    else:
        assert kind == "diverge" or (told["rank"], told["step"] >= 8) == (rank, True)
        assert told["host"] and told["reason"].split(":")[0] in (
            "ValueError", "OSError", "DivergedError", "Interrupted"
        )  # fmt: skip
        assert status["status"] == {3: "diverged", 143: "interrupted"}.get(code, "failed")
    if kind == "error":
        assert f"rank 1 on {told['host']} failed at step 8: ValueError: boom" in said
    if number == 2:
        done(*together.command(1, True)[3:])
    else:
        again = run(together.command(number - 1, True))
        assert again.code == 0, again.err
    assert remains(place.only_run()) == place.expected


# --- batch systems ----------------------------------------------------------------------------------------------------

SRUN = """\
#!/bin/bash
# as srun would: starts what follows its own words on two ranks, and hands on signals
while [[ "$1" == -* ]]; do shift; done
"$MPIEXEC" -n 2 "$@" & ranks=$!
trap 'kill -USR1 $ranks' USR1
trap 'kill -TERM $ranks' TERM
while kill -0 $ranks 2>/dev/null; do wait $ranks; code=$?; done
exit $code
"""
SCONTROL = '#!/bin/bash\necho "$@" >> "$SAID"\n'


@needs_mpi
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_batch_job_is_requeued_when_its_time_is_over(number: int, place: Place, tmp_path: Path) -> None:
    """With programs in the place of SLURM's."""
    place.clear()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    together = Ranks(place)
    told = {"kind": "signal", "rank": 0, "step": 6, "folder": str(place.folder), "pause": 0.05}
    folders = [str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(folders), "SLURM_JOB_ID": "17", "MPIEXEC": find_mpiexec(),
        "SAID": str(tmp_path / "said"),
        "FAIL": json.dumps(told), "CONFIG": str(place.config),
        "MORE": f"--runs-dir {place.runs} --threads 1 --quiet --plugin {together.plugin}",
    }  # fmt: skip
    at = place.folder / "step-0"
    at.unlink(missing_ok=True)
    job = subprocess.Popen(["bash", SLURM / "fit.sbatch"], env=environment, stderr=subprocess.PIPE, text=True)
    while job.poll() is None and not (at.exists() and (text := at.read_text()) and int(text) >= 6):
        time.sleep(0.01)
    job.send_signal(number)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 0, err
    assert (tmp_path / "said").read_text() == "requeue 17\n"
    assert place.only_run().status()["status"] == "interrupted"
    assert (
        run(["bash", str(SLURM / "fit.sbatch")], env={**environment, "FAIL": json.dumps(told | {"pause": 0})}).code == 0
    )
    assert remains(place.only_run()) == place.expected
    assert (tmp_path / "said").read_text() == "requeue 17\n", "once"
