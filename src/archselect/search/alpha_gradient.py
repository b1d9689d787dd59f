"""The gradient of the validation loss in the architecture parameters."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from archselect.models.restored_state import frozen_bn_stats
from archselect.models.supernet.supernet import Supernet
from archselect.training.step import cross_entropy, gradients_of
from archselect.utils.validation import POSITIVE_FLOAT, one_of

Batch = tuple[Tensor, Tensor]
"""Images `(B, 3, H, W)` and labels `(B,)`."""


@dataclass(frozen=True)
class BilevelStep:
    """What a gradient of `alpha` may look at.

    Attributes:
        supernet: At the current weights and `alpha`.
        weight_batch: The batch that the weights will be updated on.
        architecture_batch: A batch of the other half of the data.
        weight_optimizer: Of the weights, in the order of `supernet.weight_parameters()`; read by `Unrolled` only.
    """

    supernet: Supernet
    weight_batch: Batch
    architecture_batch: Batch
    weight_optimizer: Optimizer | None


class ArchitectureGradient(Protocol):
    """How a bilevel step gets the gradient in `alpha`; a search method without one leaves `alpha` alone.

    Attributes:
        replayable: Whether a CUDA graph can record it: it depends on nothing but the tensors of the supernet and of the
            two batches.
    """

    @property
    def replayable(self) -> bool: ...

    def __call__(self, step: BilevelStep) -> Sequence[Tensor]:
        """Return one gradient per architecture parameter."""
        ...


@dataclass(frozen=True)
class FirstOrder:
    """`d L(w, alpha) / d alpha` at the current weights (DARTS, sec. 2.3: `xi = 0`).

    Attributes:
        batch: `architecture`: the loss on the half of the data that trains no weights; `weight`: on the batch that
            trains them, so that weights and `alpha` minimise one loss (SNAS).
    """

    batch: Literal["architecture", "weight"] = "architecture"

    replayable = True

    def __post_init__(self) -> None:
        one_of(("architecture", "weight")).check("search.architecture_gradient.batch", self.batch)

    def __call__(self, step: BilevelStep) -> Sequence[Tensor]:
        """Return one gradient per architecture parameter; gradients in the weights are not computed."""
        images, labels = step.architecture_batch if self.batch == "architecture" else step.weight_batch
        supernet = step.supernet
        with no_grad_for(supernet.weight_parameters()):
            loss = cross_entropy(supernet(images, supernet.sampled_weights()), labels)
            # A cell type that is decided to be empty (`none` on every edge) is not in the graph: its gradient is zero.
            return gradients_of(loss, supernet.architecture_parameters())


@dataclass(frozen=True)
class Unrolled:
    """The gradient through one step of the weights (DARTS, eq. 7-8).

    With `w' = w - xi * v` the step that the weights' optimizer is about to make (momentum and weight decay included),
    `d L_val(w', alpha) / d alpha - xi * d^2 L_train(w, alpha) / d alpha d w * d L_val(w', alpha) / d w'`. The product
    with the second derivative is the difference of `d L_train / d alpha` at `w + e g` and `w - e g`, where g is
    `d L_val / d w'` and `e = step / |g|`.

    Attributes:
        step: Length of the two steps of the difference, 0.01 in DARTS (footnote 2).
    """

    step: float = 0.01

    replayable = False

    def __post_init__(self) -> None:
        POSITIVE_FLOAT.check("search.architecture_gradient.step", self.step)

    def __call__(self, step: BilevelStep) -> Sequence[Tensor]:
        """Return one gradient per architecture parameter. Costs a weight step and two steps of `alpha` more."""
        supernet = step.supernet

        def loss_on(batch: Batch) -> Callable[[], Tensor]:
            images, labels = batch
            return lambda: cross_entropy(supernet(images, supernet.sampled_weights()), labels)

        with frozen_bn_stats(supernet):
            return unrolled_gradient(
                loss_on(step.weight_batch),
                loss_on(step.architecture_batch),
                supernet.weight_parameters(),
                supernet.architecture_parameters(),
                lambda weights, gradients: next_step(step.weight_optimizer, weights, gradients),
                self.step,
            )


Losses = Callable[[], Tensor]
NextStep = Callable[[Sequence[nn.Parameter], Sequence[Tensor]], tuple[float, Sequence[Tensor], Sequence[float]]]
"""(weights, their gradients) -> (xi, the directions v, how much of its gradient each of them contains)."""


def unrolled_gradient(
    train_loss: Losses,
    val_loss: Losses,
    weights: Sequence[nn.Parameter],
    alphas: Sequence[nn.Parameter],
    next_step: NextStep,
    step: float,
) -> list[Tensor]:
    """Return the gradient of `val_loss` at the weights after one step on `train_loss`; see `Unrolled`.

    Args:
        train_loss: Evaluates it at the present values of the parameters.
        val_loss: Likewise.
        weights: Moved while this runs; they end as they were, to the last bit.
        alphas: What the gradient is taken in.
        next_step: The step that the optimizer would make.
        step: Length of the steps of the finite difference.
    """
    before = [weight.detach().clone() for weight in weights]
    with no_grad_for(alphas):
        gradients = gradients_of(train_loss(), weights)
    xi, directions, shares = next_step(weights, gradients)
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
        _move(weights, before, before, 0.0)
    return [
        gradient - xi * (plus - minus) / (2 * epsilon) for gradient, plus, minus in zip(in_alphas, *sides, strict=True)
    ]


def next_step(
    optimizer: Optimizer | None, weights: Sequence[nn.Parameter], gradients: Sequence[Tensor]
) -> tuple[float, list[Tensor], list[float]]:
    """Return the learning rate and the directions of the step that SGD would make, unclipped.

    The third value says how much of a weight's gradient its direction contains: 1, unless the momentum is dampened or
    Nesterov's.

    Raises:
        ValueError: The optimizer is not SGD, whose step this is.
    """
    optimizer = check_unrolled(optimizer)
    group: dict[str, Any] = optimizer.param_groups[0]
    directions, shares = [], []
    for weight, gradient in zip(weights, gradients, strict=True):
        direction, share = gradient + group["weight_decay"] * weight.detach(), 1.0
        if group["momentum"]:
            momentum, into_momentum = direction, 1.0
            buffer = optimizer.state[weight].get("momentum_buffer")
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


def check_unrolled(optimizer: Optimizer | None) -> torch.optim.SGD:
    """Return the optimizer; raise a ValueError unless it is SGD, whose step can be unrolled."""
    if not isinstance(optimizer, torch.optim.SGD):
        raise ValueError(
            "search.architecture_gradient=Unrolled unrolls a step of SGD, but search.weight_optimizer is "
            f"{type(optimizer).__name__}. Use torch.optim.SGD, or archselect.search.FirstOrder."
        )
    return optimizer


def _move(
    weights: Sequence[nn.Parameter], origin: Sequence[Tensor], directions: Sequence[Tensor], length: float | Tensor
) -> None:
    """Set the weights to `origin + length * directions`; to the origin itself if the length is 0."""
    with torch.no_grad():
        for weight, start, direction in zip(weights, origin, directions, strict=True):
            weight.copy_(start)
            if isinstance(length, Tensor) or length:
                weight.add_(length * direction)


@contextmanager
def no_grad_for(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let autograd take parameters as constants, so that it neither computes nor keeps anything for their gradients."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
