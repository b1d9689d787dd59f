"""Which processes were started together, by what srun, submitit and torchrun say, and where they meet."""

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from tests.command import TRAIN, Run, tiny, train

from archselect import pipeline
from archselect.distributed.environment import TaskEnvironment
from archselect.distributed.launch import Launched, launched
from archselect.errors import RunError
from archselect.stages.trainer import check_trainer, for_this_process

# What Slurm 22.05 sets for a job of `--nodes=2 --ntasks-per-node=2`: in its batch file ...
JOB = {
    "SLURM_JOB_ID": "4",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "0",
    "SLURM_NODELIST": "n[1-2]",
    "SLURM_NPROCS": "4",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "0",
    "SLURM_TASKS_PER_NODE": "2(x2)",
}
# ... in the last of the tasks that srun starts there ...
TASK = {
    **JOB,
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "n[1-2]",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}
# ... and in the one task of `srun --nodes=1 --ntasks=1` there.
SINGLE = {
    **JOB,
    "SLURM_NNODES": "1",
    "SLURM_NTASKS": "1",
    "SLURM_STEP_ID": "1",
    "SLURM_STEP_NODELIST": "n1",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_NUM_TASKS": "1",
    "SLURM_STEP_TASKS_PER_NODE": "1",
}
SUBMITIT = {
    "SUBMITIT_LOCAL_JOB_ID": "26287",
    "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
    "SUBMITIT_LOCAL_NTASKS": "2",
    "SUBMITIT_LOCAL_GLOBALID": "1",
    "SUBMITIT_LOCAL_LOCALID": "1",
}
TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "run",
    "RANK": "5",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
}

TRAINER = partial(pl.Trainer, accelerator="cpu")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take away what this process may have been given itself."""
    for name in [*os.environ]:
        if name.startswith(("SLURM_", "SUBMITIT_", "MASTER_", *TORCHRUN)):
            monkeypatch.delenv(name)
    return monkeypatch


def given(environment: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)


def place_in(environment: pytest.MonkeyPatch, variables: Mapping[str, str]) -> Launched:
    given(environment, variables)
    place = launched()
    assert place is not None
    return place


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        pytest.param({}, None, id="python train.py"),
        pytest.param(JOB, None, id="a batch file without srun"),
        pytest.param(SINGLE, None, id="one task of srun"),
        pytest.param(TASK, (3, 1, 4, 2), id="four tasks of srun on two machines"),
        pytest.param({**SUBMITIT, "SUBMITIT_LOCAL_NTASKS": "1"}, None, id="one task of submitit"),
        pytest.param(SUBMITIT, (1, 1, 2, 2), id="two tasks of submitit"),
        pytest.param({**TASK, **TORCHRUN}, (5, 1, 8, 4), id="torchrun in a task of srun"),
    ],
)
def test_srun_submitit_and_torchrun_tell_a_process_its_place(
    variables: Mapping[str, str], place: tuple[int, ...] | None, environment: pytest.MonkeyPatch
) -> None:
    given(environment, variables)
    assert launched() == place


def test_the_tasks_of_a_step_meet_on_its_first_machine_rather_than_on_that_of_the_job(
    environment: pytest.MonkeyPatch,
) -> None:
    place = place_in(environment, {**TASK, "SLURM_NODELIST": "n[1-4]", "SLURM_STEP_NODELIST": "n[3-4]"})
    assert TaskEnvironment(place).main_address == "n3"
    assert (TaskEnvironment(place).global_rank(), TaskEnvironment(place).node_rank()) == (3, 1)
    environment.setenv("MASTER_ADDR", "10.0.0.3")
    assert TaskEnvironment(place).main_address == "10.0.0.3"


def test_on_one_machine_no_name_is_looked_up(environment: pytest.MonkeyPatch) -> None:
    assert TaskEnvironment(place_in(environment, SUBMITIT)).main_address == "127.0.0.1"


def test_two_steps_of_a_job_and_two_jobs_beside_each_other_have_ports_of_their_own(
    environment: pytest.MonkeyPatch,
) -> None:
    place = place_in(environment, TASK)
    ports = []
    for job in ("4", "5"):
        for step in ("0", "1"):
            given(environment, {"SLURM_JOB_ID": job, "SLURM_STEP_ID": step})
            ports.append(TaskEnvironment(place).main_port)
    assert ports == [15040, 15041, 15050, 15051]
    environment.setenv("MASTER_PORT", "29500")
    assert TaskEnvironment(place).main_port == 29500


def test_machines_with_unequally_many_tasks_are_refused(environment: pytest.MonkeyPatch) -> None:
    given(environment, {**TASK, "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_TASKS_PER_NODE": "2,1"})
    with pytest.raises(RunError, match="srun spread its 3 tasks over machines as 2,1, and every machine needs as many"):
        check_trainer(TRAINER)


def test_srun_needs_no_ntasks_per_node(environment: pytest.MonkeyPatch) -> None:
    two = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_TASKS_PER_NODE": "2"}
    given(environment, {**TASK, **two, "SLURM_PROCID": "1"})
    environment.delenv("SLURM_NTASKS_PER_NODE")
    trainer = for_this_process(TRAINER)()
    assert (trainer.world_size, trainer.global_rank, trainer.local_rank, trainer.num_nodes) == (2, 1, 1, 1)


def test_a_batch_file_without_srun_starts_the_processes_itself(
    environment: pytest.MonkeyPatch, own_logs: str, no_figures: None
) -> None:
    given(environment, JOB)
    started: list[tuple[Any, ...]] = []

    def start(function: Any, arguments: tuple[Any, ...], processes: int, folder: Path) -> dict[str, Any]:
        started.append((function, processes, folder))
        return {}

    environment.setattr(pipeline, "start_processes", start)
    run = train(*tiny(), "trainer.devices=2", own_logs)
    assert started == [(pipeline._run_in_process, 2, run.folder)]


@pytest.mark.slow
def test_two_tasks_of_srun_come_to_what_one_process_comes_to(
    environment: pytest.MonkeyPatch, tmp_path: Path, no_figures: None
) -> None:
    command = [*tiny("s2", "darts", "magnitude"), "logger=none"]
    one = train(*command, f"logs={tmp_path / 'one'}")
    step = {
        **JOB,
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "n1",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "MASTER_PORT": str(20000 + os.getpid() % 10000),
        "PYTHONPATH": str(TRAIN.parent / "src"),
        "OMP_NUM_THREADS": "1",
    }
    tasks = [
        subprocess.Popen(
            [sys.executable, str(TRAIN), *command, f"logs={tmp_path / 'two'}"],
            env={**os.environ, **step, "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for task in range(2)
    ]
    said = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], "\n".join(said)
    assert "test accuracy" in said[0] and said[1] == ""
    (folder,) = (tmp_path / "two").glob("runs/*/*")
    two = Run(folder)
    assert two.summary["genotype"] == one.summary["genotype"]
    assert two.stage("search").name == one.stage("search").name
    alone, together = (torch.load(run.stage("search") / "supernet.pt", weights_only=True) for run in (one, two))
    for name, value in alone.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-4)
