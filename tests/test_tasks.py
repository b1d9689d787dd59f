"""Jobs of submitit whose tasks are the processes of one run: results, requeues, and which of them is told to have failed."""

import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.utils import JobReturn, JobStatus
from test_launchers import jobs_of, pids
from test_recovery import until
from tests.command import Apart, lines, tiny, train

from archselect.distributed.process_group import ProcessLostError
from archselect.errors import RunError
from hydra_plugins.archselect_sweeps.launchers import TaskOfJob, first_to_fail, result_of

pytest.importorskip("submitit", reason="pip install 'archselect[sweeps]'")
from submitit.core.utils import FailedJobError, UncompletedJobError, pickle_load  # noqa: E402

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
    failed.return_value = RunError("The batch is too large.")
    task = TaskOfJob(Plugin(failed))
    assert task() is failed
    for name, value in {"NTASKS": "2", "GLOBALID": "1", "LOCALID": "1"}.items():
        monkeypatch.setenv(f"SUBMITIT_LOCAL_{name}", value)
    with pytest.raises(RunError, match="The batch is too large"):
        task()


@dataclass(frozen=True)
class Task:
    """A task of submitit that comes to this."""

    result_: JobReturn | Exception
    state: str = "FAILED"
    paths: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(stderr="1_log.err"))

    def result(self) -> JobReturn:
        if isinstance(self.result_, Exception):
            raise self.result_
        return self.result_


def report(last: str) -> FailedJobError:
    """Return what submitit says of a task that raised."""
    dashes = "-" * 22
    trace = f"Traceback (most recent call last):\n  File: there\n{last}"
    return FailedJobError(f"Job (task=1) failed during processing with trace:\n{dashes}\n{trace}\n\n{dashes}\nYou can")


GONE = JobReturn(status=JobStatus.FAILED)
GONE.return_value = ProcessLostError("Another process of this run has ended.")
KILLED = UncompletedJobError("no output")
TOLD = report("archselect.distributed.process_group.ProcessLostError: Another process has ended.")


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (
            [GONE, report("archselect.errors.RunError: Numbers differ.\nUse equal devices.")],
            "Numbers differ.\nUse equal",
        ),
        ([GONE, TOLD, report("torch.OutOfMemoryError: CUDA out of memory")], "OutOfMemoryError: CUDA out of memory"),
        ([KILLED, KILLED, report("ValueError: no")], "ValueError: no"),
        ([GONE, TOLD, KILLED], "it ended without a result"),
        ([KILLED, TOLD], "it ended without a result"),
        ([GONE, TOLD], None),
    ],
)
def test_a_job_fails_by_the_words_of_the_task_that_ended_the_others(
    results: list[JobReturn | Exception], expected: str | None
) -> None:
    error = first_to_fail([result_of(Task(one)) for one in results])
    assert error is None if expected is None else str(error).startswith(expected)


def two_tasks(logs: Path, epochs: int) -> list[str]:
    """Return the arguments of a job of two tasks, which are the processes of one run."""
    overrides = [*WITHOUT_NOISE, f"search.epochs={epochs}", f"logs={logs}"]
    return ["-m", "hydra/launcher=slurm_local", "hydra.launcher.tasks_per_node=2", *overrides]


def tasks_once_at_work(logs: Path) -> list[int]:
    """Return the processes of the only job, the main one first, when two epochs are done."""
    until(lambda: any(len(lines(file)) >= 2 for file in logs.glob("stages/search/*/history.jsonl")))
    return sorted(pids(str(logs)), key=lambda task: b"GLOBALID=1" in Path(f"/proc/{task}/environ").read_bytes())


@pytest.mark.slow
def test_two_tasks_of_a_job_share_a_run_in_whose_folder_the_main_one_writes(tmp_path: Path, no_figures: None) -> None:
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
def test_a_job_of_two_tasks_that_is_preempted_is_requeued_once_and_goes_on(tmp_path: Path, no_figures: None) -> None:
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
    assert "job 0: it ended without a result" in said and f"_{victim}_log.err" in said
    assert pids(str(logs)) == []
