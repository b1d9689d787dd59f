"""A run that is killed, wherever, and typed again ends as the one that was left alone: to the last bit, on a CPU."""

import csv
import functools
import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch
from tests.command import Apart, Blow, Run, lines, tiny, train
from tests.sameness import same

TRAINING = "archselect.search.module:SearchModule.training_step"
SCORING = "archselect.selection.scorer:Scorer.__call__"
PASS = "archselect.selection.scorer:Scorer._batch"
RETRAINING = "archselect.evaluation.module:RetrainModule.training_step"
TESTING = "archselect.evaluation.module:RetrainModule.test_step"
CHECKPOINT = "archselect.training.checkpoint:AtomicCheckpointIO.save_checkpoint"
FINISH = "archselect.store:StageFolder.finish"
TRIAL = "archselect.pipeline.selection_stage:StageEvaluator.train"
TRIAL_TRAINING = "archselect.training.fit:StageTrainer.train"
ADOPTION = "archselect.pipeline.selection_stage:StageEvaluator.adopt"
COUNTED = (TRAINING, SCORING, RETRAINING)

# S4 draws noise while it trains and scores. Two edges of either cell type have a choice, and come first. There are 3
# epochs of 2 steps in the search, 17 of 2 in the selection, 3 of 2 in the retraining. The selection scores 16 times:
# 4 edges, and the 1, 2 and 3 inputs too many of 2 x 3 nodes.
CANDIDATES = ",".join(["[noise,sep_conv_3x3]"] * 2 + ["[skip_connect]"] * 12)
COMMAND = tiny("s4", "darts", "perturb", "search.epochs=3", f"search_space.operations=[{CANDIDATES}]")
COMMAND += ["data.train_subset=60", "search.batch_size=15"]
COMMAND += ["selection.edge_order=[1,0,2,3,4,5,6,7,8,9,10,11,12,13]"]
COMMAND += ["evaluation.epochs=3", "evaluation.batch_size=27", "evaluation.drop_path=0.2", "evaluation.cutout=2"]


def command(*more: str) -> list[str]:
    """Return the overrides of the command and more, without the options of a group that is another one there."""
    other = [f"{group}." for group in ("selection", "evaluation") if {f"{group}=none", f"{group}=magnitude"} & {*more}]
    return [*(one for one in COMMAND if not one.startswith(tuple(other))), *more]


UNTUNED = "protocol.epochs_between=0"


@pytest.fixture(scope="module")
def alone(logs: str) -> Callable[..., Run]:
    """Return a function that returns the run of the command, and more overrides, that was left alone."""

    @functools.cache
    def run(*more: str) -> Run:
        with mock.patch("archselect.pipeline.run.draw_figures", return_value=[]):
            return train(*command(*more), logs)

    return run


def beside(run: Run, kinds: tuple[str, ...], logs: Path) -> str:
    """Return `logs=FOLDER` for a store that has these stages of a run already."""
    for kind in kinds:
        shutil.copytree(run.stage(kind), logs / "stages" / kind / run.stage(kind).name)
    return f"logs={logs}"


def runs_in(logs: str) -> list[Run]:
    return [Run(file.parent) for file in Path(logs.removeprefix("logs=")).glob("runs/*/*/summary.json")]


SEARCH = ("selection=magnitude", "evaluation=none")
SELECTION = ("evaluation=none",)

