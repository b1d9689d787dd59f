"""The metrics of an epoch: loss and accuracy over its images, and the accuracy of each class."""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric


class EpochMetrics(nn.Module):
    """Loss and accuracy over the images of an epoch, logged as `PREFIX_loss` and `PREFIX_accuracy`.

    The prefix is what the images are for: `train`, `val` or `test`. `by_class`, the mean of the accuracies of all
    classes is logged too, as `PREFIX_balanced_accuracy`.
    """

    def __init__(self, prefix: str, classes: int, by_class: bool = True) -> None:
        super().__init__()
        self.prefix, self.by_class = prefix, by_class
        # Takes one value per image: without its check for NaN, which halts the host, it ignores weights.
        self.loss = MeanMetric(nan_strategy="disable")
        self.accuracy = Accuracy(classes)

    def update(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: losses `(B,)`, logits `(B, classes)`, labels `(B,)`."""
        self.loss.update(losses)
        self.accuracy.update(logits, labels)

    def log(self, module: pl.LightningModule) -> dict[str, list[float | None]]:
        """Log the epoch's metrics, begin anew, and return `PREFIX_accuracy_per_class`, if the classes are counted."""
        accuracy, shares = self.accuracy.compute()
        logged = {"accuracy": accuracy, "loss": self.loss.compute()}
        if self.by_class:
            logged["balanced_accuracy"] = balanced(shares)
        for name, value in logged.items():
            module.log(f"{self.prefix}_{name}", value)
        self.accuracy.reset()
        self.loss.reset()
        return {f"{self.prefix}_accuracy_per_class": listed(shares)} if self.by_class else {}


class Accuracy(Metric):
    """The share of the images that are recognised, and that of each class's images (its recall).

    What is counted are whole numbers, so several processes come to what one comes to.
    """

    full_state_update = False
    correct: Tensor  # (classes,), int64
    images: Tensor  # (classes,), int64

    def __init__(self, classes: int) -> None:
        super().__init__()
        for name in ("correct", "images"):
            self.add_state(name, torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits `(B, classes)`, labels `(B,)`."""
        right = (logits.argmax(dim=1) == labels).long()
        self.correct.index_add_(0, labels, right)
        self.images.index_add_(0, labels, torch.ones_like(right))

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the share of all, and on the CPU, in float64, `(classes,)`: NaN for a class without images."""
        return self.correct.sum() / self.images.sum(), self.correct.cpu().double() / self.images.cpu()


def balanced(shares: Tensor) -> Tensor:
    """Return the mean of the shares of the classes of which there were images.

    That is scikit-learn's `balanced_accuracy_score`. `MulticlassAccuracy(average="macro")` of torchmetrics is another
    number where a class has no images: it counts as 0 once an image of another class is taken for one of it.
    """
    return shares.nanmean().float()


def listed(shares: Tensor) -> list[float | None]:
    """Return the shares of the classes as plain data: a number per class, `None` where there is none."""
    return [None if share != share else share for share in shares.reshape(-1).tolist()]
