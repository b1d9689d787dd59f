"""The gradient of the validation loss in the architecture parameters: DARTS (Liu et al., ICLR 2019), eq. 5-8."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from archselect.data.loader import Batch, BilevelBatch
from archselect.models.restored_state import frozen_bn_stats
from archselect.models.supernet.supernet import Supernet
from archselect.tasks import Task
from archselect.training.step import gradients_of, mean_loss
from archselect.utils.validation import PositiveFloat, check_fields

Parameters = Sequence[nn.Parameter]


@dataclass(frozen=True)
class ArchitectureGradient(ABC):
    """How a bilevel step gets the gradient in `alpha`; a search method without one leaves `alpha` alone.

    Attributes:
        replayable: Whether a CUDA graph can record it: it depends on nothing but the tensors of the supernet and of the
            batch.
    """

    replayable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_fields(self, "search.architecture_gradient")

    def check(self, weight_optimizer: Optimizer) -> None:  # noqa: B027
        """Raise a ValueError unless the gradient can be taken with such an optimizer of the weights."""

    @abstractmethod
    def __call__(
        self, supernet: Supernet, batch: BilevelBatch, task: Task, weight_optimizer: Optimizer | None
    ) -> Sequence[Tensor]:
        """Return one gradient per architecture parameter, at the present weights and `alpha`; all ends as it was.

        `weight_optimizer` is that of `supernet.weight_parameters()`, in their order.
        """


@dataclass(frozen=True)
class FirstOrder(ArchitectureGradient):
    """`d L_val(w, alpha) / d alpha` at the present weights (DARTS, eq. 6 with `xi = 0`).

    Attributes:
        batch: `architecture`: the loss on the batch that trains no weights; `weight`: on the batch that trains them, so
            that weights and `alpha` minimise one loss (SNAS).
    """

    batch: Literal["architecture", "weight"] = "architecture"

    def __call__(
        self, supernet: Supernet, batch: BilevelBatch, task: Task, weight_optimizer: Optimizer | None
    ) -> Sequence[Tensor]:
        with no_grad_for(supernet.weight_parameters()):
            loss = _loss(supernet, task, batch.architecture if self.batch == "architecture" else batch.weights)
            # A cell type that is decided to be empty (`none` on every edge) is not in the graph: its gradient is zero.
            return gradients_of(loss, supernet.architecture_parameters())


@dataclass(frozen=True)
class Unrolled(ArchitectureGradient):
    """The gradient through one step of the weights (DARTS, eq. 7-8); costs a weight step and two `alpha` steps more.

    With `w' = w - xi * v` the step that the weights' optimizer is about to make (momentum and weight decay included),
    `d L_val(w', alpha) / d alpha - xi * d^2 L_train(w, alpha) / d alpha d w * d L_val(w', alpha) / d w'`. The product
    with the second derivative is the difference of `d L_train / d alpha` at `w + e g` and `w - e g`, where g is
    `d L_val / d w'` and `e = step / |g|`.
    """

    step: PositiveFloat

    replayable = False

    def check(self, weight_optimizer: Optimizer) -> None:
        _check_sgd(weight_optimizer)

    def __call__(
        self, supernet: Supernet, batch: BilevelBatch, task: Task, weight_optimizer: Optimizer | None
    ) -> Sequence[Tensor]:
        losses = partial(_loss, supernet, task, batch.weights), partial(_loss, supernet, task, batch.architecture)
        parameters = supernet.weight_parameters(), supernet.architecture_parameters()
        with frozen_bn_stats(supernet):
            return unrolled_gradient(*losses, *parameters, weight_optimizer, self.step)


def _loss(supernet: Supernet, task: Task, batch: Batch) -> Tensor:
    images, targets = batch
    return mean_loss(task, supernet(images, supernet.sampled_weights()), targets)


def unrolled_gradient(
    train_loss: Callable[[], Tensor],
    val_loss: Callable[[], Tensor],
    weights: Parameters,
    alphas: Parameters,
    optimizer: Optimizer | None,
    step: float,
) -> list[Tensor]:
    """Return the gradient of `val_loss` in `alphas` at the weights after one step on `train_loss`; see `Unrolled`.

    Both losses are evaluated at the present values of the parameters. The weights move while this runs, and end as they
    were, to the last bit.
    """
    before = [weight.detach().clone() for weight in weights]
    with no_grad_for(alphas):
        gradients = gradients_of(train_loss(), weights)
    xi, directions, shares = next_step(optimizer, weights, gradients)
    try:
        _move(weights, before, directions, -xi)
        both = gradients_of(val_loss(), [*alphas, *weights])
        in_alphas, in_weights = both[: len(alphas)], both[len(alphas) :]
        in_gradients = [share * gradient for share, gradient in zip(shares, in_weights, strict=True)]
        norm = torch.stack([gradient.norm() for gradient in in_gradients]).norm()
        epsilon = step / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        sides = []
        for sign in (1, -1):
            _move(weights, before, in_gradients, sign * epsilon)
            with no_grad_for(weights):
                sides.append(gradients_of(train_loss(), alphas))
    finally:
        with torch.no_grad():
            for weight, start in zip(weights, before, strict=True):
                weight.copy_(start)
    return [
        gradient - xi * (plus - minus) / (2 * epsilon) for gradient, plus, minus in zip(in_alphas, *sides, strict=True)
    ]


@torch.no_grad()
def _move(weights: Parameters, origin: Sequence[Tensor], directions: Sequence[Tensor], length: float | Tensor) -> None:
    """Set the weights to `origin + length * directions`."""
    for weight, start, direction in zip(weights, origin, directions, strict=True):
        weight.copy_(start).add_(length * direction)


def next_step(
    optimizer: Optimizer | None, weights: Parameters, gradients: Sequence[Tensor]
) -> tuple[float, list[Tensor], list[float]]:
    """Return the learning rate `xi` and the directions `v` of the step that SGD would make, unclipped.

    The third value says how much of a weight's gradient its direction contains: 1, unless the momentum is dampened or
    Nesterov's. A ValueError says that the optimizer is not SGD, whose step this is.
    """
    sgd = _check_sgd(optimizer)
    group: dict[str, Any] = sgd.param_groups[0]
    directions, shares = [], []
    for weight, gradient in zip(weights, gradients, strict=True):
        direction, share = gradient + group["weight_decay"] * weight.detach(), 1.0
        if group["momentum"]:
            momentum, into_momentum = direction, 1.0
            buffer = sgd.state[weight].get("momentum_buffer")
            if buffer is not None:
                into_momentum = 1 - group["dampening"]
                momentum = group["momentum"] * buffer + into_momentum * direction
            if group["nesterov"]:
                direction, share = direction + group["momentum"] * momentum, 1 + group["momentum"] * into_momentum
            else:
                direction, share = momentum, into_momentum
        directions.append(direction)
        shares.append(share)
    return float(group["lr"]), directions, shares


def _check_sgd(optimizer: Optimizer | None) -> SGD:
    if not isinstance(optimizer, SGD):
        raise ValueError(
            "search.architecture_gradient=Unrolled unrolls a step of SGD, but search.weight_optimizer is "
            f"{type(optimizer).__name__}. Use torch.optim.SGD, or archselect.search.FirstOrder."
        )
    return optimizer


@contextmanager
def no_grad_for(parameters: Parameters) -> Iterator[None]:
    """Let autograd take parameters as constants, so that it neither computes nor keeps anything for their gradients."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