KILLS = {
    # What the command is less, what is there before, what kills, and how many training steps, scorings and retraining
    # steps the next session makes.
    "search: in the middle of an epoch": (SEARCH, (), Blow(TRAINING, 4), (4, 0, 0)),
    "search: between an epoch's record and its checkpoint": (SEARCH, (), Blow(CHECKPOINT, 2), (4, 0, 0)),
    "search: after the last epoch": (SEARCH, (), Blow(FINISH, 1), (0, 0, 0)),
    # Before the second of the second decision point's two cell types, three decisions and one epoch were made.
    "selection: in the middle of a decision": (SELECTION, ("search",), Blow(PASS, 3), (32, 14, 0)),
    "selection: between the two cell types": (SELECTION, ("search",), Blow(SCORING, 4), (32, 13, 0)),
    "selection: in the tuning": (SELECTION, ("search",), Blow(TRAINING, 4), (32, 12, 0)),
    "selection: between an epoch's record and its checkpoint": (
        SELECTION,
        ("search",),
        Blow(CHECKPOINT, 2),
        (32, 12, 0),
    ),
    "selection: in the middle of a node": (SELECTION, ("search",), Blow(PASS, 4 + 1), (6, 12, 0)),
    "selection: after the last epoch": (SELECTION, ("search",), Blow(FINISH, 1), (0, 0, 0)),
    "retraining: in the middle of an epoch": ((), ("search", "selection"), Blow(RETRAINING, 4), (0, 0, 4)),
    # A checkpoint after every step but the last of an epoch: a step less is made again.
    "search: in an epoch, after a checkpoint": (SEARCH, (), Blow(TRAINING, 4), (3, 0, 0)),
    "search: in the first epoch, after a checkpoint": (SEARCH, (), Blow(TRAINING, 2), (5, 0, 0)),
    "selection: in the tuning, after a checkpoint": (SELECTION, ("search",), Blow(TRAINING, 4), (31, 12, 0)),
    "retraining: in an epoch, after a checkpoint": ((), ("search", "selection"), Blow(RETRAINING, 4), (0, 0, 3)),
    "retraining: while it is tested": ((), ("search", "selection"), Blow(TESTING, 1), (0, 0, 0)),
    "retraining: after the test": ((), ("search", "selection"), Blow(FINISH, 1), (0, 0, 0)),
}


OFTEN = (
    "search: in the middle of an epoch",
    "selection: between the two cell types",
    "retraining: in an epoch, after a checkpoint",
)
"""What every run of the tests looks at; the others are slow."""


@pytest.mark.parametrize(
    "where", [pytest.param(where, marks=() if where in OFTEN else pytest.mark.slow) for where in KILLS]
)
def test_a_killed_run_goes_on_and_ends_as_the_one_left_alone(
    where: str, alone: Callable[..., Run], tmp_path: Path
) -> None:
    less, there, blow, made = KILLS[where]
    expected = alone(*less)
    logs = beside(expected, there, tmp_path / "logs")
    often = ["trainer.checkpoint_minutes=1e-9"] if where.endswith("after a checkpoint") else []
    overrides = command(*less, *often, logs)
    assert Apart(tmp_path / "killed", overrides, blow).end().code == -signal.SIGKILL
    assert runs_in(logs) == []
    session = Apart(tmp_path / "again", overrides, counted=COUNTED)
    again = session.end()
    assert again.code == 0
    assert tuple(again.calls[function] for function in COUNTED) == made
    assert ("goes on in epoch 1" in session.output.read_text()) == (
        where == "search: in the first epoch, after a checkpoint"
    )
    (run,) = runs_in(logs)
    same(expected, run)
    sessions = {kind: len(json.loads((run.stage(kind) / "provenance.json").read_text())) for kind in run.reused()}
    assert sessions == {kind: 2 if where.startswith(NAMES[kind]) else 1 for kind in run.reused()}
    with (run.folder / "csv" / "metrics.csv").open() as file:
        logged = [row["step"] for row in csv.DictReader(file)]
    assert logged == [str(step) for step in range(sum(len(run.history(kind)) for kind in run.reused()))]


NAMES = {"search": "search", "selection": "selection", "evaluation": "retraining"}


def test_a_selection_without_tuning_goes_on_from_its_last_decision(alone: Callable[..., Run], tmp_path: Path) -> None:
    expected = alone(UNTUNED, "evaluation=none")
    logs = beside(expected, ("search",), tmp_path / "logs")
    overrides = command(UNTUNED, "evaluation=none", logs)
    assert Apart(tmp_path / "killed", overrides, Blow(SCORING, 4)).end().code == -signal.SIGKILL
    again = Apart(tmp_path / "again", overrides, counted=COUNTED).end()
    assert (again.code, again.calls[SCORING], again.calls[TRAINING]) == (0, 16 - 3, 0)
    same(expected, runs_in(logs)[0])


# Two edges of either cell type have a choice, so eight copies are trained, for one epoch of two steps.
BY_TRIAL = ("selection=discretization", "evaluation=none")


