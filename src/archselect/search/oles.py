"""OLES (Jiang et al., "Operation-Level Early Stopping for Robustifying Differentiable NAS", NeurIPS 2023)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from archselect.models.supernet.mixed_ops import OwnModules, StackedOperation
from archselect.models.supernet.stacked_parameters import StackedWeight
from archselect.models.supernet.supernet import Supernet
from archselect.utils.validation import FiniteFloat, PositiveInt, check_fields


@dataclass(frozen=True)
class GradientMatching:
    """An operation stops training when its gradients on the two halves of the data point different ways.

    Of every operation on every edge of every cell, the cosine between the gradient of its weights on the batch that
    trains weights and on the one that trains `alpha` is averaged over `interval` steps. Below `threshold` its
    weights stay as they are from then on: what it would still learn is how to overfit. Costs one more gradient a step.
    (The authors' code averages cosines over the channels and tensors of an operation; here it is one cosine over all
    its weights.)
    """

    threshold: FiniteFloat
    interval: PositiveInt

    def __post_init__(self) -> None:
        check_fields(self, "search.freezing")

    def start(self, supernet: Supernet) -> "FrozenOperations":
        return FrozenOperations(self, supernet)


class _Stack(NamedTuple):
    """An operation on several edges out of one state of one cell, whose weights are stacked."""

    weights: Sequence[nn.Parameter]  # each (edges * ..., ...)
    numbers: Sequence[int]  # of these among the weights of the supernet
    edges: int
    rows: slice  # where these operations stand among all

    def gradients(self, of_all: Sequence[Tensor | None]) -> Tensor | None:
        """Return the gradients of the stack, `(edges, weights of an operation)`; None if it was decided away."""
        own = [of_all[number] for number in self.numbers]
        rows = [gradient.reshape(self.edges, -1) for gradient in own if gradient is not None]
        return torch.cat(rows, dim=1) if len(rows) == len(own) else None


class FrozenOperations(nn.Module):
    """Which operations of a supernet are frozen, and how well the gradients of the others have matched lately.

    Raises:
        ValueError: No operation has weights, so there is nothing to freeze.
    """

    # Of every operation on every edge of every cell, (operations,):
    cosines: Tensor  # their sums since the interval began
    counts: Tensor  # the steps that these are the sums of
    frozen: Tensor  # whether it is

    def __init__(self, rule: GradientMatching, supernet: Supernet) -> None:
        super().__init__()
        self.rule = rule
        self._stacks = list(_stacks(supernet))
        if not self._stacks:
            raise ValueError(
                "search.freezing ends the training of single operations, but no operation of this search space has "
                "weights. Leave search.freezing out, or offer convolutions in search_space.operations."
            )
        operations = self._stacks[-1].rows.stop
        self.register_buffer("cosines", torch.zeros(operations))
        self.register_buffer("counts", torch.zeros(operations))
        self.register_buffer("frozen", torch.zeros(operations, dtype=torch.bool))
        self._steps = 0

    @property
    def frozen_share(self) -> float:
        return int(self.frozen.sum()) / len(self.frozen)

    @torch.no_grad()
    def observe(self, training: Sequence[Tensor | None], validation: Sequence[Tensor | None]) -> None:
        """Take the gradients of a step, one per weight parameter (None: it has none), and freeze if it is time to."""
        for stack in self._stacks:
            ours, theirs = stack.gradients(training), stack.gradients(validation)
            if ours is not None and theirs is not None:
                lengths = ours.norm(dim=1) * theirs.norm(dim=1)
                known = lengths > 0
                self.cosines[stack.rows] += torch.where(known, (ours * theirs).sum(dim=1) / lengths, 0.0)
                self.counts[stack.rows] += known
        self._steps += 1
        if self._steps == self.rule.interval:
            self.frozen |= (self.counts > 0) & (self.cosines < self.rule.threshold * self.counts)
            self._steps = 0
            self.cosines.zero_()
            self.counts.zero_()

    @contextmanager
    def hold_frozen_weights(self) -> Iterator[None]:
        """Keep the weights of frozen operations where they are while the optimizer makes its step."""
        before = [(stack, weight, weight.detach().clone()) for stack in self._stacks for weight in stack.weights]
        yield
        with torch.no_grad():  # by a mask of all rather than an index of the frozen, for which a GPU would be waited
            for stack, weight, value in before:
                is_frozen = self.frozen[stack.rows].unsqueeze(1)
                rows = weight.view(stack.edges, -1)
                rows.copy_(torch.where(is_frozen, value.view(stack.edges, -1), rows))

    def get_extra_state(self) -> dict[str, Any]:
        return {"steps": self._steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self._steps = state["steps"]


def _stacks(supernet: Supernet) -> Iterator[_Stack]:
    numbers = {id(weight): number for number, weight in enumerate(supernet.weight_parameters())}
    first = 0
    for module in supernet.modules():
        if isinstance(module, OwnModules):  # a module for each edge: a stack of one
            for edge in module.edges:
                if weights := list(edge.parameters()):
                    yield _Stack(weights, [numbers[id(weight)] for weight in weights], 1, slice(first, first + 1))
                    first += 1
            continue
        parts = [part for part in module.modules() if isinstance(part, StackedWeight)]
        if isinstance(module, StackedOperation) and parts:
            weights = [part.weight for part in parts]
            rows = slice(first, first + parts[0].edges)
            yield _Stack(weights, [numbers[id(weight)] for weight in weights], parts[0].edges, rows)
            first = rows.stop
