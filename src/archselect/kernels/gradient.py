"""Gradients that are written by hand have no gradients themselves."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable

Backward = Callable[..., Any]


def first_order(backward: Backward) -> Backward:
    """Let the backward of an autograd function refuse second derivatives.

    `once_differentiable` alone refuses them only where the incoming gradient needs one, and takes this one for a
    constant elsewhere.
    """
    once: Backward = once_differentiable(backward)

    @wraps(backward)
    def checked(ctx: Any, *gradients: Any) -> Any:
        if torch.is_grad_enabled():  # in a backward pass: create_graph=True
            raise RuntimeError(
                "The kernels for CPUs have first derivatives only, but a backward pass with create_graph=True asks for "
                "the second. Take Hessian-vector products by finite differences of the gradient."
            )
        return once(ctx, *gradients)

    return checked
