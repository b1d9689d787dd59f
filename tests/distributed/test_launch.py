"""Which process this is, as torchrun and srun tell it by the environment."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from tests.command import TRAIN, Run, tiny, train

from archselect.distributed import launch
from archselect.distributed.launch import Launched, is_main_process, launched, rank_zero_folder
from archselect.pipeline import run as pipeline
from archselect.training.devices import check_trainer, process_count
from archselect.utils.errors import UserError

Environment = Callable[[Mapping[str, object]], None]

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": 3, "LOCAL_RANK": 1, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2}
SRUN = {"SLURM_STEP_NUM_TASKS": 4, "SLURM_STEP_NUM_NODES": 2, "SLURM_PROCID": 3, "SLURM_LOCALID": 1}
SUBMITIT = {"RANK": 3, "LOCAL_RANK": 1, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2}
FOURTH = Launched(rank=3, world_size=4, local_world_size=2)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Environment:
    """Return what sets the environment, in which nobody has started this process."""
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)

    def change(values: Mapping[str, object]) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return change


@pytest.mark.parametrize("variables", [TORCHRUN, SUBMITIT, SRUN], ids=["torchrun", "submitit", "srun"])
def test_the_fourth_process_on_two_machines_knows_its_place(
    variables: Mapping[str, object], environment: Environment
) -> None:
    environment(variables)
    assert launched() == FOURTH
    assert not is_main_process()


@pytest.mark.parametrize(
    "variables", [{}, {"WORLD_SIZE": 1}, {"SLURM_NTASKS": 4, "SLURM_PROCID": 0}, SRUN | {"SLURM_STEP_NUM_TASKS": 1}]
)
def test_a_process_started_by_itself_is_the_main_one(variables: Mapping[str, object], environment: Environment) -> None:
    """In a batch file of Slurm, too, and as the only task of a step."""
    environment(variables)
    assert launched() is None and is_main_process()


def test_only_the_main_process_has_the_runs_folder(environment: Environment, tmp_path: Path) -> None:
    assert rank_zero_folder(str(tmp_path)) == str(tmp_path)
    environment(TORCHRUN)
    own = rank_zero_folder(str(tmp_path))
    assert own != str(tmp_path) and Path(own).is_dir() and rank_zero_folder(str(tmp_path)) == own


def test_devices_are_as_many_as_processes_were_started(environment: Environment) -> None:
    trainer = partial(pl.Trainer, accelerator="cpu")
    assert [process_count(partial(trainer, devices=devices)) for devices in (1, 3)] == [1, 3]
    environment(TORCHRUN)
    for devices in (1, 2):
        assert process_count(partial(trainer, devices=devices)) == 4
        assert check_trainer(partial(trainer, devices=devices)).type == "cpu"
    with pytest.raises(ValueError, match="torchrun or srun started 2 processes on this machine"):
        check_trainer(partial(trainer, devices=3))


def test_a_batch_file_without_srun_starts_the_processes_itself(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, own_logs: str
) -> None:
    environment({"SLURM_NTASKS": 4, "SLURM_PROCID": 0, "SLURM_LOCALID": 0})
    started: list[tuple[Any, ...]] = []

    def start(function: Any, arguments: tuple[Any, ...], processes: int, folder: Path) -> dict[str, Any]:
        started.append((function, processes, folder))
        return {}

    monkeypatch.setattr(pipeline, "start_processes", start)
    run = train(*tiny(), "trainer.devices=2", own_logs)
    assert started == [(pipeline._run_in_process, 2, run.folder / "processes")]


def ended_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, list[float]]:
    """Return class and words of what an error becomes, and how long its process waited before."""
    waited: list[float] = []
    monkeypatch.setattr(launch.time, "sleep", waited.append)
    with pytest.raises(Exception) as raised, launch.errors_in_order(), launch.errors_in_order():
        raise error
    return type(raised.value).__name__, str(raised.value), waited


LOST = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
GONE = "Another process of this run has ended, or its machine is gone."


@pytest.mark.parametrize(
    ("rank", "error", "expected"),
    [
        (None, RuntimeError("no nccl here"), ("RuntimeError", "no nccl here", [])),
        (0, UserError("no room"), ("UserError", "no room", [])),
        (3, UserError("no room"), ("UserError", "no room", [launch.GRACE])),
        (0, LOST, ("UserError", GONE, [launch.GRACE])),
        (3, LOST, ("UserError", GONE, [launch.GRACE])),
    ],
)
def test_a_process_waits_once_with_an_error_that_may_be_anothers(
    rank: int | None, error: Exception, expected: Any, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two blocks are around a run: one where its errors arise, one around the program."""
    environment({} if rank is None else TORCHRUN | {"RANK": rank})
    assert ended_with(type(error)(str(error)), monkeypatch) == expected


@pytest.mark.parametrize(("given", "expected"), [(None, "3"), ("5", "5")])
def test_the_processes_share_the_threads_unless_the_user_says_how_many_each_has(
    given: str | None, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    seen = lambda config, function: lambda: {0: os.environ["OMP_NUM_THREADS"]}  # noqa: E731
    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", seen)
    assert launch.start_processes(print, (), 2, tmp_path) == expected
    assert os.environ.get("OMP_NUM_THREADS") == given


@pytest.mark.slow
def test_two_tasks_of_srun_come_to_what_one_process_comes_to(tmp_path: Path) -> None:
    command = [*tiny("s2", "darts", "magnitude"), "logger=none"]
    one = train(*command, f"logs={tmp_path / 'one'}")
    step = {
        **{"SLURM_JOB_ID": "4", "SLURM_NNODES": "1", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"},
        **{"SLURM_NODEID": "0", "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "2"},
        "MASTER_ADDR": "127.0.0.1",
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
