"""The processes of a run: torchrun or Slurm starts them, or this module by PyTorch's Python interface to torchrun.

Nothing here imports PyTorch before it is needed: help and completion ask which process this is, too.
"""

import atexit
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from archselect.errors import RunError
from archselect.stopping import Stopped

LOGS = "processes"
"""The folder in a run's folder that holds what each process but the main one prints."""


GRACE = 10.0
"""So many seconds another process than the main one stays after an error: that may not be its own."""


class Launched(NamedTuple):
    """The place of this process among those that were started together, in the words of torch.distributed."""

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int

    @property
    def nodes(self) -> int:
        """How many machines there are, which have equally many processes."""
        return self.world_size // self.local_world_size


def launched() -> Launched | None:
    """Return the place of this process among those of torchrun, srun or submitit; None: it was started by itself.

    Of Slurm's variables it takes those that srun gives the tasks of a step (srun's manual, "OUTPUT ENVIRONMENT
    VARIABLES"): SLURM_NTASKS, SLURM_PROCID and SLURM_LOCALID are in a batch file's environment, too.
    """
    given = os.environ
    if "TORCHELASTIC_RUN_ID" in given:
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        return Launched(*(int(given[name]) for name in names))
    tasks = int(given.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1:
        machines = int(given["SLURM_STEP_NUM_NODES"])
        return Launched(int(given["SLURM_PROCID"]), int(given["SLURM_LOCALID"]), tasks, tasks // machines)
    tasks = int(given.get("SUBMITIT_LOCAL_NTASKS", "1"))  # which plays Slurm on one machine
    if tasks > 1:
        return Launched(int(given["SUBMITIT_LOCAL_GLOBALID"]), int(given["SUBMITIT_LOCAL_LOCALID"]), tasks, tasks)
    return None


def is_main_process() -> bool:
    """Return whether this process owns what is shared: the terminal, the store, the loggers."""
    place = launched()
    return place is None or place.rank == 0


def rank_zero_folder(folder: str) -> str:
    """Return the folder; in every other process than the main one, one of its own that goes when the process ends."""
    return folder if is_main_process() else _throwaway_folder()


@cache
def _throwaway_folder() -> str:
    folder = tempfile.mkdtemp(prefix="archselect-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def shows(error: Exception) -> bool:
    """Return whether this process shows an error to the user, or leaves that to another one, which met it."""
    place = launched()
    if place is None or place.rank == 0:
        return True
    return not _shown_elsewhere(error) if _joined() else place.local_rank == 0


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the main process speak first of an error that may be its own, too.

    torchrun, and srun with --kill-on-bad-exit, end all processes with the first that fails, so that most errors are
    shown once. torchrun is told of the error for its report.
    """
    try:
        yield
    except Exception as error:
        if launched() is not None and not hasattr(error, "waited"):
            error.waited = True  # type: ignore[attr-defined]
            _record(error)
            if not is_main_process():
                time.sleep(GRACE)
        raise


def _record(error: Exception) -> None:
    if "TORCHELASTIC_ERROR_FILE" in os.environ and not _shown_elsewhere(error):
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        get_error_handler().record_exception(error)


def _joined() -> bool:
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_initialized()


def _shown_elsewhere(error: BaseException | None) -> bool:
    """Return whether an error, or what it comes of, was met by another process and told to this one."""
    return error is not None and (hasattr(error, "shown_elsewhere") or _shown_elsewhere(error.__cause__))


def refuse_launched(why: str, instead: str = "Start it by python; trainer.devices=N gives every job N.") -> None:
    """Raise a `RunError` if this is one of several processes that were started together.

    Args:
        why: This cannot be, as the second half of a sentence.
        instead: What to do, as a sentence.
    """
    place = launched()
    if place is not None and place.world_size > 1:
        raise RunError(f"torchrun or srun started {place.world_size} processes of this program, but {why}. {instead}")


def refuse_launched_analysis() -> None:
    """Raise a `RunError` if several processes were started for an analysis."""
    refuse_launched("an analysis runs on one device", "Type python analyze.py by itself.")


def start_processes(function: Callable[..., Any], arguments: tuple[Any, ...], processes: int, folder: Path) -> Any:
    """Call a function in so many new processes on this machine, as torchrun would, and return what the first returns.

    Args:
        function: Of a module; it returns, as the only error that is the user's to mend, a `RunError`.
        arguments: Of the function, as plain data.
        processes: How many.
        folder: What the others than the first print goes to files in its `processes`.

    Raises:
        RunError: The function returned it, or a process ended early; the message has its last words.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="run",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(str(folder / LOGS), redirects=dict.fromkeys(range(1, processes), Std.ALL)),
    )
    try:
        with _torchelastic(processes):
            outcome = elastic_launch(config, function)(*arguments)[0]
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise RunError(
            f"Process {rank + 1} of {processes} ended early (exit code {failure.exitcode}): {_last_words(failure)}\n"
            "What is finished is kept; the same command goes on from there. What the processes printed: "
            f"{folder / LOGS}"
        ) from error
    except SignalException as error:
        raise Stopped(error.sigval) from None
    if isinstance(outcome, RunError):
        raise outcome
    return outcome


@contextmanager
def _torchelastic(processes: int) -> Iterator[None]:
    """Share the threads out, leave torchelastic's own log out, and put its handling of signals back."""
    import torch

    logger = logging.getLogger("torch.distributed.elastic")
    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.getsignal(number) for number in signals}
    level, threads = logger.level, os.environ.get("OMP_NUM_THREADS")
    try:
        logger.setLevel(logging.CRITICAL + 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // processes)))
        yield
    finally:
        logger.setLevel(level)
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        for number, handler in before.items() if threading.current_thread() is threading.main_thread() else ():
            signal.signal(number, handler)


def _last_words(failure: Any) -> str:
    message = failure.message
    return str(message["message"] if isinstance(message, dict) else message)
