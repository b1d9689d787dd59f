"""What the main process does or finds, alone, while the others wait: they learn of it and end as it does."""

import shutil
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.command import Ended, Run, tiny
from tests.distributed.command import NO_SPACE, PYTHON, STEP, TWO, Blow, Command, runs_in, torchrun

from archselect.store import StageFolder, StageKey

pytestmark = pytest.mark.slow

SHORT = tiny("s2", "darts", "magnitude", "search.epochs=1", "evaluation=none")
IMPATIENT = Blow(
    "archselect.training.devices:join",
    1,
    "import datetime; from archselect.training import devices; devices.STEP_TIMEOUT = datetime.timedelta(seconds=5)",
)
SAVING = "archselect.training.checkpoint:AtomicCheckpointIO.save_checkpoint"


def newest(logs: Path) -> Run:
    return runs_in(logs)[-1]


def test_what_a_run_finds_in_the_store_all_its_processes_know(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    arguments = [*SHORT, *TWO, f"logs={logs}"]
    with Command(tmp_path / "first", PYTHON, arguments, counted=(STEP,)) as first:
        assert first.end().calls[STEP] == 2, first.output
    with Command(tmp_path / "reusing", PYTHON, arguments, counted=(STEP,)) as reusing:
        assert reusing.end() == Ended(0, Counter()), reusing.output
        assert set(newest(logs).reused().values()) == {True}
    weights = newest(logs).stage("search") / "supernet.pt"
    weights.write_bytes(weights.read_bytes()[:-1])
    with Command(tmp_path / "repairing", torchrun(), arguments[:-2] + arguments[-1:], counted=(STEP,)) as repairing:
        ended = repairing.end()
        assert (ended.code, ended.calls[STEP]) == (0, 2), repairing.output
        assert repairing.output.count("is damaged: ") == 1
        repairing.wait_until_gone(10)


@pytest.mark.parametrize("program", [PYTHON, torchrun()], ids=["python", "torchrun"])
def test_a_full_disk_of_the_main_process_ends_all_with_one_sentence(program: tuple[str, ...], tmp_path: Path) -> None:
    arguments = [*SHORT, *(TWO if program is PYTHON else ()), f"logs={tmp_path / 'logs'}"]
    with Command(tmp_path / "run", program, arguments, Blow(SAVING, 1, NO_SPACE, 0)) as run:
        assert run.end().code == 1
        assert run.gone_after() < 60
        assert run.output.count("Error: No space is left on the disk") == 1
        assert "Stopped" not in run.output
        if program is PYTHON:
            assert "Traceback" not in run.output
            assert "Process 1" not in run.output
            assert run.output.strip().endswith("(HYDRA_FULL_ERROR=1 shows the traceback.)")


def test_the_others_wait_as_long_as_the_main_process_waits_for_another_runs_stage(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    arguments = [*SHORT, *TWO, f"logs={logs}"]
    with Command(tmp_path / "first", PYTHON, arguments) as first:
        assert first.end().code == 0, first.output
    stage = newest(logs).stage("search")
    shutil.rmtree(stage)
    folder = StageFolder(stage, StageKey("search", "any", {}))
    with ExitStack() as held:
        held.enter_context(folder.lock())
        with Command(tmp_path / "waiting", PYTHON, arguments, IMPATIENT) as waiting:
            waiting.wait_for(lambda: "waiting for another process at" in waiting.output)
            time.sleep(15)  # three times as long as a process waits for another one within a step
            assert not waiting.ended, waiting.output
            held.close()
            assert waiting.end().code == 0, waiting.output
    assert newest(logs).reused() == {"search": False, "selection": True}
