"""Ctrl-C and SIGTERM stop a run of several processes in good order."""

from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest
from tests.command import tiny
from tests.distributed.command import PYTHON, TWO, Command, torchrun

pytestmark = pytest.mark.slow

LONG = tiny("nasbench201", "darts", "magnitude", "search.epochs=500")
STOPS: dict[str, Callable[[Command], None]] = {
    "Ctrl-C": Command.interrupt,
    "SIGTERM": lambda command: command.send(SIGTERM),
}


@pytest.mark.parametrize(("how", "number"), [("Ctrl-C", SIGINT), ("SIGTERM", SIGTERM)])
def test_a_stop_is_said_once_and_leaves_no_process_behind(how: str, number: Signals, tmp_path: Path) -> None:
    with Command(tmp_path / "run", PYTHON, [*LONG, *TWO, f"logs={tmp_path / 'logs'}"]) as command:
        command.wait_for(lambda: list(tmp_path.glob("logs/stages/search/*/history.jsonl")))
        STOPS[how](command)
        assert command.end(60).code == 128 + number
        command.wait_until_gone(1)
        assert command.output.count("Stopped. What is finished is kept") == 1
        assert "Traceback" not in command.output
        assert "Error" not in command.output
        assert "torch/distributed" not in command.output


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_a_stop_of_torchrun_is_said_once_and_leaves_no_process_behind(how: str, tmp_path: Path) -> None:
    with Command(tmp_path / "run", torchrun(), [*LONG, f"logs={tmp_path / 'logs'}"]) as command:
        command.wait_for(lambda: list(tmp_path.glob("logs/stages/search/*/history.jsonl")))
        STOPS[how](command)
        assert command.end(60).code == 1, "torchrun's own, whatever stopped it"
        command.wait_until_gone(1)
        by = "" if how == "Ctrl-C" else " by torchrun"
        assert command.output.count(f"Stopped{by}. What is finished is kept") == 1
        assert command.output.count("Traceback") == 1, "torchrun's own"
