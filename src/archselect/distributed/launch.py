"""The processes of a run: torchrun or Slurm starts them, or this module by PyTorch's Python interface to torchrun.

Nothing here imports PyTorch before it is needed: help and completion ask which process this is, too.
"""

import ctypes
import logging
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import env_override

from archselect.utils.errors import Stopped, UserError

# So many seconds a process stays after an error that may be another one's: torchrun, and srun --kill-on-bad-exit, end
# all processes with the first that fails, which is then the one to speak.
GRACE = 10.0


class Launched(NamedTuple):
    """The place of this process among those that were started together, in the words of torch.distributed."""

    rank: int
    world_size: int
    local_world_size: int


def launched() -> Launched | None:
    """Return the place of this process among those of torchrun, submitit or srun; None: it was started by itself."""
    given = os.environ
    complete = "LOCAL_WORLD_SIZE" in given  # a batch file may export some of them
    if complete and ("TORCHELASTIC_RUN_ID" in given or given["WORLD_SIZE"] != "1"):
        return Launched(*(int(given[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))
    tasks = int(given.get("SLURM_STEP_NUM_TASKS", "1"))  # of srun; SLURM_NTASKS is in a batch file's environment, too
    if tasks == 1:
        return None
    return Launched(int(given["SLURM_PROCID"]), tasks, tasks // int(given["SLURM_STEP_NUM_NODES"]))


def is_main_process() -> bool:
    """Return whether this process owns what is shared: the terminal, the store, the loggers."""
    place = launched()
    return place is None or place.rank == 0


def rank_zero_folder(folder: str) -> str:
    """Return the folder; in every other process than the main one, one of its own that goes when the process ends."""
    return folder if is_main_process() else _throwaway().name


@cache
def _throwaway() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="archselect-", ignore_cleanup_errors=True)


def refuse_launched(why: str, instead: str = "Type python train.py; trainer.devices=N gives every job N.") -> None:
    """Raise a `UserError`, "..., but WHY. INSTEAD", if this is one of several processes that were started together."""
    place = launched()
    if place is not None and place.world_size > 1:
        raise UserError(f"torchrun or srun started {place.world_size} processes of this program, but {why}. {instead}")


def refuse_launched_analysis() -> None:
    """Refuse several processes for an analysis."""
    refuse_launched("an analysis runs on one device", "Type python analyze.py by itself.")


def end_with_launcher() -> None:
    """Have Linux end this process with what started it: torchrun, or Python, ends nothing when it is killed itself."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if (parent := parent_process()) is not None and not parent.is_alive():  # gone while this one imported PyTorch
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def errors_in_order() -> Iterator[None]:
    """Let the process speak first whose error it is, or the main one if all meet the same.

    Raises:
        UserError: Another process has ended; what it said itself tells why.
    """
    try:
        yield
    except Exception as error:
        if launched() is None or hasattr(error, "waited"):
            raise
        lost = isinstance(error, RuntimeError) and re.search("gloo|nccl|c10d|TCPStore", str(error), re.IGNORECASE)
        if lost or not is_main_process():
            time.sleep(GRACE)
        told = UserError("Another process of this run has ended, or its machine is gone.") if lost else error
        told.waited = True  # type: ignore[attr-defined]
        if lost:
            raise told from error
        raise


def start_processes(function: Callable[..., Any], arguments: tuple[Any, ...], processes: int, folder: Path) -> Any:
    """Call a function in so many new processes on this machine, as torchrun would, and return what the first returns.

    They share the threads of this one, unless OMP_NUM_THREADS says how many each has. The function is one of a module,
    its arguments are plain data; what the others than the first print goes below the folder.

    Raises:
        UserError: The first process raised one, or a process ended early; the message has its last words.
    """
    from torch import get_num_threads
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
        logs_specs=DefaultLogsSpecs(str(folder), redirects=dict.fromkeys(range(1, processes), Std.ALL)),
    )
    if multiprocessing.get_start_method(allow_none=True) == "loky":  # joblib's, of which the children know nothing
        multiprocessing.set_start_method("spawn", force=True)
    taken_over = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in taken_over}
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, get_num_threads() // processes)))
    logging.disable()  # torchelastic's account of what is told in a sentence below
    try:
        with env_override({"OMP_NUM_THREADS": threads}):
            return elastic_launch(config, function)(*arguments)[0]
    except ChildFailedError as error:
        raise _early_end(*error.get_first_failure(), processes, folder) from error
    except SignalException as error:
        raise Stopped(error.sigval) from None
    finally:
        logging.disable(logging.NOTSET)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _early_end(rank: int, failure: Any, processes: int, folder: Path) -> UserError:
    """Return the error of the process that ended first, as torchelastic's `ProcessFailure` describes it."""
    words = failure.message["message"] if isinstance(failure.message, dict) else failure.message
    own = words.removeprefix("UserError: ")
    if rank == 0 and own != words:
        return UserError(own)
    return UserError(
        f"Process {rank + 1} of {processes} ended early (exit code {failure.exitcode}): {own.rstrip('.')}. What is "
        f"finished is kept; the same command goes on from there. What the processes printed is in {folder}."
    )
