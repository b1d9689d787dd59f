"""Regression: the targets are numbers (squared, absolute or Huber error; mean absolute error)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, R2Score

from archselect.data import ImageData, Split
from archselect.tasks.base import Task, check_each, check_length, check_numbers, constant
from archselect.utils.validation import FINITE_FLOAT, POSITIVE_FLOAT, PositiveFloat


@dataclass(frozen=True)
class Regression(Task):
    """Targets are numbers, `(B, D)` float32, in a unit of the user's; outputs are `(B, D)`, standardised.

    A network learns targets of mean 0 and standard deviation 1, so that no unit asks for another learning rate. The
    loss is that of the standardised targets; the metric is in the user's unit, a mean over the D.

    Attributes:
        error: What is lost; `huber` is squared up to `huber_delta` standard deviations, and linear from there on.
        mean: Of each target, by which it is standardised; None: of the training images.
        std: Likewise.
    """

    metric = "mean_absolute_error"
    mode = "min"

    name: str = "regression"
    error: Literal["squared", "absolute", "huber"] = "squared"
    huber_delta: PositiveFloat = 1.0
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_each("task.mean", self.mean, FINITE_FLOAT)
        check_each("task.std", self.std, POSITIVE_FLOAT)

    def outputs(self, data: ImageData) -> int:
        return data.classes

    def standardised(self, targets: Tensor) -> Tensor:
        """Return targets as a network learns them."""
        mean, std = self._scale(targets)
        return (targets - mean) / std

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._errors(outputs, self.standardised(targets).to(outputs.dtype)).mean(dim=1)

    def _errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.error == "huber":
            return F.huber_loss(outputs, targets, reduction="none", delta=self.huber_delta)
        error = F.mse_loss if self.error == "squared" else F.l1_loss
        return error(outputs, targets, reduction="none")

    def measures(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (self.predictions(outputs) - targets).abs().mean(dim=1)

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return the targets that outputs stand for, in the user's unit."""
        mean, std = self._scale(outputs)
        return outputs * std + mean

    def metrics(self, outputs: int) -> Mapping[str, Metric]:
        return {"r2": R2(self)}

    def fitted(self, data: ImageData) -> Self:
        targets = data.train.labels.double()
        mean, std = targets.mean(dim=0), targets.std(dim=0, correction=0)
        return replace(self, mean=tuple(self.mean or mean.tolist()), std=tuple(self.std or std.tolist()))

    def check_targets(self, data: ImageData, targets: Tensor, split: Split) -> None:
        check_numbers(self, data, targets, "data=digits_rotated")

    def check(self, data: ImageData) -> None:
        check_length("task.mean", self.mean, data, "targets")
        check_length("task.std", self.std, data, "targets")
        same = (data.train.labels == data.train.labels[0]).all(dim=0).tolist()
        if self.std is None and True in same:
            raise ValueError(
                f"All training images of data={data.name} have the same {data.class_names[same.index(True)]!r}, so "
                "nothing can be learnt of it. Leave this target out, or give images of which it differs."
            )

    def describe(self, data: ImageData, targets: Tensor, split: Split) -> dict[str, Any]:
        if split == "test":
            return {}
        assert self.mean is not None and self.std is not None, "a fitted task"
        return {"target_mean": list(self.mean), "target_std": list(self.std)}

    def spread(self, data: ImageData) -> str:
        targets = data.train.labels
        lowest, highest = targets.amin(dim=0).tolist(), targets.amax(dim=0).tolist()
        ranges = [f"{name}: {a:g} to {b:g}" for name, a, b in zip(data.class_names, lowest, highest, strict=True)]
        return (
            f"with {len(ranges)} target{'s' * (len(ranges) > 1)} ({', '.join(ranges[:5])}{', ...' * (len(ranges) > 5)})"
        )

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        assert self.mean is not None and self.std is not None, "mean and std are known once the task is fitted"
        return constant(tuple(self.mean), like.device), constant(tuple(self.std), like.device)


class R2(R2Score):
    """The share of the targets' variance that is explained, a mean over the targets (coefficient of determination)."""

    def __init__(self, task: Regression) -> None:
        super().__init__()
        self.task = task

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch: outputs and targets `(B, D)`; sums of squares of large targets would drown in rounding."""
        super().update(outputs.float(), self.task.standardised(targets))

    def compute(self) -> Tensor:
        """Return the share; of fewer than two images there is no variance, and it is NaN."""
        return super().compute() if self.total > 1 else torch.tensor(torch.nan, device=self.device)
