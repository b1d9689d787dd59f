"""`python train.py trainer.devices=2` and `torchrun train.py` as a user types them, and what becomes of every process.

Blow      what a process does to itself, or to its parent, at a given call of a function
Command   the command, all its processes, and what they print
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tests.command import TRAIN, Ended, Run

PYTHON = (sys.executable, str(TRAIN))
TWO = ("trainer.devices=2",)
STRUCK = Path(__file__).parent / "struck"

KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
PARENT_KILLED = "os.kill(os.getppid(), signal.SIGKILL)"
OUT_OF_MEMORY = "import torch; raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')"
MISTAKEN = "raise RuntimeError('of this process only')"
NO_SPACE = "raise OSError(28, 'No space left on device', 'newest.ckpt')"

STEP = "archselect.search.module:SearchModule.training_step"
SCORING = "archselect.selection.scorer:Scorer.__call__"
RETRAINING = "archselect.evaluation.module:RetrainModule.training_step"


def torchrun(*options: str) -> tuple[str, ...]:
    """Return `torchrun OPTIONS train.py`; two processes unless the options say otherwise."""
    given = options if any("nproc" in option for option in options) else ("--nproc-per-node=2", *options)
    return (sys.executable, "-m", "torch.distributed.run", *given, str(TRAIN))


@dataclass(frozen=True)
class Blow:
    """What happens in a process as it enters a function for the `call`th time, not after a restart by torchrun.

    Attributes:
        function: `module:qualified.name`.
        call: Which one; None: every one.
        does: In Python.
        rank: Of the process; None: in every one, the starting one, too.
    """

    function: str
    call: int | None
    does: str
    rank: int | None = None


class Command:
    """A command in processes of its own, without its figures.

    Args:
        folder: An empty or absent folder for what it prints.
        program: `PYTHON` or `torchrun()`.
        arguments: Of train.py.
        blows: What its processes meet.
        counted: Functions whose calls are counted, as `module:qualified.name`, in the main process.
    """

    def __init__(
        self,
        folder: Path,
        program: Sequence[str],
        arguments: Sequence[str],
        *blows: Blow,
        counted: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._output, self._calls, self._struck = (folder / f"{name}.txt" for name in ("output", "calls", "struck"))
        self._mark = f"STRUCK={uuid.uuid4()}"
        counting = [Blow(one, None, f"open({str(self._calls)!r}, 'a').write({one!r} + chr(10))", 0) for one in counted]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(STRUCK), str(TRAIN.parent / "src")]),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "120",
            "STRUCK": self._mark.partition("=")[2],
            "STRUCK_AT": str(self._struck),
            "BLOWS": json.dumps([_plain(blow) for blow in (_NO_FIGURES, *blows, *counting)]),
        }
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [*program, *arguments], stdout=output, stderr=output, env=environment, start_new_session=True
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind, whatever failed."""
        self.kill()
        self._process.wait()

    @property
    def output(self) -> str:
        """What the terminal shows."""
        return self._output.read_text()

    @property
    def ended(self) -> bool:
        """Whether the starting process has ended."""
        return self._process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send the starting process a signal."""
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """Press Ctrl-C: every process in the terminal's foreground is sent SIGINT."""
        os.killpg(self.pid, signal.SIGINT)

    def processes(self) -> list[int]:
        """Return which of the command's processes there are, the starting one included."""
        found = (int(folder.name) for folder in Path("/proc").glob("[0-9]*"))
        return [process for process in found if self._mark in _of_process(process, "environ")]

    def at_work(self) -> list[int]:
        """Return those of the processes that run this project's code: the starting one and those of the ranks."""
        return [one for one in self.processes() if "resource_tracker" not in " ".join(_of_process(one, "cmdline"))]

    def kill(self) -> None:
        """Kill every process."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def wait_for(self, true: Callable[[], Any], timeout: float = 120) -> None:
        """Wait until something is true; it has to be before the command ends."""
        until = time.monotonic() + timeout
        while not true():
            assert not self.ended or true(), f"The command has ended:\n{self.output}"
            assert time.monotonic() < until, f"Nothing came for {timeout} s:\n{self.output}"
            time.sleep(0.02)

    def end(self, timeout: float = 240) -> Ended:
        """Wait for the end of the starting process."""
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"Still at work after {timeout} s:\n{self.output}") from error
        return Ended(code, Counter(self._calls.read_text().split() if self._calls.exists() else []))

    def wait_until_gone(self, timeout: float = 60) -> None:
        """Wait until none of the processes is left, no longer than some seconds."""
        until = time.monotonic() + timeout
        while left := self.processes():
            assert time.monotonic() < until, f"{left} are left after {timeout} s:\n{self.output}"
            time.sleep(0.05)

    def gone_after(self) -> float:
        """Wait until none of the processes is left; return how many seconds after the blow that is."""
        self.wait_for(self._struck.exists)
        while self.processes():
            assert (passed := time.time() - self._struck.stat().st_mtime) < 90, f"{passed:.0f} s:\n{self.output}"
            time.sleep(0.05)
        return time.time() - self._struck.stat().st_mtime


_NO_FIGURES = Blow(
    "archselect.pipeline.run:Run.go", None, "from archselect.pipeline import run; run.draw_figures = lambda *_: []"
)


def _plain(blow: Blow) -> dict[str, Any]:
    return {**asdict(blow), "rank": None if blow.rank is None else str(blow.rank)}


def _of_process(process: int, what: str) -> list[str]:
    """Return the environment or the command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{process}/{what}").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def runs_in(logs: Path) -> list[Run]:
    """Return the finished runs in a folder, in order."""
    return [Run(file.parent) for file in sorted(logs.glob("runs/*/*/summary.json"))]
