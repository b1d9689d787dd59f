"""Jobs of submitit whose tasks are the processes of one run: results, requeues, and what a task that is killed ends."""

import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from tests.command import Apart, lines, tiny, train
from tests.sweeps.test_launchers import jobs_of, pids
from tests.test_recovery import until

from archselect.utils.errors import UserError
from hydra_plugins.archselect_sweeps.launchers import Task

pytest.importorskip("submitit", reason="pip install 'archselect[sweeps]'")
from submitit.core.utils import pickle_load

WITHOUT_NOISE = (*tiny("s2", "darts", "magnitude"), "evaluation=none", "logger=none")
"""Of noise each task draws its own."""


@dataclass(frozen=True)
class Plugin:
    """Hydra's job, which comes to this."""

    returned: JobReturn

    def __call__(self, *arguments: object) -> JobReturn:
        return self.returned


def test_an_error_is_the_result_of_the_main_task_and_the_exit_code_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = JobReturn(status=JobStatus.FAILED)
    failed.return_value = UserError("The batch is too large.")
    task = Task(Plugin(failed))
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")  # which the task sets, and the test takes back
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    given = {"JOB_ID": "4", "JOB_NUM_NODES": "1", "NODEID": "0", "NTASKS": "2", "GLOBALID": "0", "LOCALID": "0"}
    for name, value in given.items():
        monkeypatch.setenv(f"SUBMITIT_LOCAL_{name}", value)
    assert task() is failed
    monkeypatch.setenv("SUBMITIT_LOCAL_GLOBALID", "1")
    with pytest.raises(UserError, match="The batch is too large"):
        task()


def two_tasks(logs: Path, epochs: int) -> list[str]:
    """Return the arguments of a job of two tasks, which are the processes of one run."""
    overrides = [*WITHOUT_NOISE, f"search.epochs={epochs}", f"logs={logs}"]
    return ["-m", "hydra/launcher=slurm_local", "hydra.launcher.tasks_per_node=2", *overrides]


def tasks_once_at_work(logs: Path) -> list[int]:
    """Return the processes of the only job, the main one first, when two epochs are done."""
    until(lambda: any(len(lines(file)) >= 2 for file in logs.glob("stages/search/*/history.jsonl")))
    return sorted(pids(str(logs)), key=lambda task: b"GLOBALID=1" in Path(f"/proc/{task}/environ").read_bytes())


@pytest.mark.slow
def test_two_tasks_of_a_job_share_a_run_in_whose_folder_the_main_one_writes(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    at_work = Apart(tmp_path / "apart", two_tasks(logs, 4))
    assert at_work.end(400).code == 0, at_work.output.read_text()
    (job,) = jobs_of(logs)
    alone = train(*WITHOUT_NOISE, "search.epochs=4", f"logs={tmp_path / 'alone'}")
    assert job.summary["genotype"] == alone.summary["genotype"]
    for together, single in zip(job.history("search"), alone.history("search"), strict=True):
        assert together["metrics"]["train_loss"] == pytest.approx(single["metrics"]["train_loss"], rel=1e-3)
    results = [pickle_load(file)[1] for file in sorted(logs.glob("sweeps/*/.submitit/*/*_result.pkl"))]
    folders = [Path(result.hydra_cfg.hydra.runtime.output_dir) for result in results]
    assert folders[0] == job.folder
    assert logs not in folders[1].parents and not folders[1].exists()
    assert sorted(path.name for path in job.folder.parent.iterdir()) == [".submitit", job.folder.name, "multirun.yaml"]
    assert not (logs / "runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked for in /proc")
def test_a_job_of_two_tasks_that_is_preempted_is_requeued_once_and_goes_on(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    at_work = Apart(tmp_path / "apart", two_tasks(logs, 60))
    for task in tasks_once_at_work(logs):
        os.kill(task, signal.SIGUSR2)  # Slurm tells all of them
    assert at_work.end(400).code == 0, at_work.output.read_text()
    (job,) = jobs_of(logs)
    assert len(json.loads((job.stage("search") / "provenance.json").read_text())) == 2
    assert len(job.history("search")) == 60
    main, other = (file.read_text() for file in sorted(logs.glob("sweeps/*/.submitit/*/*_log.out")))
    assert (main.count("Requeued job"), other.count("Requeued job")) == (1, 0)
    assert other.count("Not checkpointing nor requeuing since I am a slave") == 1


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are looked for in /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_task_that_is_killed_ends_the_job_which_names_it(victim: int, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    at_work = Apart(tmp_path / "apart", two_tasks(logs, 4000))
    os.kill(tasks_once_at_work(logs)[victim], signal.SIGKILL)
    assert at_work.end(60).code == 1
    said = at_work.output.read_text()
    reason = ("it ended without a result", "Another process of this run has ended")[victim]
    assert f"job 0: {reason}" in said and "/.submitit/" in said
    assert pids(str(logs)) == []
