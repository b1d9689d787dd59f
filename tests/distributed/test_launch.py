"""Which process this is, as torchrun and srun tell it by the environment."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl

from archselect.distributed.launch import Launched, is_main_process, launched, rank_zero_folder
from archselect.stages.trainer import check_trainer, process_count

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
