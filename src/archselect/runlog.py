"""What a run tells its loggers: the same keys whoever listens."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, WandbLogger

from archselect.stages.fitting import Record


class RunLog:
    """Passes histories, figures, tables and the summary on to the loggers.

    Keys are `STAGE/METRIC` and `STAGE/alpha/CELL/EDGE/OPERATION`; the step counts epochs over all stages,
    `STAGE/epoch` those of one.

    Args:
        loggers: Lightning loggers.
        space: The search space's description, `SearchSpace.describe()`.
    """

    def __init__(self, loggers: Sequence[Logger], space: Mapping[str, Any]) -> None:
        self.loggers = loggers
        self.space = space
        self._epochs: set[tuple[str, int]] = set()

    def config(self, config: Mapping[str, Any]) -> None:
        """Log the resolved config."""
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                from wandb.errors import UsageError  # takes a second, which other loggers should not cost

                try:
                    logger.log_hyperparams(dict(config))
                except UsageError as error:
                    raise ValueError(
                        f"Weights & Biases: {error} Without an account: logger.wandb.offline=true or "
                        "WANDB_MODE=offline."
                    ) from error

    def record(self, stage: str, record: Record) -> None:
        """Log one epoch of a stage, once: an epoch whose checkpoint a kill prevented is made, and recorded, again."""
        if (stage, record["epoch"]) in self._epochs:
            return
        metrics = {f"{stage}/{name}": value for name, value in flatten(record, self.space)}
        for logger in self.loggers:
            logger.log_metrics(metrics, step=len(self._epochs))
            logger.save()
        self._epochs.add((stage, record["epoch"]))

    def figures(self, paths: Iterable[Path]) -> None:
        """Log pictures under their file names."""
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                for path in paths:
                    logger.log_image(f"figures/{path.stem}", [str(path)])

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table."""
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table(f"tables/{name}", columns=list(columns), data=[list(row) for row in rows])

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Log the results of the run."""
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(dict(summary))

    def finish(self, status: str) -> None:
        """End the run, so that the next job of a sweep starts its own."""
        for logger in self.loggers:
            logger.finalize(status)
            if isinstance(logger, WandbLogger):
                logger.experiment.finish(exit_code=0 if status == "success" else 1)


def flatten(record: Record, space: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """Yield the numbers of a history record under their keys."""
    yield "epoch", record["epoch"]
    yield "seconds", record["seconds"]
    yield from record["metrics"].items()
    for cell, entropy in record.get("entropy", {}).items():
        yield f"entropy/{cell}", entropy
    if "skip_share" in record:
        yield "skip_share", record["skip_share"]
    for cell, rows in record.get("alpha", {}).items():
        description = space["cells"][cell]
        for (source, target), operations, weights in zip(
            description["edges"], description["operations"], rows, strict=True
        ):
            for operation, weight in zip(operations, weights, strict=False):
                yield f"alpha/{cell}/{source}-{target}/{operation}", weight
