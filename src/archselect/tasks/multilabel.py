"""Multilabel classification: each label is there or not, whatever the others are (binary cross-entropy)."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MultilabelAveragePrecision
from torchmetrics.utilities import dim_zero_cat

from archselect.data import ImageData, Split
from archselect.tasks.base import Task, Weights, check_length, check_numbers, check_weights, weight_of
from archselect.utils.validation import Fraction


@dataclass(frozen=True)
class Multilabel(Task):
    """Targets are 0 or 1 for each label, `(B, labels)` float32; outputs are logits `(B, labels)`.

    The metric is the share of an image's labels that are told right. What is rare is told right by always saying no,
    hence the mean average precision beside it.

    Attributes:
        positive_weights: By what the loss of a label that is there is multiplied, one number per label; `balanced`: the
            training images without a label over those with it; None: 1.
        threshold: From which probability on a label is said to be there.
    """

    metric = "label_accuracy"
    mode = "max"

    name: str = "multilabel"
    positive_weights: Weights = None
    threshold: Fraction = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights("task.positive_weights", self.positive_weights)

    def outputs(self, data: ImageData) -> int:
        return data.classes

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weight, targets = weight_of(self.positive_weights, outputs), targets.to(outputs.dtype)
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none", pos_weight=weight).mean(dim=1)

    def measures(self, outputs: Tensor, targets: Tensor) -> Tensor:
        told = self.predictions(outputs) >= self.threshold
        return (told == (targets > 0.5)).float().mean(dim=1)

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return the probability of each label."""
        return outputs.sigmoid()

    def metrics(self, outputs: int) -> Mapping[str, Metric]:
        return {
            "mean_average_precision": MeanAveragePrecision(outputs),
            "average_precision_per_label": AveragePrecisionPerLabel(outputs),
        }

    def fitted(self, data: ImageData) -> Self:
        if self.positive_weights != "balanced":
            return self
        there = data.train.labels.sum(dim=0).tolist()
        images = len(data.train.labels)
        return replace(self, positive_weights=tuple((images - n) / n if n else 1.0 for n in there))

    def check_targets(self, data: ImageData, targets: Tensor, split: Split) -> None:
        check_numbers(self, data, targets, "data=digits_pairs")
        wrong = ((targets != 0) & (targets != 1)).nonzero()
        if len(wrong):
            row, column = wrong[0].tolist()
            raise ValueError(
                f"task=multilabel expects 0 or 1 for each label, but number {row} (from 0) of the {split} images of "
                f"data={data.name} has {targets[row, column]:g} for {data.class_names[column]!r}. Write 0 or 1, or use "
                "task=regression for numbers."
            )

    def check(self, data: ImageData) -> None:
        check_length("task.positive_weights", self.positive_weights, data, "labels")

    def describe(self, data: ImageData, targets: Tensor, split: Split) -> dict[str, Any]:
        return {f"{split}_images_per_label": [int(n) for n in targets.sum(dim=0).tolist()]}

    def spread(self, data: ImageData) -> str:
        shares = (100 * data.train.labels.mean(dim=0)).tolist()
        return f"with {len(shares)} labels (each on {min(shares):.0f} to {max(shares):.0f} % of them)"


class AveragePrecisionPerLabel(MultilabelAveragePrecision):
    """The average precision of each label, `(labels,)`: NaN for one that no image has."""

    def __init__(self, labels: int) -> None:
        super().__init__(labels, average="none", validate_args=False)  # its checks would wait for the device

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Count a batch: logits and targets `(B, labels)`."""
        super().update(logits.float().sigmoid(), targets.long())

    def compute(self) -> Tensor:  # type: ignore[override]
        there = dim_zero_cat(self.target).bool().any(dim=0)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of labels that none has
            precisions = super().compute()
        assert isinstance(precisions, Tensor)
        return torch.where(there, precisions, torch.nan)


class MeanAveragePrecision(AveragePrecisionPerLabel):
    """The mean of the average precisions of the labels that there are images of."""

    def compute(self) -> Tensor:  # type: ignore[override]
        return super().compute().nanmean()
