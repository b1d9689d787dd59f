"""A step of an optimizer with gradients that were computed by hand or replayed."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_


def optimizer_step(
    optimizer: Any, parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None], clip: float | None = None
) -> None:
    """Step along gradients, one per parameter (None: it has none), clipped to a norm.

    Args:
        optimizer: Lightning's wrapper of an optimizer of these parameters.
        parameters: What the gradients belong to.
        gradients: Of the loss.
        clip: Largest norm of all gradients together; None: they are not clipped.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if clip is not None:
        clip_grad_norm_(parameters, clip)
    optimizer.step()
    optimizer.zero_grad()
