"""Jobs beside each other: by joblib, by submitit on this machine, and what Slurm is told."""

import json
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf
from tests.command import CONFIGS, Apart, Run, lines, sweep, tiny, train
from tests.test_recovery import same, until

pytest.importorskip("submitit", reason="pip install 'archselect[sweeps]'")

SHORT = (*tiny("s4", "darts", "magnitude"), "evaluation=none", "logger=none")
LONGER = (*SHORT, "search.epochs=20")


def jobs_of(logs: Path) -> list[Run]:
    """Return the finished jobs of the only sweep, in order."""
    return [Run(file.parent) for file in sorted(logs.glob("sweeps/*/*/summary.json"))]


@pytest.mark.parametrize("launcher", sorted(file.stem for file in (CONFIGS / "hydra" / "launcher").glob("*.yaml")))
def test_a_launcher_composes_to_what_its_file_says(launcher: str) -> None:
    Plugins.instance()  # registers the plugins' own configs, which must not be mixed in
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [f"hydra/launcher={launcher}"], return_hydra_config=True)
    written = OmegaConf.to_container(OmegaConf.load(CONFIGS / "hydra" / "launcher" / f"{launcher}.yaml"))
    assert OmegaConf.to_container(config.hydra.launcher) == written


@pytest.mark.slow
def test_two_processes_share_a_supernet_and_one_that_fails_leaves_the_other_alone(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    overrides = [*SHORT, "selection=magnitude,random", "search.batch_size=30,6000", f"logs={logs}"]
    overrides.remove("selection=magnitude")
    ended = Apart(tmp_path / "apart", ["-m", "hydra/launcher=processes", *overrides])
    assert ended.end(400).code == 1
    output = ended.output.read_text()
    assert "2 of the 4 jobs of the sweep failed; the other 2 are finished." in output
    for number, selection in ((1, "magnitude"), (3, "random")):
        assert f"job {number} (selection={selection} search.batch_size=6000): search.batch_size is 6000" in output
    jobs = jobs_of(logs)
    assert [job.folder.name[0] for job in jobs] == ["0", "2"]
    assert sorted(job.reused()["search"] for job in jobs) == [False, True]
    assert len({job.stage("search") for job in jobs}) == 1


# --- submitit. ---


def pids(text: str) -> list[int]:
    """Return the processes that have all of `text` in their command lines."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in line and "submitit.core._submit" in line:
            found.append(int(file.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked for in /proc")
def test_a_job_that_is_preempted_is_requeued_and_ends_as_the_one_left_alone(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    at_work = Apart(tmp_path / "apart", ["-m", "hydra/launcher=slurm_local", *LONGER, f"logs={logs}"])
    history = logs / "stages" / "search"
    until(lambda: any(len(lines(file)) >= 2 for file in history.glob("*/history.jsonl")))
    (task,) = pids(str(logs))
    os.kill(task, signal.SIGTERM)  # what Slurm says first; submitit goes on
    until(lambda: any(len(lines(file)) >= 4 for file in history.glob("*/history.jsonl")))
    os.kill(task, signal.SIGUSR2)
    assert at_work.end(400).code == 0, at_work.output.read_text()
    (job,) = jobs_of(logs)
    assert len(json.loads((job.stage("search") / "provenance.json").read_text())) == 2
    (said,) = (file.read_text() for file in logs.glob("sweeps/*/.submitit/*/*_0_log.err"))
    assert "Bypassing signal SIGTERM" in said and "Caught signal SIGUSR2" in said
    same(train(*LONGER, f"logs={tmp_path / 'alone'}"), job)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("launcher", ["slurm_local", "processes"])
def test_a_sweep_that_is_asked_to_stop_stops_its_jobs(launcher: str, number: signal.Signals, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    endless = [*SHORT, "search.epochs=4000", "seed=0,1", f"logs={logs}"]
    stopped = Apart(tmp_path / "apart", ["-m", f"hydra/launcher={launcher}", *endless])
    until(lambda: len(list(logs.glob("stages/search/*/checkpoint.ckpt"))) == 2)
    assert stopped.pid is not None
    os.kill(stopped.pid, number)
    assert stopped.end(400).code == 128 + number
    assert "Stopped. What is finished is kept" in stopped.output.read_text()
    histories = sorted(logs.glob("stages/search/*/history.jsonl"))
    until(lambda: not pids(str(logs)))
    before = [len(lines(file)) for file in histories]
    time.sleep(2)
    assert [len(lines(file)) for file in histories] == before


# --- Slurm, played by scripts. ---


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put commands into PATH that keep the batch file, and say that the job ran out of memory."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "sbatch": f'cp "$1" {tmp_path}/batch.sh\necho Submitted batch job 17',
        "sacct": "echo 'JobID|State|NodeList'\necho '17_0|OUT_OF_MEMORY|node1'\necho '17_1|OUT_OF_MEMORY|node1'",
        "srun": "exit 1",
        "scancel": "exit 0",
    }
    for name, lines_of_it in scripts.items():
        file = folder / name
        file.write_text(f"#!/bin/sh\n{lines_of_it}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)  # of waiting for a file that may be late
    yield tmp_path / "batch.sh"


def test_slurm_is_told_time_memory_cores_and_to_requeue_and_a_job_that_is_gone_is_named(
    slurm: Path, own_logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["timeout_min=90", "mem_gb=12", "cpus_per_task=3", "partition=gpu", "array_parallelism=5"]
    said = refused(capsys, "hydra/launcher=slurm", *(f"hydra.launcher.{one}" for one in options), "seed=0,1", own_logs)
    batch = slurm.read_text().splitlines()
    for line in (
        "#SBATCH --time=90",
        "#SBATCH --mem=12GB",
        "#SBATCH --cpus-per-task=3",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --partition=gpu",
        "#SBATCH --array=0-1%2",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --job-name=s4-darts-magnitude-digits",
        "export OMP_NUM_THREADS=3 SRUN_CPUS_PER_TASK=3",
    ):
        assert line in batch, f"{line} is not in\n" + "\n".join(batch)
    assert "account" not in slurm.read_text()
    assert "2 of the 2 jobs of the sweep failed.\n" in said
    for seed in (0, 1):
        assert f"job {seed} (seed={seed}): it ended without a result (state OUT_OF_MEMORY)" in said


def test_a_job_of_slurm_on_two_machines_has_a_task_for_each_gpu_and_one_that_fails_ends_the_others(
    slurm: Path, own_logs: str
) -> None:
    options = ["hydra.launcher.nodes=2", "hydra.launcher.tasks_per_node=4"]
    with pytest.raises(SystemExit):  # these scripts say that the memory ran out
        sweep(*SHORT, "hydra/launcher=slurm", *options, "seed=0,1", own_logs)
    batch = slurm.read_text().splitlines()
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=4", "#SBATCH --gpus-per-node=4"} <= set(batch)
    (command,) = (line for line in batch if line.startswith("srun "))
    assert " --kill-on-bad-exit=1 " in command and "/%A_%a_%t_log.err " in command  # a log for each task
    assert " -m submitit.core._submit " in command


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    with pytest.raises(SystemExit) as ended:
        sweep(*SHORT, *overrides)
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_where_there_is_no_slurm_it_says_so(
    own_logs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    said = refused(capsys, "hydra/launcher=slurm", own_logs)
    assert "hydra/launcher=slurm needs the commands of Slurm" in said


@pytest.mark.parametrize(
    ("launcher", "package"),
    [
        ("processes", "hydra_plugins.hydra_joblib_launcher.joblib_launcher"),
        ("slurm", "hydra_plugins.hydra_submitit_launcher.submitit_launcher"),
    ],
)
def test_a_launcher_whose_package_is_missing_says_what_to_install(
    launcher: str, package: str, own_logs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    said = refused(capsys, f"hydra/launcher={launcher}", own_logs)
    assert f"hydra/launcher={launcher} needs the package {package}" in said
    assert "pip install 'archselect[sweeps]'" in said


def test_an_option_that_a_launcher_does_not_take_is_refused(own_logs: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "hydra/launcher=processes", "hydra.launcher.n_jobs=0", own_logs)
    assert "hydra.launcher: joblib does not take these options: n_jobs == 0" in said
