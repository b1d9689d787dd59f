"""Processes of a run that are killed, fail or run out of memory: all others end, and the next session goes on."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.command import Run, tiny
from tests.distributed.command import (
    KILLED,
    MISTAKEN,
    OUT_OF_MEMORY,
    PARENT_KILLED,
    PYTHON,
    RETRAINING,
    SCORING,
    STEP,
    TWO,
    Blow,
    Command,
    runs_in,
    torchrun,
)
from tests.sameness import same

pytestmark = pytest.mark.slow

# 4 steps in the search; 6 decisions, each scored once and followed by 2 steps; 6 steps in the retraining.
WHOLE = tiny("nasbench201", "darts", "perturb")
COUNTED = (STEP, SCORING, RETRAINING)
BY_ITSELF, BY_TORCHRUN = (PYTHON, TWO), (torchrun(), ())

KILLS = {
    # What starts the run, what happens, the exit code, what the terminal shows, and what the next session computes.
    "process 2 in the search": (BY_ITSELF, Blow(STEP, 3, KILLED, 1), 1, "Process 2 of 2 ended early (exit code -9)"),
    "process 1 in the search": (BY_TORCHRUN, Blow(STEP, 3, KILLED, 0), 1, "exitcode : -9"),
    "python in the search": (BY_ITSELF, Blow(STEP, 3, PARENT_KILLED, 0), -signal.SIGKILL, ""),
    "process 2 while tuning": (BY_TORCHRUN, Blow(STEP, 8, KILLED, 1), 1, "exitcode : -9"),
    "out of memory while tuning": (
        BY_ITSELF,
        Blow(STEP, 8, OUT_OF_MEMORY, 1),
        1,
        "Error: Process 2 of 2 ended early (exit code 1): The selection needs more memory than cpu has (CUDA out of "
        "memory): search.recompute=true lowers it",
    ),
    "torchrun while scoring": (BY_TORCHRUN, Blow(SCORING, 3, PARENT_KILLED, 1), -signal.SIGKILL, ""),
    "process 1 while retraining": (BY_ITSELF, Blow(RETRAINING, 4, KILLED, 0), 1, "Process 1 of 2 ended early"),
    "a mistake while retraining": (BY_TORCHRUN, Blow(RETRAINING, 4, MISTAKEN, 1), 1, "RuntimeError: of this process"),
}
LEFT = {(STEP, 3): (14, 6, 6), (STEP, 8): (10, 4, 6), (SCORING, 3): (8, 4, 6), (RETRAINING, 4): (0, 0, 3)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("undisturbed")
    with Command(folder, PYTHON, [*WHOLE, *TWO, f"logs={folder / 'logs'}"], counted=COUNTED) as command:
        assert command.end().calls == {STEP: 16, SCORING: 6, RETRAINING: 6}
    (run,) = runs_in(folder / "logs")
    return run


@pytest.mark.parametrize("what", KILLS)
def test_a_lost_process_ends_all_others_within_a_minute_and_the_same_command_goes_on(
    what: str, undisturbed: Run, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    (program, more), blow, code, words = KILLS[what]
    logs = tmp_path / "logs"
    arguments = [*WHOLE, *more, f"logs={logs}"]
    with Command(tmp_path / "lost", program, arguments, blow) as lost:
        assert lost.end().code == code, lost.output
        passed = lost.gone_after()
        record_property("seconds", round(passed, 1))
        assert passed < 60
        assert words in " ".join(lost.output.split())
        assert "Stopped." not in lost.output
        assert "torch/distributed/elastic" not in lost.output or program is not PYTHON
    assert runs_in(logs) == []
    with Command(tmp_path / "again", program, arguments, counted=COUNTED) as again:
        ended = again.end()
        assert ended.code == 0, again.output
        assert tuple(ended.calls[one] for one in COUNTED) == LEFT[blow.function, blow.call]
    (run,) = runs_in(logs)
    same(undisturbed, run)


def test_torchrun_restarts_a_run_that_goes_on_from_its_last_checkpoint(undisturbed: Run, tmp_path: Path) -> None:
    arguments = [*WHOLE, f"logs={tmp_path / 'logs'}"]
    blow = Blow(STEP, 3, KILLED, 1)
    with Command(tmp_path / "run", torchrun("--max-restarts=1"), arguments, blow) as command:
        assert command.end().code == 0, command.output
        assert command.output.count("goes on after epoch 1") == 1
        command.wait_until_gone(10)
    (run,) = runs_in(tmp_path / "logs")
    same(undisturbed, run)


def test_a_search_goes_on_within_an_epoch_with_what_each_process_had(tmp_path: Path) -> None:
    """Each has statistics, noise and counts of its own; they look at the clock after 10 of 12 steps of an epoch."""
    arguments = [*tiny("s4", "darts", "magnitude"), *TWO, "trainer.sync_batchnorm=false", "evaluation=none"]
    arguments += ["data.train_subset=96", "search.batch_size=4", "trainer.checkpoint_minutes=1e-9"]
    runs = []
    for name, blow, made in (("whole", None, 2 * 12), ("killed", Blow(STEP, 12 + 12, KILLED, 1), 2)):
        logs = f"logs={tmp_path / name}"
        if blow:
            with Command(tmp_path / "lost", PYTHON, [*arguments, logs], blow) as lost:
                assert lost.end().code == 1, lost.output
        with Command(tmp_path / f"{name} again", PYTHON, [*arguments, logs], counted=(STEP,)) as again:
            assert again.end().calls == {STEP: made}, again.output
        runs += runs_in(tmp_path / name)
    same(*runs)


def test_a_python_killed_while_its_processes_start_leaves_none_behind(tmp_path: Path) -> None:
    with Command(tmp_path / "run", PYTHON, [*WHOLE, *TWO, f"logs={tmp_path / 'logs'}"]) as command:
        command.wait_for(lambda: len(command.at_work()) == 3)
        command.send(signal.SIGKILL)
        assert command.end().code == -signal.SIGKILL
        command.wait_until_gone(30)
        assert runs_in(tmp_path / "logs") == []


@pytest.fixture
def agent() -> Iterator[tuple[str, ...]]:
    """Yield what each of two machines types, here for one process on each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    yield torchrun(
        "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{port}", "--rdzv-id=run"
    )


