"""Operations that stop training before the others do (OLES).

Jiang et al., "Operation-Level Early Stopping for Robustifying Differentiable NAS", NeurIPS 2023.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from archselect.models.supernet.mixed_ops import StackedOperation
from archselect.models.supernet.stacked_parameters import StackedWeight
from archselect.models.supernet.supernet import Supernet
from archselect.utils.validation import NON_NEGATIVE_FLOAT, POSITIVE_INT


@dataclass(frozen=True)
class GradientMatching:
    """An operation stops training when its gradients on the two halves of the data point different ways.

    Of every operation on every edge of every cell, the cosine between the gradient of its weights on the batch that
    trains weights and on the one that trains `alpha` is averaged over `interval` steps. Below `threshold` its
    weights stay as they are from then on: what it would still learn is how to overfit. Costs one more gradient a step.

    Attributes:
        threshold: 0.4 in the authors' code, which averages cosines over the channels and tensors of an operation; here
            it is one cosine over all its weights.
        interval: In steps, 20 in the authors' code.
    """

    threshold: float = 0.4
    interval: int = 20

    def __post_init__(self) -> None:
        NON_NEGATIVE_FLOAT.check("the size of search.freezing.threshold", abs(self.threshold))
        POSITIVE_INT.check("search.freezing.interval", self.interval)

    def start(self, supernet: Supernet) -> "Freezing":
        """Return what keeps count for a supernet."""
        return Freezing(self, supernet)


class Freezing:
    """Which operations of a supernet are frozen, and how well the gradients of the others have matched lately.

    Args:
        rule: When an operation is frozen.
        supernet: The supernet.

    Raises:
        ValueError: None of its operations has weights, so there is nothing to freeze.
    """

    def __init__(self, rule: GradientMatching, supernet: Supernet) -> None:
        self.rule = rule
        numbers = {id(weight): number for number, weight in enumerate(supernet.weight_parameters())}
        self._groups: list[_Group] = []
        for module in supernet.modules():
            stacks = [part for part in module.modules() if isinstance(part, StackedWeight)]
            if isinstance(module, StackedOperation) and stacks:
                weights = [stack.weight for stack in stacks]
                self._groups.append(_Group(weights, [numbers[id(weight)] for weight in weights], stacks[0].edges))
        if not self._groups:
            raise ValueError(
                "search.freezing ends the training of single operations, but no operation of this search space has "
                "weights. Leave search.freezing out, or offer convolutions in search_space.operations."
            )
        self._steps = 0

    @property
    def operations(self) -> int:
        """How many operations, counted per edge and cell, have weights."""
        return sum(group.edges for group in self._groups)

    @property
    def frozen(self) -> int:
        """How many of them are frozen."""
        return sum(int(group.frozen.sum()) for group in self._groups)

    @torch.no_grad()
    def observe(self, training: Sequence[Tensor | None], validation: Sequence[Tensor | None]) -> None:
        """Take the gradients of a step, one per weight parameter; None: it has none."""
        for group in self._groups:
            group.add(training, validation)
        self._steps += 1
        if self._steps == self.rule.interval:
            self._steps = 0
            for group in self._groups:
                group.judge(self.rule.threshold)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the weights of frozen operations where they are while the optimizer makes its step."""
        kept = [(rows, frozen, rows[frozen].clone()) for group in self._groups for rows, frozen in group.frozen_rows()]
        yield
        with torch.no_grad():
            for rows, frozen, values in kept:
                rows[frozen] = values

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain data."""
        return {"steps": self._steps, "groups": [group.state() for group in self._groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back."""
        self._steps = state["steps"]
        for group, values in zip(self._groups, state["groups"], strict=True):
            group.load(values)


class _Group:
    """One operation on several edges out of one state of one cell, its weights stacked."""

    def __init__(self, weights: Sequence[nn.Parameter], numbers: Sequence[int], edges: int) -> None:
        self.weights, self.numbers, self.edges = weights, numbers, edges
        self.sums = torch.zeros(edges)
        self.counts = torch.zeros(edges)
        self.frozen = torch.zeros(edges, dtype=torch.bool)
        self._any_frozen = False

    def add(self, training: Sequence[Tensor | None], validation: Sequence[Tensor | None]) -> None:
        self._to_device()
        ours, theirs = self._rows(training), self._rows(validation)
        if ours is None or theirs is None:
            return  # decided away
        lengths = ours.norm(dim=1) * theirs.norm(dim=1)
        known = lengths > 0
        self.sums += torch.where(known, (ours * theirs).sum(dim=1) / lengths, 0.0)
        self.counts += known

    def judge(self, threshold: float) -> None:
        self.frozen |= (self.counts > 0) & (self.sums < threshold * self.counts)
        self.sums.zero_()
        self.counts.zero_()
        self._any_frozen = bool(self.frozen.any())

    def frozen_rows(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._any_frozen:
            for weight in self.weights:
                yield weight.detach().view(self.edges, -1), self.frozen

    def state(self) -> dict[str, Any]:
        return {"sums": self.sums.tolist(), "counts": self.counts.tolist(), "frozen": self.frozen.tolist()}

    def load(self, state: dict[str, Any]) -> None:
        self.sums, self.counts = torch.tensor(state["sums"]), torch.tensor(state["counts"])
        self.frozen = torch.tensor(state["frozen"], dtype=torch.bool)
        self._any_frozen = bool(self.frozen.any())

    def _rows(self, gradients: Sequence[Tensor | None]) -> Tensor | None:
        ours = [gradients[number] for number in self.numbers]
        rows = [gradient.reshape(self.edges, -1) for gradient in ours if gradient is not None]
        return torch.cat(rows, dim=1) if len(rows) == len(ours) else None

    def _to_device(self) -> None:
        device = self.weights[0].device
        if self.sums.device != device:
            self.sums, self.counts, self.frozen = (x.to(device) for x in (self.sums, self.counts, self.frozen))
