"""SGAS: edges are decided in a search (Li et al., "Sequential Greedy Architecture Search", CVPR 2020, 1912.00195)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.utils.validation import FRACTION, Fraction, FractionOrZero, PositiveInt, check_fields

Mixtures = Mapping[str, list[list[float]]]
"""Per cell type the relaxation of `alpha`, `(edges, operations)`, as plain lists."""

Decisions = Mapping[str, CellDecisions]


@dataclass(frozen=True)
class SGAS:
    """One edge per cell type at a time: the most important, most certain and, by criterion 2, most stable one.

    The edge keeps its strongest operation, `none` apart. A node that has all the inputs that it keeps drops its other
    edges. The lengths are shares of the search, as the authors' 50 epochs divide: the first decision after the tenth,
    then one every 5. (The authors' code also enlarges the batch by 8 with each decision; that is left out, so that all
    search methods see the same batches.) Of the edges that a cell keeps, a `share` is decided in the search; the others
    are left to the selection.
    """

    criterion: Literal[1, 2]
    first: FractionOrZero
    every: Fraction
    share: float
    memory: PositiveInt

    def __post_init__(self) -> None:
        check_fields(self, "search.greedy")
        if self.share != 1:
            FRACTION.check("search.greedy.share", self.share)

    def decide(self, supernet: Supernet, epoch: int, epochs: int, past: Sequence[Mixtures]) -> Decisions:
        """Return what is decided at the end of an epoch, counted from 0, all earlier decisions included.

        `past` are the mixtures at the end of each earlier epoch.
        """
        decisions = dict(supernet.decisions)
        if epoch not in self.due(epochs):
            return decisions
        for cell, space in supernet.cell_spaces.items():
            decided, undecided = decisions[cell], decisions[cell].undecided_edges
            done = sum(operation is not None for operation in decided.operations)
            if not undecided or done >= self.limit(space):
                continue
            mixture = supernet.relaxed(cell).detach().cpu()
            earlier = [torch.tensor(mixtures[cell]) for mixtures in past[-self.memory :]]
            scores = self.scores(space, mixture, earlier)
            edge = max(undecided, key=lambda edge: scores[edge])  # the first of equals
            operation = int(_without_none(space, mixture)[edge].argmax())
            decisions[cell] = _with_node_closed(space, decided.keep_operation(edge, operation), edge)
        return decisions

    def scores(self, space: CellSpace, mixture: Tensor, earlier: Sequence[Tensor]) -> list[float]:
        """Return the criterion for each edge, a product of factors that are scaled to `[0, 1]` over the cell's edges.

        `mixture` is `(edges, operations)`, and so are those of earlier epochs.
        """
        others = _without_none(space, mixture)
        importance = others.sum(dim=1) / mixture.sum(dim=1)
        score = _scaled(importance) * _scaled(_certainty(space, others))
        if self.criterion == 2 and earlier:
            shares = [_shares(_without_none(space, then)) for then in earlier]
            overlaps = [torch.minimum(_shares(others), then).sum(dim=1) for then in shares]
            score = score * _scaled(torch.stack(overlaps).mean(dim=0))
        return score.tolist()

    def due(self, epochs: int) -> range:
        """Return after which epochs an edge is decided."""
        return range(round(self.first * epochs), epochs, max(1, round(self.every * epochs)))

    def limit(self, space: CellSpace) -> int:
        """Return how many edges of a cell are decided in the search."""
        return max(1, round(self.share * _kept_edges(space)))

    def decides_all(self, cells: Mapping[str, CellSpace], epochs: int) -> bool:
        """Return whether nothing is left to a selection after so many epochs."""
        return all(min(self.limit(space), len(self.due(epochs))) >= _kept_edges(space) for space in cells.values())


def _kept_edges(space: CellSpace) -> int:
    return sum(space.topology.edges_kept_into(node) for node in space.topology.node_states)


def _with_node_closed(space: CellSpace, decisions: CellDecisions, edge: int) -> CellDecisions:
    """Drop the other edges of the node that `edge` leads to, if it now has all the inputs that it keeps."""
    _, node = space.topology.edges[edge]
    chosen = [into for into in space.topology.edges_into(node) if decisions.operations[into] is not None]
    is_full = len(chosen) >= space.topology.edges_kept_into(node) and node in decisions.undecided_nodes(space)
    return decisions.keep_inputs(space, node, chosen) if is_full else decisions


def _without_none(space: CellSpace, mixture: Tensor) -> Tensor:
    """Return the mixture with the weight of `none` at 0."""
    real = [[name != "none" for name in names] + [False] * (space.width - len(names)) for names in space.operations]
    return mixture * torch.tensor(real).to(mixture)


def _shares(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def _certainty(space: CellSpace, others: Tensor) -> Tensor:
    """Return 1 minus the entropy of each edge's mixture as a share of the largest one; 1 with a single operation."""
    counts = torch.tensor([sum(name != "none" for name in names) for names in space.operations])
    largest = counts.clamp_min(2).to(others).log()
    return 1 - torch.special.entr(_shares(others)).sum(dim=1) / largest


def _scaled(values: Tensor) -> Tensor:
    """Scale to `[0, 1]`; 1 where all are equal up to rounding, so that the other factors decide."""
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 1e-6 else torch.ones_like(values)
