"""What a run tells its loggers: the same keys whoever listens."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from archselect.listeners import Listener, listener_for
from archselect.stages.fitting import Record


class RunLog:
    """Passes histories, figures, tables and the summary on to the loggers.

    Keys are `STAGE/METRIC` and `STAGE/alpha/CELL/EDGE/OPERATION`; the step counts epochs over all stages,
    `STAGE/epoch` those of one.

    Args:
        space: The search space's description, `SearchSpace.describe()`.
    """

    def __init__(self, space: Mapping[str, Any]) -> None:
        self.space = space
        self._listeners: list[Listener] = []
        self._epochs: set[tuple[str, int]] = set()

    def start(self, loggers: Iterable[Logger], config: Mapping[str, Any]) -> None:
        """Tell Lightning loggers the resolved config and, from now on, everything."""
        self._listeners = [listener_for(logger) for logger in loggers]
        for listener in self._listeners:
            listener.config(config)

    def record(self, stage: str, record: Record) -> None:
        """Log one epoch of a stage, once: an epoch whose checkpoint a kill prevented is made, and recorded, again."""
        if (stage, record["epoch"]) in self._epochs:
            return
        numbers = {f"{stage}/{name}": value for name, value in flatten(record, self.space)}
        for listener in self._listeners:
            listener.numbers(numbers, step=len(self._epochs))
        self._epochs.add((stage, record["epoch"]))

    def figures(self, paths: Sequence[Path]) -> None:
        """Log pictures under their file names."""
        for listener in self._listeners:
            listener.figures(paths)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table."""
        for listener in self._listeners:
            listener.table(name, columns, rows)

    def summary(self, summary: Mapping[str, Any]) -> None:
        """Log the results of the run."""
        for listener in self._listeners:
            listener.summary(summary)

    def finish(self, status: str) -> None:
        """End the run, so that the next job of a sweep starts its own."""
        for listener in self._listeners:
            listener.finish(status)


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
        for edge, operations, weights in zip(description["edges"], description["operations"], rows, strict=True):
            for operation, weight in zip(operations, weights, strict=False):
                yield alpha_key(cell, edge, operation), weight


def alpha_key(cell: str, edge: Sequence[int], operation: str) -> str:
    """Return the key of the mixture weight of an operation on the edge `(source, target)`."""
    source, target = edge
    return f"alpha/{cell}/{source}-{target}/{operation}"
