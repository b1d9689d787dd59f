"""A run on two devices: here two processes on a CPU. What they compute is in tests/ranks; here is what a user types."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tests.command import Apart, Blow, Run, lines, sweep, tiny, train

from archselect.config import instantiate_parts
from archselect.plan import Plan
from archselect.stages.job import Job

TWO = ("trainer.devices=2", "trainer.strategy=ddp")
# Decisions without tuning in between: what two devices and one round differently has no time to grow.
UNTUNED = ("search_space.protocol.epochs_between=0", "selection.scoring.batches=2")
SEARCH_ONLY = ("selection=magnitude", "evaluation=none")
TRAINING = "archselect.search.module:SearchModule.training_step"


def runs_in(logs: str) -> list[Run]:
    return [Run(file.parent) for file in sorted(Path(logs.removeprefix("logs=")).glob("runs/*/*/summary.json"))]


def followers(logs: str) -> Iterator[int]:
    """Yield the processes that were started for runs in a folder and are still there."""
    folder = str(Path(logs.removeprefix("logs=")).resolve())
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, output = (process / "cmdline").read_bytes(), os.readlink(process / "fd" / "1")
        except OSError:
            continue
        if b"archselect.follower" in command and output.startswith(folder):
            yield int(process.name)


def supernet(run: Run) -> dict[str, Any]:
    return torch.load(run.stage("search") / "supernet.pt", weights_only=True)


def assert_alike(one: Run, other: Run, **tolerance: float) -> None:
    """Check that two runs trained one supernet, up to rounding, and made one architecture of it."""
    assert one.summary["genotype"] == other.summary["genotype"]
    for name, value in supernet(one).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(supernet(other)[name], value, **tolerance)


@pytest.mark.slow
def test_a_run_on_two_devices_comes_to_what_one_comes_to(tmp_path: Path, no_figures: None) -> None:
    command = [*tiny(), *UNTUNED]
    one, two = train(*command, f"logs={tmp_path / 'one'}"), train(*command, *TWO, f"logs={tmp_path / 'two'}")
    assert_alike(one, two, rtol=1e-3, atol=1e-4)
    # The same stages: how many devices there are is not in their names.
    for kind in one.reused():
        assert one.stage(kind).name == two.stage(kind).name
    for first, second in zip(one.decisions(), two.decisions(), strict=True):
        assert first["kept"] == second["kept"]
        assert [score["accuracy"] for score in first["scores"]] == [score["accuracy"] for score in second["scores"]]
    for kind in ("search", "evaluation"):
        for first, second in zip(one.history(kind), two.history(kind), strict=True):
            for name in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
                assert first["metrics"][name] == pytest.approx(second["metrics"][name], rel=1e-3)
    assert two.summary["evaluation.test_accuracy"] == pytest.approx(one.summary["evaluation.test_accuracy"], abs=0.01)
    assert list(followers(f"logs={tmp_path / 'two'}")) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(tiny("s2", "sgas", "perturb", *UNTUNED), id="decisions in a search"),
        pytest.param(tiny("nasbench201", "darts", "discretization"), id="trials of a selection"),
    ],
)
def test_what_else_decides_on_two_devices(command: list[str], tmp_path: Path, no_figures: None) -> None:
    one, two = train(*command, f"logs={tmp_path / 'one'}"), train(*command, *TWO, f"logs={tmp_path / 'two'}")
    assert_alike(one, two, rtol=1e-3, atol=1e-4)
    assert [decision["kept"] for decision in one.decisions()] == [decision["kept"] for decision in two.decisions()]


@pytest.mark.slow
def test_bf16_on_two_devices(tmp_path: Path, no_figures: None) -> None:
    command = [*tiny(), "trainer.precision=bf16-mixed"]
    one, two = train(*command, f"logs={tmp_path / 'one'}"), train(*command, *TWO, f"logs={tmp_path / 'two'}")
    for kind in ("search", "evaluation"):  # whose processes compared their weights, to the bit, after every epoch
        first, second = one.history(kind)[0]["metrics"], two.history(kind)[0]["metrics"]
        assert second["train_loss"] == pytest.approx(first["train_loss"], rel=0.05)


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_behind_and_goes_on(tmp_path: Path) -> None:
    command = tiny("s2", "darts", "perturb", *TWO, *SEARCH_ONLY)
    expected, logs = f"logs={tmp_path / 'expected'}", f"logs={tmp_path / 'logs'}"
    assert Apart(tmp_path / "whole", [*command, expected]).end(300).code == 0
    assert Apart(tmp_path / "killed", [*command, logs], Blow(TRAINING, 4)).end(300).code == -signal.SIGKILL
    until = time.monotonic() + 20
    while list(followers(logs)) and time.monotonic() < until:
        time.sleep(0.1)
    assert list(followers(logs)) == []
    again = Apart(tmp_path / "again", [*command, logs], counted=(TRAINING,)).end(300)
    assert (again.code, again.calls[TRAINING]) == (0, 2)
    assert_alike(*runs_in(expected), *runs_in(logs), rtol=0, atol=0)


@pytest.mark.slow
def test_every_job_of_a_sweep_has_processes_of_its_own(tmp_path: Path, no_figures: None) -> None:
    logs = f"logs={tmp_path / 'logs'}"
    runs = sweep(*tiny(), *TWO, *SEARCH_ONLY, "seed=0,1", logs)
    for seed, run in enumerate(runs):
        assert (run.folder / "device-1.log").exists()
        alone = train(*tiny(), *SEARCH_ONLY, f"seed={seed}", f"logs={tmp_path / 'alone'}")
        assert_alike(alone, run, rtol=1e-3, atol=1e-4)
    assert len(list(Path(tmp_path / "logs").glob("sweeps/*/*/summary.json"))) == 2
    assert not list(Path(tmp_path / "logs").glob("runs"))


@pytest.mark.slow
def test_a_process_that_ends_early_ends_the_run_with_its_last_words(tmp_path: Path) -> None:
    logs = f"logs={tmp_path / 'logs'}"
    run = Apart(tmp_path / "run", tiny("s2", "darts", "perturb", *TWO, *SEARCH_ONLY, "search.epochs=200", logs))
    until = time.monotonic() + 120
    history = tmp_path / "logs"
    while not any(lines(file) for file in history.glob("stages/search/*/history.jsonl")) and time.monotonic() < until:
        time.sleep(0.1)
    (follower,) = followers(logs)
    os.kill(follower, signal.SIGKILL)
    assert run.end(60).code == 1
    assert "Error: Process 2 of 2 ended early (exit code -9)." in run.output.read_text()


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
    plan = Plan(config, instantiate_parts(config), cast(Job, None))  # which its key does not ask
    assert (plan.search().key.folder_name == tiny_run.stage("search").name) is alike
