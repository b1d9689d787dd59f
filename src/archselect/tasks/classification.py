"""Classification: one of the classes is right (cross-entropy, accuracy)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from archselect.data import ImageData, Split
from archselect.results.summaries import FEW_CLASSES, is_unbalanced
from archselect.tasks.base import Reduction, Task, Weights, check_length, check_weights, listed_names, weight_of
from archselect.utils.validation import FractionOrZero


@dataclass(frozen=True)
class Classification(Task):
    """Targets are the numbers of classes, `(B,)` int64; outputs are logits `(B, classes)`.

    Attributes:
        class_weights: By what the loss of an image of each class is multiplied, one number per class; `balanced`:
            inversely proportional to the training images of a class, on average over these 1; None: 1.
        label_smoothing: Share of a class's probability that the loss gives to all classes alike.
    """

    metric = "accuracy"
    mode = "max"

    name: str = "classification"
    class_weights: Weights = None
    label_smoothing: FractionOrZero = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights("task.class_weights", self.class_weights)

    def outputs(self, data: ImageData) -> int:
        return data.classes

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weight = weight_of(self.class_weights, outputs)
        return F.cross_entropy(outputs, targets, weight, reduction="none", label_smoothing=self.label_smoothing)

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        own_losses = type(self).losses is not Classification.losses
        if self.class_weights is not None or own_losses:  # PyTorch's mean would divide by the weights of a batch
            return super().loss(outputs, targets, reduction)
        return F.cross_entropy(outputs, targets, reduction=reduction, label_smoothing=self.label_smoothing)

    def measures(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) == targets).float()

    def metrics(self, outputs: int) -> Mapping[str, Metric]:
        return {"balanced_accuracy": BalancedAccuracy(outputs), "accuracy_per_class": AccuracyPerClass(outputs)}

    def fitted(self, data: ImageData) -> Self:
        if self.class_weights != "balanced":
            return self
        counts = data.count_classes(data.train.labels)
        present = sum(count > 0 for count in counts)
        weights = [sum(counts) / (present * count) if count else 1.0 for count in counts]
        return replace(self, class_weights=tuple(weights))

    def smoothed(self, label_smoothing: float) -> "Classification":
        own = self.label_smoothing
        if own and label_smoothing not in (0, own):
            raise ValueError(
                f"task.label_smoothing={own} and evaluation.label_smoothing={label_smoothing} both smooth the labels "
                "of the retraining. Use evaluation.label_smoothing=0, and the task's holds, or task.label_smoothing=0."
            )
        return replace(self, label_smoothing=label_smoothing) if label_smoothing else self

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return the probability of each class."""
        return outputs.softmax(dim=1)

    def check_targets(self, data: ImageData, targets: Tensor, split: Split) -> None:
        if targets.dim() != 1:
            raise ValueError(
                f"task=classification expects a class per image, but the {split} images of data={data.name} have "
                f"numbers as targets ({listed_names(data)}). Use task=regression, or task=multilabel for 0 and 1."
            )

    def check(self, data: ImageData) -> None:
        check_length("task.class_weights", self.class_weights, data, "classes")
        counts = data.count_classes(data.train.labels)
        if sum(count > 0 for count in counts) < 2:
            (only,) = (name for name, count in zip(data.class_names, counts, strict=True) if count)
            raise ValueError(
                f"All {sum(counts)} training images of data={data.name} are of one class, {only!r}: there is nothing "
                "to tell apart and every network would be right. Expected two classes or more: for image folders, "
                "train/CLASS/IMAGE.png with a folder per class; for tables, another data.source.label_column."
            )

    def describe(self, data: ImageData, targets: Tensor, split: Split) -> dict[str, Any]:
        return {f"{split}_images_per_class": data.count_classes(targets)}

    def spread(self, data: ImageData) -> str:
        """Return how many training images each class has; one by one where there are few classes of different sizes."""
        counts = data.count_classes(data.train.labels)
        if min(counts) == max(counts):
            spread = f"{counts[0]:,} each"
        elif len(counts) <= FEW_CLASSES and is_unbalanced(counts):
            spread = ", ".join(f"{name}: {count:,}" for name, count in zip(data.class_names, counts, strict=True))
        else:
            spread = f"{min(counts):,} to {max(counts):,} each"
        return f"of {len(counts)} classes ({spread})"


class AccuracyPerClass(Metric):
    """The share of each class's images that is recognised (its recall), `(classes,)`: NaN for one without images.

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

    def compute(self) -> Tensor:
        """Return the shares on the CPU, in float64."""
        return self.correct.cpu().double() / self.images.cpu()


class BalancedAccuracy(AccuracyPerClass):
    """The mean of the shares of the classes of which there were images.

    That is scikit-learn's `balanced_accuracy_score`. `MulticlassAccuracy(average="macro")` of torchmetrics is another
    number where a class has no images: it counts as 0 once an image of another class is taken for one of it.
    """

    def compute(self) -> Tensor:
        return super().compute().nanmean().float()
