"""Gradients of a loss that may not depend on what they are taken in.

Where every path from the images to the logits leads through `none` (a draw of GDAS, a decided cell), the loss of a step
does not depend on `alpha` at all. PyTorch refuses to differentiate it; its gradient is zero. This is the one place that
calls `torch.autograd.grad`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def gradients_of(
    loss: Tensor,
    inputs: Sequence[Tensor],
    *,
    allow_unused: bool = False,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> list[Any]:
    """Return the gradient of a scalar loss in every input: zeros in those that it does not depend on.

    Args:
        loss: Computed with gradients enabled.
        inputs: Leaves, or what the loss was computed from.
        allow_unused: Return None in place of these zeros, so that an optimizer leaves such a parameter alone.
        create_graph: See `torch.autograd.grad`.
        retain_graph: See `torch.autograd.grad`.
    """
    if not loss.requires_grad:
        assert torch.is_grad_enabled(), "a loss without gradients would look like one that depends on nothing"
        return [None if allow_unused else torch.zeros_like(tensor) for tensor in inputs]
    return list(
        torch.autograd.grad(
            loss,
            inputs,
            allow_unused=True,
            materialize_grads=not allow_unused,
            create_graph=create_graph,
            retain_graph=retain_graph,
        )
    )
