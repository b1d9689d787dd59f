"""The gradient of the validation loss in the architecture parameters."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.networks.supernet import Supernet

Batch = tuple[Tensor, Tensor]
"""Images `(B, 3, H, W)` and labels `(B,)`."""


class ArchitectureGradient(Protocol):
    """How a bilevel step gets the gradient in `alpha`; a search method without one leaves `alpha` alone."""

    def __call__(self, supernet: Supernet, weight_batch: Batch, architecture_batch: Batch) -> Sequence[Tensor]:
        """Return one gradient per architecture parameter."""
        ...


class FirstOrder:
    """`d L_val(w, alpha) / d alpha` at the current weights (DARTS, sec. 2.3: `xi = 0`)."""

    def __call__(self, supernet: Supernet, weight_batch: Batch, architecture_batch: Batch) -> Sequence[Tensor]:
        """Return one gradient per architecture parameter; gradients in the weights are not computed."""
        images, labels = architecture_batch
        with _constant(supernet.weight_parameters()):
            loss = F.cross_entropy(supernet(images), labels)
            # A cell type that is decided to be empty (`none` on every edge) is not in the graph: its gradient is zero.
            return torch.autograd.grad(loss, supernet.architecture_parameters(), materialize_grads=True)


@contextmanager
def _constant(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Let autograd take parameters as constants, so that it neither computes nor keeps anything for their gradients."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
