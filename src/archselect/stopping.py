"""Ctrl-C and SIGTERM: an orderly stop, unless whoever started the process has other plans with the signal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console


class Stopped(BaseException):
    """Ctrl-C or SIGTERM."""


def _stop(number: int, frame: Any) -> None:
    raise Stopped(number)


@contextmanager
def stopping_on_signals(console: Console) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an orderly stop: the last checkpoint is kept, the exit code is 128 + signal.

    A handler that is there already stays: in a job of submitit SIGTERM announces a preemption, after which the job is
    requeued or killed, and goes on from its last checkpoint.
    """
    ours = (signal.SIG_DFL, signal.default_int_handler, _stop)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = {number: handler for number, handler in before.items() if handler in ours}
    for number in taken:
        signal.signal(number, _stop)
    try:
        yield
    except Stopped as stopped:
        console.print("\nStopped. What is finished is kept; the same command goes on from the last epoch.")
        raise SystemExit(128 + stopped.args[0]) from None
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


class SignalsLeftAlone(Callback):
    """Undoes Lightning's handling of SIGTERM, which would end a fit between two steps and take it for finished.

    Made before the fit, it remembers who handles SIGTERM; Lightning puts its own handler in front when the fit begins.
    """

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See the class."""
        self._restore()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See the class."""
        self._restore()

    def _restore(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)
