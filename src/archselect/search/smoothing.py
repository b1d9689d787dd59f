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

    It grows from `first` to `last`, which a selection tunes with. The last epoch has it too if it is the `endpoint`, as
    in `numpy.linspace`; otherwise epoch k of N lies at k / N, as in the authors' code (SmoothDARTS,
    sota/cnn/train_search.py).
    """

    first: NonNegativeFloat
    last: NonNegativeFloat
    endpoint: bool

    def __post_init__(self) -> None:
        check_fields(self, "search.smoothing")

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
            loss: Of the step under given weights, of several processes each one's part; it moves no statistics.
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
    are those of training, with the statistics of the batch (the authors' code attacks in evaluation mode). Each step
    costs about as much as one of the weights. An operation that the ascent has brought to weight 0 comes back unless
    `revive` is false, as in DARTS-PT's copy, where it has no gradient (sota/cnn/model_search.py, `MixedOp`).
    """

    steps: PositiveInt
    revive: bool

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
    with drawn_alike():
        noise = {cell: torch.empty_like(row).uniform_(-epsilon, epsilon) for cell, row in weights.items()}
    return {cell: _projected(row + noise[cell], row, mixed[cell]) for cell, row in weights.items()}


def _projected(moved: Tensor, before: Tensor, mixed: Tensor) -> Tensor:
    """Return what was moved, within `[0, 1]` and with the sums of before.

    Edges that are decided, or on which no operation would keep weight, stay where they were.
    """
    inside = moved.clamp(0, 1) * (before != 0)  # what is not evaluated stays so
    total = inside.sum(dim=1, keepdim=True)
    scale = before.sum(dim=1, keepdim=True) / total.clamp_min(torch.finfo(inside.dtype).tiny)
    return torch.where((mixed > 0) & (total > 0), inside * scale, before)
