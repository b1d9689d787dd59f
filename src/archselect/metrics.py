"""Accuracy class by class, and its mean over the classes: accuracy hides classes with few images."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


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
