"""Smoothing: in its own step, a weight sees mixtures around the present one, so that it is good for all of them.

SDARTS (Chen & Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based Regularization", ICML 2020,
arXiv 2002.05283): `min_w L_train(w, softmax(alpha) + d)` with random noise d (RS) or the worst d in a ball (ADV).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from archselect.distributed.process_group import all_reduce
from archselect.distributed.rng import drawn_alike
from archselect.models.supernet.mixture import MixtureWeights
from archselect.training.step import gradients_of
from archselect.utils.validation import NonNegativeFloat, PositiveInt, check_fields

Loss = Callable[[MixtureWeights], Tensor]


@dataclass(frozen=True)
class Smoothing(ABC):
    """Moves every mixture weight that a weight step evaluates by e at most; e grows linearly in the course of a search.

    Attributes:
        first: e in the first epoch.
        last: e after the last epoch, from where on a selection tunes.
        endpoint: Whether the last epoch has this e too, as in `numpy.linspace`; otherwise epoch k of N lies at k / N,
            so that the last of 50 epochs has e = 0.2946, as in the authors' code (SmoothDARTS,
            sota/cnn/train_search.py; DARTS-PT tunes with 0.3).
    """

    first: NonNegativeFloat = 0.03
    last: NonNegativeFloat = 0.3
    endpoint: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "search.smoothing")

    @property
    def is_scheduled(self) -> bool:
        """Whether it changes in the course of a search."""
        return self.first != self.last

    def at(self, progress: float) -> Self:
        """Return the smoothing at a moment of a search, from 0, its first epoch, to 1, its end."""
        epsilon = self.first + (self.last - self.first) * progress
        return replace(self, first=epsilon, last=epsilon)

    @abstractmethod
    def __call__(self, weights: MixtureWeights, mixed: Mapping[str, Tensor], loss: Loss) -> MixtureWeights:
        """Return the weights to take the step at.

        Args:
            weights: The present mixture, as constants.
            mixed: Per cell type `(edges, operations)`, 1 for the candidates of undecided edges and 0 elsewhere.
            loss: The loss of the step under given weights, of several processes each one's part. Evaluating it moves no
                statistics.
        """


@dataclass(frozen=True)
class RandomSmoothing(Smoothing):
    """Uniform noise in `[-e, e]` on every mixture weight, clamped to `[0, 1]` and scaled to the edge's former sum."""

    def __call__(self, weights: MixtureWeights, mixed: Mapping[str, Tensor], loss: Loss) -> MixtureWeights:
        return weights.replaced(_with_noise(weights, mixed, self.first))


@dataclass(frozen=True)
class AdversarialSmoothing(Smoothing):
    """The worst mixture that is found within e of the present one, by sign ascent on the loss.

    From a random start, `steps` steps of `2 e / steps` along the gradient's sign, each followed by a projection onto
    the ball, onto `[0, 1]` and to the edge's former sum. If the loss did not rise, the mixture stays as it was. Losses
    are those of training, with the statistics of the batch (the authors' code attacks in evaluation mode).

    Attributes:
        steps: Of the ascent. Each costs about as much as a step of the weights.
        revive: Whether an operation that the ascent has brought to weight 0 may come back, as in the authors' code. In
            DARTS-PT's copy it has no gradient (sota/cnn/model_search.py, `MixedOp`) and stays at 0.
    """

    steps: PositiveInt = 7
    revive: bool = True

    def __call__(self, weights: MixtureWeights, mixed: Mapping[str, Tensor], loss: Loss) -> MixtureWeights:
        epsilon = self.first
        moved = _with_noise(weights, mixed, epsilon)
        for _ in range(self.steps):
            at = {cell: value.detach().requires_grad_() for cell, value in moved.items()}
            gradients = gradients_of(loss(weights.replaced(at)), list(at.values()))
            for cell, gradient in zip(weights, gradients, strict=True):
                start = at[cell].detach()
                step = gradient.sign() * (2 * epsilon / self.steps)
                if not self.revive:
                    step = step * (start != 0)
                offset = (start + step - weights[cell]).clamp(-epsilon, epsilon)
                moved[cell] = _projected(weights[cell] + offset, weights[cell], mixed[cell])
        with torch.no_grad():
            worst, present = all_reduce(torch.stack([loss(weights.replaced(moved)), loss(weights)]))
        return weights.replaced({cell: torch.where(worst > present, moved[cell], weights[cell]) for cell in weights})


def _with_noise(weights: MixtureWeights, mixed: Mapping[str, Tensor], epsilon: float) -> dict[str, Tensor]:
    return {cell: _projected(row + _noise(row, epsilon), row, mixed[cell]) for cell, row in weights.items()}


def _noise(like: Tensor, epsilon: float) -> Tensor:
    with drawn_alike():
        return torch.empty_like(like).uniform_(-epsilon, epsilon)


def _projected(moved: Tensor, before: Tensor, mixed: Tensor) -> Tensor:
    """Return what was moved, within `[0, 1]` and with the sums of before.

    Decided edges stay where they were, and so do edges on which no operation would keep weight.
    """
    inside = moved.clamp(0, 1) * (before != 0)  # what is not evaluated stays so
    total = inside.sum(dim=1, keepdim=True)
    scale = before.sum(dim=1, keepdim=True) / total.clamp_min(torch.finfo(inside.dtype).tiny)
    return torch.where((mixed > 0) & (total > 0), inside * scale, before)
