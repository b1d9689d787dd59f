"""How much memory a training step takes, told from its shapes on PyTorch's meta device: nothing is computed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from archselect import kernels
from archselect.costs.count import CostCounter

SAMPLE = 1024
"""Weights of a sample, by which an optimizer shows how much it remembers of each."""


@dataclass(frozen=True)
class TrainingMemory:
    """The bytes of a training step in float32 by PyTorch's own operators.

    The workspace of kernels, and what an allocator keeps besides, come on top: 20 to 60 % more on a CPU.

    Attributes:
        network: Weights and buffers.
        optimizer: A gradient for every weight, and what the optimizer remembers of it.
        activations: The batch, and the most that is kept of it for the gradients at one time.
    """

    network: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.network + self.optimizer + self.activations


def training_memory(
    network: nn.Module,
    evaluate: Callable[[Tensor], Tensor],
    images: tuple[int, int, int, int],
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    backward: bool = False,
) -> TrainingMemory:
    """Return what a step takes on a batch of `images`, `(B, C, H, W)`.

    Args:
        network: On the meta device, in training mode.
        evaluate: Returns what the gradients are taken of; what the network keeps for them is counted.
        optimizer: Makes the optimizer of some parameters.
        backward: Whether the gradients are taken too. That takes twice as long, and is needed where the network
            evaluates a part of itself again while they are taken; otherwise memory only shrinks from there on.
    """
    kept = [*network.parameters(), *network.buffers()]
    size = sum(tensor.nbytes for tensor in kept)
    trained = sum(weight.nbytes for weight in network.parameters())
    with torch.device("meta"), kernels.disabled(), CostCounter(kept) as counter:
        outputs = evaluate(torch.empty(images))
        if backward:
            torch.autograd.grad(outputs.sum(), [*network.parameters()], allow_unused=True)
        del outputs
    return TrainingMemory(size, round(trained * (1 + _remembered(optimizer))), counter.peak_bytes)


def _remembered(make: Callable[[Iterable[nn.Parameter]], Optimizer]) -> float:
    """Return how many bytes an optimizer remembers of a weight, per byte of the weight."""
    weights = nn.Parameter(torch.zeros(SAMPLE))
    optimizer = make([weights])
    weights.grad = torch.zeros(SAMPLE)
    optimizer.step()
    states: list[dict[str, Any]] = list(optimizer.state.values())
    tensors = [value for state in states for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.nbytes for tensor in tensors if tensor.shape == weights.shape) / weights.nbytes
