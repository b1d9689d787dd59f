"""Ctrl-C and SIGTERM: an orderly stop, unless whoever started the process has other plans with the signal."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

from rich.console import Console


class Stopped(BaseException):
    """Ctrl-C or SIGTERM."""


def _stop(number: int, frame: Any) -> None:
    raise Stopped(number)


def _send_again(unraisable: Any) -> None:
    """Send a signal again that came while a `__del__` ran (Lightning's profiler has one), where Python drops errors."""
    if isinstance(unraisable.exc_value, Stopped):
        Timer(0.05, os.kill, (os.getpid(), unraisable.exc_value.args[0])).start()
    else:
        sys.__unraisablehook__(unraisable)


@contextmanager
def stopping_on_signals(console: Console) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an orderly stop: the last checkpoint is kept, the exit code is 128 + signal.

    A handler that is there already stays: in a job of submitit SIGTERM announces a preemption, after which the job is
    requeued or killed, and goes on from its last checkpoint. torchrun sends SIGTERM when it is stopped itself, and when
    another process of the run has failed.
    """
    ours = (signal.SIG_DFL, signal.default_int_handler, _stop)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = {number: handler for number, handler in before.items() if handler in ours}
    for number in taken:
        signal.signal(number, _stop)
    hook, sys.unraisablehook = sys.unraisablehook, _send_again
    try:
        yield
    except Stopped as stopped:
        by = " by torchrun" if stopped.args[0] == signal.SIGTERM and "TORCHELASTIC_RUN_ID" in os.environ else ""
        console.print(f"\nStopped{by}. What is finished is kept; the same command goes on from the last epoch.")
        raise SystemExit(128 + stopped.args[0]) from None
    finally:
        sys.unraisablehook = hook
        for number, handler in taken.items():
            signal.signal(number, handler)