@pytest.mark.parametrize(
    ("blow", "trained"),
    [
        pytest.param(Blow(TRIAL, 4), 5, id="between two candidates"),
        pytest.param(Blow(TRAINING, 2 * 5 + 2), 3, id="in the training of the sixth", marks=pytest.mark.slow),
        pytest.param(Blow(ADOPTION, 2), 4, id="before the supernet goes on from the fourth", marks=pytest.mark.slow),
    ],
)
def test_a_selection_by_trials_does_not_train_the_finished_ones_again(
    blow: Blow, trained: int, alone: Callable[..., Run], tmp_path: Path
) -> None:
    expected = alone(*BY_TRIAL)
    logs = beside(expected, ("search",), tmp_path / "logs")
    overrides = command(*BY_TRIAL, logs)
    assert Apart(tmp_path / "killed", overrides, blow).end().code == -signal.SIGKILL
    again = Apart(tmp_path / "again", overrides, counted=(TRIAL_TRAINING,)).end()
    assert (again.code, again.calls[TRIAL_TRAINING]) == (0, trained)
    (run,) = runs_in(logs)
    same(expected, run)
    trials = [lines(one.stage("selection") / "trials.jsonl") for one in (expected, run)]
    assert trials[0] == trials[1]
    assert len({record["trial"] for record in trials[0]}) == len(trials[0]) == 8
    assert not (run.stage("selection") / "scratch").exists()


@pytest.mark.parametrize(
    ("number", "less", "there", "function"),
    [
        (signal.SIGTERM, SEARCH, (), TRAINING),
        pytest.param(signal.SIGINT, SEARCH, (), TRAINING, marks=pytest.mark.slow),
        (signal.SIGINT, SELECTION, ("search",), SCORING),
        pytest.param(signal.SIGTERM, (), ("search", "selection"), RETRAINING, marks=pytest.mark.slow),
    ],
    ids=["SIGTERM in the search", "Ctrl-C in the search", "Ctrl-C in the selection", "SIGTERM in the retraining"],
)
def test_a_run_that_is_asked_to_stop_keeps_its_checkpoint_says_so_and_goes_on(
    number: signal.Signals,
    less: tuple[str, ...],
    there: tuple[str, ...],
    function: str,
    alone: Callable[..., Run],
    tmp_path: Path,
) -> None:
    expected = alone(*less)
    logs = beside(expected, there, tmp_path / "logs")
    overrides = command(*less, logs)
    stopped = Apart(tmp_path / "stopped", overrides, Blow(function, 4, number))
    assert stopped.end().code == 128 + number
    output = stopped.output.read_text()
    assert "Stopped. What is finished is kept" in output
    assert "Traceback" not in output
    (checkpoint,) = (tmp_path / "logs").glob("stages/*/*/checkpoint.ckpt")
    epochs = torch.load(checkpoint, weights_only=True)["epoch"] + 1
    again = Apart(tmp_path / "again", overrides)
    assert again.end().code == 0
    assert there or f"goes on after epoch {epochs}" in again.output.read_text()  # said of a search
    same(expected, runs_in(logs)[0])


def until(true: Callable[[], bool], seconds: float = 90) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def test_two_processes_with_the_same_command_make_each_stage_once(alone: Callable[..., Run], tmp_path: Path) -> None:
    logs = f"logs={tmp_path / 'logs'}"
    both = [Apart(tmp_path / str(number), [*COMMAND, logs], counted=COUNTED) for number in range(2)]
    ended = [process.end() for process in both]
    assert [end.code for end in ended] == [0, 0]
    made = sum((end.calls for end in ended), Counter[str]())
    assert tuple(made[function] for function in COUNTED) == (6 + 34, 16, 6)
    runs = runs_in(logs)
    assert len(runs) == 2
    for kind in ("search", "selection", "evaluation"):
        assert sorted(run.reused()[kind] for run in runs) == [False, True]
        assert len({run.stage(kind) for run in runs}) == 1
    for run in runs:
        same(alone(), run)
    assert any("waiting for another process" in process.output.read_text() for process in both)


def test_a_killed_process_leaves_no_lock_behind(alone: Callable[..., Run], tmp_path: Path) -> None:
    expected = alone(*SELECTION)
    logs = beside(expected, ("search",), tmp_path / "logs")
    overrides = command(*SELECTION, logs)
    at_work = Apart(tmp_path / "at work", overrides, Blow(SCORING, 3, signal.SIGSTOP))
    decisions = tmp_path / "logs" / "stages" / "selection" / expected.stage("selection").name / "decisions.jsonl"
    until(lambda: len(lines(decisions)) == 2)
    waiting = Apart(tmp_path / "waiting", overrides)
    until(lambda: "waiting for another process" in waiting.output.read_text())
    at_work.kill()
    assert at_work.end().code == -signal.SIGKILL
    assert waiting.end().code == 0
    same(expected, runs_in(logs)[0])
