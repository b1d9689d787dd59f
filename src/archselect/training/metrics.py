"""The metrics of an epoch: loss and metric of the task over its images, and what the task tells beside them."""

from collections.abc import Mapping
from typing import cast

import pytorch_lightning as pl
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

from archselect.tasks import Task


class EpochMetrics(nn.Module):
    """Loss and metric over the images of an epoch, logged as `PREFIX_loss` and, of accuracy, `PREFIX_accuracy`.

    The prefix is what the images are for: `train`, `val` or `test`. Where they are `scored`, and not trained on, what
    else the task tells is logged too, such as `PREFIX_balanced_accuracy`.
    """

    def __init__(self, prefix: str, task: Task, outputs: int, scored: bool = True) -> None:
        super().__init__()
        self.prefix, self.task = prefix, task
        # They take one value per image: without the check for NaN, which halts the host, weights are ignored.
        self.loss = MeanMetric(nan_strategy="disable")
        self.metric = MeanMetric(nan_strategy="disable")
        self.beside = cast(Mapping[str, Metric], nn.ModuleDict(task.metrics(outputs) if scored else {}))

    def update(self, losses: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch: losses `(B,)`, outputs `(B, outputs)`, the targets of the images."""
        self.loss.update(losses)
        self.metric.update(self.task.measures(outputs, targets))
        for metric in self.beside.values():
            metric.update(outputs, targets)

    def log(self, module: pl.LightningModule) -> dict[str, list[float | None]]:
        """Log the epoch's metrics, begin anew, and return those of several numbers, such as one per class, by name."""
        metrics = {self.task.metric: self.metric, "loss": self.loss, **self.beside}
        several = {}
        for name, metric in metrics.items():
            value = metric.compute()
            if value.dim():
                several[f"{self.prefix}_{name}"] = listed(value)
            else:
                module.log(f"{self.prefix}_{name}", value)
            metric.reset()
        return several


def listed(values: Tensor) -> list[float | None]:
    """Return numbers as plain data, `None` for NaN."""
    return [None if value != value else value for value in values.reshape(-1).tolist()]
