"""Runs on several devices, here processes on a CPU: what they come to. tests/distributed has what they compute by."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from omegaconf import OmegaConf
from tests.command import Run, tiny, train
from tests.distributed.command import PYTHON, TWO, Command, runs_in, torchrun

from archselect.pipeline.config import instantiate_parts
from archselect.pipeline.plan import Plan
from archselect.pipeline.stage import StageContext

# Decisions without tuning in between: what two devices and one round differently has no time to grow.
UNTUNED = ("protocol.epochs_between=0", "selection.scoring.batches=2")
RACING = ("selection/scoring=racing", "selection.scoring.first_check=2", "protocol.scoring_batches=null")
SEARCH_ONLY = ("selection=magnitude", "evaluation=none")

BY_ITSELF, BY_TORCHRUN = (PYTHON, TWO), (torchrun(), ())


def on_two(by: tuple[tuple[str, ...], tuple[str, ...]], command: list[str], folder: Path) -> Run:
    """Return the run of a command on two devices."""
    program, more = by
    with Command(folder, program, [*command, *more, f"logs={folder / 'logs'}"]) as running:
        assert running.end().code == 0, running.output
        running.wait_until_gone(10)
        assert running.output.count("loading PyTorch") == running.output.count("Result") == 1, running.output
    (run,) = runs_in(folder / "logs")
    return run


def supernet(run: Run) -> dict[str, Any]:
    return torch.load(run.stage("search") / "supernet.pt", weights_only=True)


def assert_alike(one: Run, other: Run) -> None:
    """Check that two runs trained one supernet, up to rounding, and made one architecture of it, by the same stages."""
    assert one.summary["genotype"] == other.summary["genotype"]
    for name, value in supernet(one).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(supernet(other)[name], value, rtol=1e-3, atol=1e-4)
    for kind in one.reused():  # how many devices there are is not in the names of the stages
        assert one.stage(kind).name == other.stage(kind).name


def test_torchrun_trains_the_supernet_of_one_device_on_two(nasbench201_folder: Path, tmp_path: Path) -> None:
    command = OmegaConf.load(nasbench201_folder / ".hydra" / "overrides.yaml")
    command = [str(override) for override in command if not override.startswith("logs=")]
    assert_alike(Run(nasbench201_folder), on_two(BY_TORCHRUN, command, tmp_path / "two"))


@pytest.mark.slow
@pytest.mark.parametrize("by", [BY_ITSELF, BY_TORCHRUN], ids=["python", "torchrun"])
def test_a_run_on_two_devices_comes_to_what_one_comes_to(
    by: tuple[tuple[str, ...], tuple[str, ...]], tmp_path: Path
) -> None:
    command = [*tiny(), *UNTUNED]
    one, two = train(*command, f"logs={tmp_path / 'one'}"), on_two(by, command, tmp_path / "two")
    assert_alike(one, two)
    for first, second in zip(one.decisions(), two.decisions(), strict=True):
        assert first["kept"] == second["kept"]
        assert [score["accuracy"] for score in first["scores"]] == [score["accuracy"] for score in second["scores"]]
    for kind in ("search", "evaluation"):
        for first, second in zip(one.history(kind), two.history(kind), strict=True):
            for name in ("train_loss", "val_loss"):
                assert second["metrics"][name] == pytest.approx(first["metrics"][name], rel=1e-3)
            for name in ("train_accuracy", "val_accuracy"):  # of about a hundred images, of which rounding may turn one
                assert second["metrics"][name] == pytest.approx(first["metrics"][name], abs=0.02)
    assert two.summary["evaluation.test_accuracy"] == pytest.approx(one.summary["evaluation.test_accuracy"], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(tiny("s2", "sgas", "perturb", *UNTUNED), id="decisions in a search"),
        pytest.param(tiny("nasbench201", "darts", "discretization"), id="trials of a selection"),
        pytest.param(tiny("s2", "darts", "perturb", "protocol.epochs_between=0", *RACING), id="a race"),
    ],
)
def test_what_else_decides_on_two_devices(command: list[str], tmp_path: Path) -> None:
    one = train(*command, f"logs={tmp_path / 'one'}")
    two = on_two(BY_TORCHRUN, command, tmp_path / "two")
    assert_alike(one, two)
    assert [decision["kept"] for decision in one.decisions()] == [decision["kept"] for decision in two.decisions()]


@pytest.mark.slow
def test_bf16_on_two_devices(tmp_path: Path) -> None:
    command = [*tiny(), "trainer.precision=bf16-mixed"]
    one, two = train(*command, f"logs={tmp_path / 'one'}"), on_two(BY_ITSELF, command, tmp_path / "two")
    for kind in ("search", "evaluation"):  # whose processes compared their weights, to the bit, after every epoch
        first, second = one.history(kind)[0]["metrics"], two.history(kind)[0]["metrics"]
        assert second["train_loss"] == pytest.approx(first["train_loss"], rel=0.05)


SWEEPS = {
    "python": (PYTHON, TWO),
    "joblib": (PYTHON, (*TWO, "hydra/launcher=processes", "hydra.launcher.n_jobs=2")),
}


@pytest.mark.slow
@pytest.mark.parametrize("by", SWEEPS)
def test_every_job_of_a_sweep_runs_on_two_devices(by: str, tmp_path: Path) -> None:
    (program, more), logs = SWEEPS[by], tmp_path / "logs"
    command = [*tiny(), *SEARCH_ONLY]
    with Command(tmp_path / "sweep", program, ["-m", "seed=0,1", *command, *more, f"logs={logs}"]) as sweep:
        assert sweep.end(400).code == 0, sweep.output
        sweep.wait_until_gone(10)
    runs = [Run(file.parent) for file in sorted(logs.glob("sweeps/*/*/summary.json"))]
    assert [run.summary["seed"] for run in runs] == [0, 1]
    for seed, run in enumerate(runs):
        assert len(list(run.folder.glob("processes/*/attempt_0/1/stderr.log"))) == 1
        assert_alike(train(*command, f"seed={seed}", f"logs={tmp_path / 'alone'}"), run)
    assert not (logs / "runs").exists(), "every process writes into the folder of the sweep, or nowhere"
    assert len(list(logs.glob("sweeps/*"))) == 1


@pytest.mark.parametrize(
    ("overrides", "alike"),
    [
        (("trainer.devices=2",), True),
        (("trainer.sync_batchnorm=false",), True),  # of one device
        (("trainer.devices=2", "trainer.sync_batchnorm=false"), False),
        (("trainer.devices=[0,1]", "trainer.sync_batchnorm=false"), False),
    ],
)
def test_devices_are_in_the_name_of_a_stage_only_where_each_normalises_by_itself(
    overrides: tuple[str, ...], alike: bool, tiny_run: Run
) -> None:
    config = tiny_run.config.copy()
    config.merge_with_dotlist([*overrides])
    plan = Plan(config, instantiate_parts(config), cast(StageContext, None))  # which its key does not ask
    assert (plan.search().key.folder_name == tiny_run.stage("search").name) is alike
