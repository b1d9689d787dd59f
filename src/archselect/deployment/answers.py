"""What a network's outputs say, task by task: the columns of a table, and what is true of an image as a target."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from archselect.tasks import Classification, Multilabel, Task

SEPARATOR = ";"
"""Between the labels of an image."""


def answer(task: Task, prediction: Sequence[float], classes: Sequence[str]) -> dict[str, Any]:
    """Return what is told of an image, by column.

    Args:
        task: Of the network.
        prediction: What `task.predictions` gives: probabilities, or numbers in the user's unit.
        classes: The names of the classes, labels or targets.
    """
    if isinstance(task, Classification):
        best = max(range(len(prediction)), key=prediction.__getitem__)
        return {"class": classes[best], "probability": prediction[best]}
    if isinstance(task, Multilabel):
        there = [name for name, value in zip(classes, prediction, strict=True) if value >= task.threshold]
        return {"labels": SEPARATOR.join(there)}
    return dict(zip(_columns(classes, len(prediction)), prediction, strict=True))


def probabilities(task: Task, prediction: Sequence[float], classes: Sequence[str]) -> dict[str, float]:
    """Return a column for the probability of each class or label; none where the task has none."""
    if not isinstance(task, Classification | Multilabel):
        return {}
    return {f"p({name})": value for name, value in zip(classes, prediction, strict=True)}


def target(task: Task, row: Mapping[str, str], classes: Sequence[str]) -> Tensor:
    """Return what a row of a table says is true of an image, in the columns that `answer` has.

    Raises:
        ValueError: A column is missing, or names something that the network does not know.
    """
    if isinstance(task, Classification):
        return torch.tensor(_number(_column(row, "class"), classes))
    if isinstance(task, Multilabel):
        there = [_number(name, classes) for name in _column(row, "labels").split(SEPARATOR) if name]
        return torch.tensor([float(number in there) for number in range(len(classes))])
    return torch.tensor([float(_column(row, name)) for name in _columns(classes, len(classes))])


def true_answer(task: Task, target: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """Return what is true of an image, as `answer` tells it."""
    if target.dim() == 0:
        return {"class": classes[int(target)]}
    return answer(task, target.tolist(), classes)


def answer_in_words(told: Mapping[str, Any]) -> str:
    """Return an answer in a line."""
    said = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in told.values()]
    return ", ".join(said)


def _columns(names: Sequence[str], count: int) -> list[str]:
    """Return the columns of so many numbers: those of the targets, or, where there are others, by number.

    None is called as a table calls what else it holds, the image's `file` and `true_...`.
    """
    if len(names) != count:
        return [f"prediction {number}" for number in range(count)]
    return [f"target_{name}" if name == "file" or name.startswith("true_") else name for name in names]


def _column(row: Mapping[str, str], name: str) -> str:
    if row.get(name) is None:
        raise ValueError(f"it has no column {name!r} for what is true of an image; it has {', '.join(row)}.")
    return row[name]


def _number(name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        raise ValueError(f"it names {name!r}, which the network does not know; it knows {', '.join(classes)}.")
    return classes.index(name)
