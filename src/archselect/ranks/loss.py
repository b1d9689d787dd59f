"""Means over a batch that is spread over the processes, and their gradients.

A loss is the mean over the whole batch. Each process holds the part of that mean which its own images make, whatever
their number, so the sum over the processes is the loss, and the sum of their gradients is its gradient. `gradients` is
the one place where gradients are added up.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from archselect.gradients import gradients_of
from archselect.ranks.group import several, summed, total


def mean(values: Tensor) -> Tensor:
    """Return this process's part of the mean over the whole batch of `values`, `(B,)`; with one process, the mean."""
    return values.sum() / _images(len(values), values.device) if several() else values.mean()


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return this process's part of the mean cross-entropy over the whole batch; with one process, that mean.

    Args:
        logits: `(B, classes)`.
        labels: `(B,)`.
        label_smoothing: In `[0, 1]`.
    """
    if not several():
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    own = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing)
    return own / _images(len(labels), logits.device)


def gradients(loss: Tensor, inputs: Sequence[Tensor], *, allow_unused: bool = False) -> list[Any]:
    """Return the gradients of a loss of which each process holds a part: see `gradients_of`.

    Every process must call this: whether a loss depends on an input is the same in all of them, since they share what
    they draw and decide.
    """
    return summed(gradients_of(loss, inputs, allow_unused=allow_unused))


def _images(own: int, device: torch.device) -> Tensor:
    return total(torch.tensor(float(own), device=device))
