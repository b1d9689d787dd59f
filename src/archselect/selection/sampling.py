"""Selection by random search with weight sharing: the best of many architectures, judged with the supernet's weights.

Li & Talwalkar, UAI 2019, arXiv 1902.07638; Bender et al., ICML 2018.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal

import torch
from torch import Tensor

from archselect.distributed.rng import generator_for
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import DecisionStep, Evaluator, Selector, check_unraced, others
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision
from archselect.selection.limit import Budget
from archselect.selection.random_choice import draw_index
from archselect.selection.scoring import Criterion, Scoring, perturbation_loss
from archselect.utils.validation import PositiveInt

Architecture = tuple[CellDecisions, ...]
"""A whole architecture: what is decided in each cell type, in the order of the supernet's; None on dropped edges."""

SCORED_TOGETHER = 16


@dataclass(frozen=True)
class Sampling(Selector):
    """Draw whole architectures, score each with the weights of the supernet, and keep the best; the first wins ties.

    What is decided already stays as it is in all of them. `none` may be drawn like any other operation, and the inputs
    of nodes are drawn uniformly whatever was drawn on them. An architecture that is drawn again is not scored again.

    The strength of an operation is the mean over the samples that have it on this edge; an edge on which one was never
    drawn has none.
    """

    name: str = "sampling"
    samples: PositiveInt = 100
    distribution: Literal["alpha", "uniform"] = "alpha"
    criterion: Criterion = "metric"
    report_strengths: bool = False
    scoring: Scoring = field(default_factory=Scoring)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unraced(self.name, self.scoring)

    @property
    def needs_trained_alpha(self) -> bool:
        return self.distribution == "alpha"

    def decide(self, step: DecisionStep, supernet: Supernet, evaluator: Evaluator, seed: int) -> Iterator[Decision]:
        """Draw and score everything before the first decision, and decide all."""
        drawn = self.draw(supernet, seed)
        worths: dict[Architecture, float] = {}
        distinct = iter(dict.fromkeys(drawn))
        while together := list(islice(distinct, SCORED_TOGETHER)):
            scores = evaluator.score([weights_of(supernet, architecture) for architecture in together])
            worths.update(zip(together, (-perturbation_loss(score, self.criterion) for score in scores), strict=True))
        best, seen = max(worths, key=worths.__getitem__), [worths[architecture] for architecture in drawn]
        for index, (name, space) in enumerate(supernet.cell_spaces.items()):
            decisions = supernet.decisions[name]
            for edge in decisions.undecided_edges:
                operation = best[index].operations[edge]
                if operation is not None:
                    operations = [architecture[index].operations[edge] for architecture in drawn]
                    offered = self.offered(supernet, name, edge)
                    strengths = _strengths(offered, operations, seen)
                    excluded = others(space, edge, offered)
                    yield OperationDecision(name, edge, operation, strengths=strengths, excluded=excluded)
            for node in decisions.undecided_nodes(space):
                into = space.topology.edges_into(node)
                inputs = tuple(edge for edge in into if best[index].kept[edge])
                yield TopologyDecision(name, node, inputs, excluded=self.excluded_inputs(supernet, name, node))

    def draw(self, supernet: Supernet, seed: int) -> list[Architecture]:
        """Return `samples` architectures; every edge and node has random numbers of its own."""
        cells, relaxed = [], dict[str, Tensor]()
        for name, space in supernet.cell_spaces.items():
            weights = supernet.relaxed(name).detach().cpu()
            if self.distribution == "uniform":
                weights = torch.ones_like(weights)
            rng_key = (seed, "selection", "sampling", name)
            cells.append(_draw_cells(space, supernet.decisions[name], weights, self.samples, rng_key))
            relaxed[name] = weights
        drawn = list(zip(*cells, strict=True))
        if self.budget is not None:
            drawn = [
                _within(self.budget, supernet, architecture, relaxed, (seed, "selection", "sampling", number))
                for number, architecture in enumerate(drawn)
            ]
        return [tuple(map(_without_dropped, architecture)) for architecture in drawn]


