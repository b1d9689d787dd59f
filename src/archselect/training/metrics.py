"""The metrics of an epoch: loss and accuracy over its images, and the accuracy of each class."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy


class EpochMetrics(nn.Module):
    """Loss and accuracy over the images of an epoch, logged as `PREFIX_loss` and `PREFIX_accuracy`.

    Args:
        prefix: What the images are for: `train`, `val` or `test`.
        classes: Number of classes.
        by_class: Whether the accuracy of each class is counted too; their mean is `PREFIX_balanced_accuracy`.
    """

    def __init__(self, prefix: str, classes: int, by_class: bool = True) -> None:
        super().__init__()
        self.prefix = prefix
        # Takes one value per image: without its check for NaN, which halts the host, it ignores weights.
        self.loss = MeanMetric(nan_strategy="disable")
        self.accuracy = MulticlassAccuracy(classes, average="micro", validate_args=False)
        self.class_accuracy = ClassAccuracy(classes) if by_class else None

    def update(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: losses `(B,)`, logits `(B, classes)`, labels `(B,)`."""
        self.loss.update(losses)
        self.accuracy.update(logits, labels)
        if self.class_accuracy is not None:
            self.class_accuracy.update(logits, labels)

    def log(self, module: pl.LightningModule) -> dict[str, list[float | None]]:
        """Log the epoch's metrics and begin anew.

        Returns:
            `PREFIX_accuracy_per_class`, None for a class without images; empty if the classes are not counted.
        """
        for name, metric in (("accuracy", self.accuracy), ("loss", self.loss)):
            module.log(f"{self.prefix}_{name}", metric.compute())
            metric.reset()
        if self.class_accuracy is None:
            return {}
        accuracies = self.class_accuracy.compute()
        self.class_accuracy.reset()
        module.log(f"{self.prefix}_balanced_accuracy", balanced(accuracies))
        return {f"{self.prefix}_accuracy_per_class": listed(accuracies)}


class ClassAccuracy(Metric):
    """The share of each class's images that are recognised (its recall).

    What is counted are whole numbers, so several processes come to what one comes to.

    Args:
        classes: Number of classes.
    """

    full_state_update = False
    correct: Tensor  # (classes,), int64
    images: Tensor  # (classes,), int64

    def __init__(self, classes: int, **options: Any) -> None:
        super().__init__(**options)
        for name in ("correct", "images"):
            self.add_state(name, torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits `(B, classes)`, labels `(B,)`."""
        right = (logits.argmax(dim=1) == labels).long()
        self.correct.index_add_(0, labels, right)
        self.images.index_add_(0, labels, torch.ones_like(right))

    def compute(self) -> Tensor:
        """Return `(classes,)`, float64, on the CPU; NaN for a class of which there were no images."""
        return self.correct.cpu().double() / self.images.cpu()


def balanced(shares: Tensor) -> Tensor:
    """Return the mean of `ClassAccuracy.compute()` over the classes of which there were images.

    That is scikit-learn's `balanced_accuracy_score`. `MulticlassAccuracy(average="macro")` of torchmetrics is another
    number where a class has no images: it counts as 0 once an image of another class is taken for one of it.
    """
    return shares.nanmean().float()


def listed(shares: Tensor) -> list[float | None]:
    """Return `ClassAccuracy.compute()` as plain data: a number per class, `None` where there is none."""
    return [None if share != share else share for share in shares.reshape(-1).tolist()]
