"""What a run tells its loggers: the same keys whoever listens, and each is told what it can show.

Any logger of Lightning's is a file such as `configs/logger/tensorboard.yaml` and is told numbers; one that shows
pictures and tables as well has an adapter here.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from archselect.results.formatting import markdown_table
from archselect.training.fit import Record


class LoggerAdapter:
    """Tells a logger the numbers of every epoch; what only some loggers can show, it keeps to itself."""

    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def config(self, config: Mapping[str, Any]) -> None:
        """Take the resolved config."""

    def numbers(self, numbers: Mapping[str, float], step: int) -> None:
        """Take the numbers of one epoch, counted over all stages."""
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


class WandbAdapter(LoggerAdapter):
    """Tells Weights & Biases everything."""

    logger: WandbLogger

    def config(self, config: Mapping[str, Any]) -> None:
        from wandb.errors import UsageError  # takes a second, which other loggers should not cost

        try:
            self.logger.log_hyperparams(dict(config))
        except UsageError as error:
            raise ValueError(
                f"Weights & Biases: {error} Without an account: logger.wandb.offline=true or WANDB_MODE=offline."
            ) from error

    def figures(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.logger.log_image(f"figures/{path.stem}", [str(path)])

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.logger.log_table(f"tables/{name}", columns=list(columns), data=[list(row) for row in rows])

    def summary(self, summary: Mapping[str, Any]) -> None:
        self.logger.experiment.summary.update(dict(summary))

    def finish(self, status: str) -> None:
        super().finish(status)
        self.logger.experiment.finish(exit_code=0 if status == "success" else 1)


class TensorBoardAdapter(LoggerAdapter):
    """Tells TensorBoard everything: scalars, images, tables as text, the config and the results as hyperparameters.

    All results are logged at the step after the last epoch.
    """

    logger: TensorBoardLogger
    _epochs = 0

    def config(self, config: Mapping[str, Any]) -> None:
        """Hand over the config for `hparams.yaml`, which Lightning writes with the first epoch and never again."""
        self.logger.log_hyperparams(dict(config))

    def numbers(self, numbers: Mapping[str, float], step: int) -> None:
        super().numbers(numbers, step)
        self._epochs = step + 1

    def figures(self, paths: Sequence[Path]) -> None:
        for path in paths:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            self.logger.experiment.add_image(f"figures/{path.stem}", pixels, self._epochs, dataformats="HWC")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.logger.experiment.add_text(f"tables/{name}", markdown_table(columns, rows), self._epochs)

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Log what is text as text, and the config once more, with the numbers as the metrics of its options."""
        numbers = {name: float(value) for name, value in summary.items() if isinstance(value, int | float)}
        shown = [(name, value) for name, value in summary.items() if isinstance(value, str | int | float)]
        self.logger.log_hyperparams(self.logger.hparams, metrics=numbers, step=self._epochs)
        self.logger.experiment.add_text("summary", markdown_table(("what", "value"), shown), self._epochs)


def adapter_for(logger: Logger) -> LoggerAdapter:
    """Return the adapter that suits a logger."""
    adapters = {WandbLogger: WandbAdapter, TensorBoardLogger: TensorBoardAdapter, Logger: LoggerAdapter}
    return next(adapter(logger) for kind, adapter in adapters.items() if isinstance(logger, kind))


class RunLog:
    """Passes histories, figures, tables and the summary on to the loggers.

    Keys are `STAGE/METRIC` and `STAGE/alpha/CELL/EDGE/OPERATION`; the step counts epochs over all stages,
    `STAGE/epoch` those of one. `space` is what `SearchSpace.describe()` returns.
    """

    def __init__(self, space: Mapping[str, Any]) -> None:
        self.space = space
        self._adapters: list[LoggerAdapter] = []
        self._epochs: set[tuple[str, int]] = set()

    def start(self, loggers: Iterable[Logger], config: Mapping[str, Any]) -> None:
        """Tell Lightning loggers the resolved config and, from now on, everything."""
        self._adapters = [adapter_for(logger) for logger in loggers]
        for adapter in self._adapters:
            adapter.config(config)

    def record(self, stage: str, record: Record) -> None:
        """Log one epoch of a stage, once: an epoch whose checkpoint a kill prevented is made, and recorded, again."""
        if (stage, record["epoch"]) in self._epochs:
            return
        numbers = {f"{stage}/{name}": value for name, value in flatten(record, self.space).items()}
        for adapter in self._adapters:
            adapter.numbers(numbers, step=len(self._epochs))
        self._epochs.add((stage, record["epoch"]))

    def figures(self, paths: Sequence[Path]) -> None:
        for adapter in self._adapters:
            adapter.figures(paths)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        for adapter in self._adapters:
            adapter.table(name, columns, rows)

    def summary(self, summary: Mapping[str, Any]) -> None:
        for adapter in self._adapters:
            adapter.summary(summary)

    def finish(self, status: str) -> None:
        """End the run, so that the next job of a sweep starts its own."""
        for adapter in self._adapters:
            adapter.finish(status)


def flatten(record: Record, space: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a history record under their keys."""
    numbers = {"epoch": record["epoch"], "seconds": record["seconds"], **record["metrics"]}
    numbers |= {f"entropy/{cell}": entropy for cell, entropy in record.get("entropy", {}).items()}
    numbers |= {"skip_share": record["skip_share"]} if "skip_share" in record else {}
    for cell, rows in record.get("alpha", {}).items():
        description = space["cells"][cell]
        for edge, operations, weights in zip(description["edges"], description["operations"], rows, strict=True):
            numbers |= {alpha_key(cell, edge, name): weight for name, weight in zip(operations, weights, strict=False)}
    return numbers


def alpha_key(cell: str, edge: Sequence[int], operation: str) -> str:
    """Return the key of the mixture weight of an operation on the edge `(source, target)`."""
    source, target = edge
    return f"alpha/{cell}/{source}-{target}/{operation}"
