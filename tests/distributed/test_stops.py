"""Ctrl-C and SIGTERM stop a run of several processes in good order."""

from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest
from tests.command import tiny
from tests.distributed.command import PYTHON, TWO, Command, torchrun

pytestmark = pytest.mark.slow

LONG = tiny("nasbench201", "darts", "magnitude", "search.epochs=500")


@pytest.mark.parametrize("number", [SIGINT, SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("by_torchrun", [False, True], ids=["python", "torchrun"])
def test_a_stop_is_said_once_and_leaves_no_process_behind(by_torchrun: bool, number: Signals, tmp_path: Path) -> None:
    program, more = (torchrun(), ()) if by_torchrun else (PYTHON, TWO)
    with Command(tmp_path / "run", program, [*LONG, *more, f"logs={tmp_path / 'logs'}"]) as command:
        command.wait_for(lambda: list(tmp_path.glob("logs/stages/search/*/history.jsonl")))
        if number == SIGINT:
            command.interrupt()
        else:
            command.send(SIGTERM)
        assert command.end(60).code == (1 if by_torchrun else 128 + number), "torchrun has a code of its own"
        command.wait_until_gone(1)
        by = " by torchrun" if by_torchrun and number == SIGTERM else ""
        assert command.output.count(f"Stopped{by}. What is finished is kept") == 1
        assert command.output.count("Traceback") == by_torchrun, "torchrun's own"
        assert by_torchrun or ("Error" not in command.output and "torch/distributed" not in command.output)
