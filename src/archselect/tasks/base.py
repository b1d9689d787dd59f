"""What a task is: what the targets are, what is lost on them, what is measured, and what a head must give.

One of your own is a subclass of `Task` that a file in `configs/task` names by its `_target_`; docs/guides/tasks.md has
one.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torchmetrics import Metric

from archselect.data import ImageData, Split
from archselect.results.metric import Mode
from archselect.utils.validation import POSITIVE_FLOAT, Constraint, check_fields

Reduction = Literal["mean", "sum"]
Weights = Literal["balanced"] | Sequence[float] | None
"""Of a loss: one number per class or label; `balanced`: found when the task is fitted; None: all weigh 1."""


@dataclass(frozen=True)
class Task(ABC):
    """What a network is trained for, on outputs `(B, outputs)` and the targets of the images that they are of.

    A task is stateless. What it has to know of the training images' targets, such as the weight of each class, is in
    the copy that `fitted` returns: training and scoring take that one.

    Attributes:
        name: Shown in folders and reports.
        metric: Key of the metric that results are judged by, such as `accuracy`.
        mode: Whether a larger (`max`) or a smaller (`min`) value of the metric is better.
    """

    metric: ClassVar[str]
    mode: ClassVar[Mode]

    name: str

    def __post_init__(self) -> None:
        check_fields(self, "task")

    @abstractmethod
    def outputs(self, data: ImageData) -> int:
        """Return how many numbers a network gives per image."""

    @abstractmethod
    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each image, `(B,)`, which is differentiable and waits for no device."""

    @abstractmethod
    def measures(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return numbers `(B,)`, one per image, whose mean is the metric."""

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the mean or the sum of `losses`."""
        losses = self.losses(outputs, targets)
        return losses.mean() if reduction == "mean" else losses.sum()

    def predictions(self, outputs: Tensor) -> Tensor:
        """Return what outputs say, such as probabilities, or numbers in the user's unit."""
        return outputs

    def metrics(self, outputs: int) -> Mapping[str, Metric]:
        """Return what is told of a validation and a test beside the metric, of networks with so many outputs.

        They are given outputs and targets. A metric whose value has a dimension, one number per class, is kept as a
        list; NaN stands for what is not known.
        """
        return {}

    def fitted(self, data: ImageData) -> Self:
        """Return the task with what it has to know of the training images' targets."""
        return self

    def learnt(self, fitted: "Task") -> dict[str, Any]:
        """Return the fields that `fitted` has put into a copy of this task, from which `restored` makes it again.

        Raises:
            ValueError: One is no plain data.
        """
        names = [field.name for field in fields(fitted) if field.init]
        found = {name: value for name in names if (value := getattr(fitted, name)) is not getattr(self, name, None)}
        for name, value in found.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"task={self.name}: fitted puts a {type(value).__name__} into {name}, which results cannot keep. "
                    "Put plain numbers or texts there, or tuples of them, such as tuple(values.tolist())."
                ) from error
        return found

    def restored(self, learnt: Mapping[str, Any]) -> Self:
        """Return the fitted task, given what `learnt` returned or JSON made of it: lists are tuples again."""
        try:
            return replace(self, **{name: _as_tuples(value) for name, value in learnt.items()})
        except TypeError as error:
            raise ValueError(f"task={self.name} cannot be restored from {dict(learnt)}: {error}.") from error

    def smoothed(self, label_smoothing: float) -> "Task":
        """Return the task with the labels smoothed in its loss; a ValueError says that it has no labels to smooth."""
        if label_smoothing:
            raise ValueError(
                f"evaluation.label_smoothing={label_smoothing} gives a share of a class's probability to the other "
                f"classes, but task={self.name} has no classes of which one is right. Use evaluation.label_smoothing=0."
            )
        return self

    def check_targets(self, data: ImageData, targets: Tensor, split: Split) -> None:  # noqa: B027
        """Raise a ValueError unless the targets of a split are such as this task has."""

    def check(self, data: ImageData) -> None:  # noqa: B027
        """Raise a ValueError where nothing can be learnt of the training images, or an option does not fit them."""

    def spread(self, data: ImageData) -> str:
        """Return what is said of the training images' targets in the line on the data."""
        return f"with targets ({listed_names(data)})"

    def describe(self, data: ImageData, targets: Tensor, split: Split) -> dict[str, Any]:
        """Return what results say of the targets of a split, as plain data whose names begin with the split's."""
        return {}


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def check_numbers(task: Task, data: ImageData, targets: Tensor, example: str) -> None:
    """Raise a ValueError unless targets are numbers `(N, D)`."""
    if targets.dim() != 2:
        raise ValueError(
            f"task={task.name} expects numbers as targets, but data={data.name} has a class per image "
            f"({listed_names(data)}). Name columns of numbers, data.source.label_column=[NAME,...], put a file "
            f"targets.csv beside the images of a folder, choose data such as {example}, or use task=classification."
        )


def listed_names(data: ImageData) -> str:
    """Return the names of the first classes or targets, for an error."""
    return ", ".join(data.class_names[:5]) + ", ..." * (len(data.class_names) > 5)


def check_length(option: str, values: object, data: ImageData, what: str) -> None:
    """Raise a ValueError unless numbers that are given one by one are as many as there are classes or targets."""
    if isinstance(values, Sequence) and not isinstance(values, str) and len(values) != data.classes:
        raise ValueError(
            f"{option} has {len(values)} numbers, but data={data.name} has {data.classes} {what} "
            f"({listed_names(data)}). Give one number for each, or null."
        )


def check_each(option: str, values: object, constraint: Constraint) -> None:
    """Raise a ValueError unless values are None or a list of which each is as a constraint says."""
    if not (values is None or _each(values, constraint)):
        raise ValueError(f"{option} must be null or a list in which each must {constraint.words}; got {values!r}.")


def check_weights(option: str, weights: object) -> None:
    """Raise a ValueError unless weights of a loss are `balanced`, None or numbers above 0."""
    if not (weights in (None, "balanced") or _each(weights, POSITIVE_FLOAT)):
        raise ValueError(f"{option} must be balanced, null or a list of numbers above 0; got {weights!r}.")


def weight_of(weights: Weights, like: Tensor) -> Tensor | None:
    """Return the weights of a loss as a tensor on the device of `like` and of its dtype; None: all weigh 1."""
    if weights is None:
        return None
    assert not isinstance(weights, str), "balanced weights are known once the task is fitted"
    return constant(tuple(weights), like.device, like.dtype)


def _each(values: object, constraint: Constraint) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(map(constraint.holds, values))


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers as a tensor on a device, to which they are copied once: a captured step cannot copy."""
    return torch.tensor(values, device=device, dtype=dtype)