def test_two_machines_of_which_one_joins_later_come_to_the_same(
    agent: tuple[str, ...], undisturbed: Run, tmp_path: Path
) -> None:
    arguments = [*WHOLE, f"logs={tmp_path / 'logs'}"]
    with Command(tmp_path / "first", agent, arguments) as first:
        time.sleep(5)
        with Command(tmp_path / "second", agent, arguments) as second:
            assert (first.end().code, second.end().code) == (0, 0), first.output + second.output
            assert "Result" in first.output + second.output
            assert "" in (first.output, second.output), "one of the two has the terminal"
    (run,) = runs_in(tmp_path / "logs")
    same(undisturbed, run)


def test_a_machine_that_goes_away_ends_the_other_within_a_minute(
    agent: tuple[str, ...], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    arguments = [*WHOLE, "search.epochs=500", f"logs={tmp_path / 'logs'}"]
    with Command(tmp_path / "first", agent, arguments) as first:
        time.sleep(5)  # so that the store of torchrun is with the machine that stays, as at HOST of its endpoint
        with Command(tmp_path / "second", agent, arguments) as second:
            first.wait_for(lambda: list(tmp_path.glob("logs/stages/search/*/history.jsonl")))
            for process in second.processes():
                os.kill(process, signal.SIGKILL)
        started = time.monotonic()
        assert first.end(60).code == 1
        first.wait_until_gone(60 - (time.monotonic() - started))
        record_property("seconds", round(time.monotonic() - started, 1))
        assert "Error: Another process of this run has ended, or its machine is gone" in first.output
