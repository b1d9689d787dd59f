"""The kinds of loggers that a run can have, and how each is told what it can show.

Listener             any logger of Lightning's, such as the CSV file: numbers
WandbListener        Weights & Biases: everything
TensorBoardListener  TensorBoard: everything, tables as text
listener_for         the one for a logger
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger


class Listener:
    """Tells a logger the numbers of every epoch; what only some loggers can show, it keeps to itself.

    Args:
        logger: The logger.
    """

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def config(self, config: Mapping[str, Any]) -> None:
        """Take the resolved config."""

    def numbers(self, numbers: Mapping[str, float], step: int) -> None:
        """Take the numbers of one epoch."""
        self.logger.log_metrics(dict(numbers), step=step)
        self.logger.save()

    def figures(self, paths: Sequence[Path]) -> None:
        """Take pictures, under their file names."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Take a table."""

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Take the results of the run."""

    def finish(self, status: str) -> None:
        """Take note that the run has ended: `success` or `failed`."""
        self.logger.finalize(status)


class WandbListener(Listener):
    """Tells Weights & Biases everything."""

    logger: WandbLogger

    def config(self, config: Mapping[str, Any]) -> None:
        """Start the W&B run; without an account, a `ValueError` says what to do."""
        from wandb.errors import UsageError  # takes a second, which other loggers should not cost

        try:
            self.logger.log_hyperparams(dict(config))
        except UsageError as error:
            raise ValueError(
                f"Weights & Biases: {error} Without an account: logger.wandb.offline=true or WANDB_MODE=offline."
            ) from error

    def figures(self, paths: Sequence[Path]) -> None:
        """Log images."""
        for path in paths:
            self.logger.log_image(f"figures/{path.stem}", [str(path)])

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a W&B table."""
        self.logger.log_table(f"tables/{name}", columns=list(columns), data=[list(row) for row in rows])

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Fill the run's summary."""
        self.logger.experiment.summary.update(dict(summary))

    def finish(self, status: str) -> None:
        """End the W&B run, so that the next job of a sweep starts its own."""
        super().finish(status)
        self.logger.experiment.finish(exit_code=0 if status == "success" else 1)


class TensorBoardListener(Listener):
    """Tells TensorBoard everything: scalars, images, tables as text, the config and the results as hyperparameters."""

    logger: TensorBoardLogger

    def __init__(self, logger: TensorBoardLogger) -> None:
        super().__init__(logger)
        self._epochs = 0

    def config(self, config: Mapping[str, Any]) -> None:
        """Hand over the config for `hparams.yaml`, which Lightning writes with the first epoch and never again."""
        self.logger.log_hyperparams(dict(config))

    def numbers(self, numbers: Mapping[str, float], step: int) -> None:
        """Log scalars, at the epoch counted over all stages."""
        super().numbers(numbers, step)
        self._epochs = step + 1

    def figures(self, paths: Sequence[Path]) -> None:
        """Log images, at the step after the last epoch, as all results."""
        for path in paths:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            self.logger.experiment.add_image(f"figures/{path.stem}", pixels, self._epochs, dataformats="HWC")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table as text."""
        self.logger.experiment.add_text(f"tables/{name}", markdown(columns, rows), self._epochs)

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Log what is text as text, and the config once more, with the numbers as the metrics of its options."""
        numbers = {name: float(value) for name, value in summary.items() if isinstance(value, int | float)}
        shown = [(name, value) for name, value in summary.items() if isinstance(value, str | int | float)]
        self.logger.log_hyperparams(self.logger.hparams, metrics=numbers, step=self._epochs)
        self.logger.experiment.add_text("summary", markdown(("what", "value"), shown), self._epochs)


def listener_for(logger: Logger) -> Listener:
    """Return the listener that suits a logger."""
    if isinstance(logger, WandbLogger):
        return WandbListener(logger)
    if isinstance(logger, TensorBoardLogger):
        return TensorBoardListener(logger)
    return Listener(logger)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown; what is `None` is an empty cell."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "&#124;")