def weights_of(supernet: Supernet, architecture: Architecture) -> MixtureWeights:
    """Return the mixture weights that the supernet has when an architecture is decided: one-hot, zero where dropped."""
    before = supernet.decisions
    try:
        supernet.decisions = dict(zip(supernet.cell_spaces, architecture, strict=True))
        return supernet.mixture_weights().detach()
    finally:
        supernet.decisions = before


def _draw_cells(
    space: CellSpace, decisions: CellDecisions, weights: Tensor, samples: int, rng_key: tuple[int | str, ...]
) -> list[CellDecisions]:
    """Return `samples` ways to decide the rest of a cell type, drawn by weights `(edges, operations)` of operations."""
    cells = [decisions] * samples
    for edge in decisions.undecided_edges:
        row, generator = weights[edge, : len(space.operations[edge])], generator_for(*rng_key, "edge", edge)
        operations = torch.multinomial(row, samples, replacement=True, generator=generator).tolist()
        cells = [cell.keep_operation(edge, operation) for cell, operation in zip(cells, operations, strict=True)]
    for node in decisions.undecided_nodes(space):
        into = [edge for edge in space.topology.edges_into(node) if decisions.kept[edge]]
        keep, generator = space.topology.edges_kept_into(node), generator_for(*rng_key, "node", node)
        orders = [torch.randperm(len(into), generator=generator).tolist()[:keep] for _ in cells]
        inputs = ([into[index] for index in order] for order in orders)
        cells = [cell.keep_inputs(space, node, edges) for cell, edges in zip(cells, inputs, strict=True)]
    return cells


def _without_dropped(cell: CellDecisions) -> CellDecisions:
    """Return a drawn cell without what was drawn on edges that it drops, so that equal ones are equal."""
    kept = tuple(o if kept else None for o, kept in zip(cell.operations, cell.kept, strict=True))
    return replace(cell, operations=kept)


def _within(
    budget: Budget,
    supernet: Supernet,
    drawn: Architecture,
    weights: Mapping[str, Tensor],
    rng_key: tuple[int | str, ...],
) -> Architecture:
    """Return a drawn architecture in which edge by edge, then node by node, is drawn again what the budget forbids.

    So an edge has each operation that is offered there with the share of it in the weights of those offered.
    """
    decided = dict(supernet.decisions)
    for name, whole in zip(supernet.cell_spaces, drawn, strict=True):
        for edge in supernet.decisions[name].undecided_edges:
            operation, offered = whole.operations[edge], budget.operations(decided, name, edge)
            if operation not in offered:
                generator = generator_for(*rng_key, name, "edge", edge)
                operation = offered[int(torch.multinomial(weights[name][edge, offered], 1, generator=generator))]
            decided[name] = decided[name].keep_operation(edge, operation)
    for (name, space), whole in zip(supernet.cell_spaces.items(), drawn, strict=True):
        for node in supernet.decisions[name].undecided_nodes(space):
            inputs = tuple(edge for edge in space.topology.edges_into(node) if whole.kept[edge])
            if inputs not in (fitting := budget.inputs(decided, name, node)):
                inputs = fitting[draw_index(len(fitting), (*rng_key, name, "node", node))]
            decided[name] = decided[name].keep_inputs(space, node, inputs)
    return tuple(decided.values())


def _strengths(offered: Sequence[int], drawn: Sequence[int | None], worths: Sequence[float]) -> tuple[Strength, ...]:
    """Return per candidate the mean worth of the samples that drew it; nothing if there is nothing to compare."""
    seen: dict[int, list[float]] = {operation: [] for operation in offered}
    for operation, worth in zip(drawn, worths, strict=True):
        if operation in seen:
            seen[operation].append(worth)
    return tuple(map(Strength.mean, seen.values())) if len(seen) > 1 and all(seen.values()) else ()
