"""Signals during a fit: Lightning's own handling is undone."""

import signal
import threading

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


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
