"""Perturbation-based selection with a zero-cost proxy in place of accuracy, and no tuning (Zero-Cost-PT).

Xiang et al., "Zero-Cost Operation Scoring in Differentiable Architecture Search", AAAI 2023, arXiv 2106.06799.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from statistics import fmean
from typing import get_args

from torch import Tensor

from archselect.distributed.process_group import on_main_process
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import DecisionStep, SupernetEvaluator, check_candidates, check_unraced
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyRound
from archselect.selection.proxies import PROXIES
from archselect.selection.schedule import NodeOrder, check_edge_order, next_of
from archselect.selection.scoring import Scoring
from archselect.selection.topology import LeastHarm, Rounds, by_value, decide_inputs
from archselect.utils.validation import FLAG, POSITIVE_INT, one_of

Batches = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ZeroCost:
    """Decide edge by edge, then node by node, as `Perturbation` does, by what a proxy says of the supernet.

    Each operation of an edge is masked in turn, not renormalised; the one without which the proxy is lowest is kept.
    Then, while a node has too many inputs, the one without which the proxy is highest is dropped. Cell types take turns
    and nodes come in random order; with the same seed both orders are those of `Perturbation`. An operation is as
    strong as the proxy falls without it.

    The paper scores a supernet that was never trained, and repeats the selection several times; here it is the
    supernet that the search left, once.

    Attributes:
        name: Shown in folders and reports.
        proxy: A name in `PROXIES`.
        edge_order: `random`; or the numbers of the edges in the order in which they are decided, one list for all or
            one per cell type.
        topology_rounds: `independent`: an input dropped in an earlier round is back while the next round scores;
            `cumulative`: it stays out.
        batches: The proxy is the mean over the first so many scoring batches. `synflow` reads no images: one will do.
        report_strengths: Whether the strengths of the operations are shown.
        scoring: Says which images the batches hold.
    """

    name: str = "zero_cost"
    proxy: str = "synflow"
    edge_order: NodeOrder = "random"
    topology_rounds: Rounds = "independent"
    batches: int = 1
    report_strengths: bool = False
    scoring: Scoring = field(default_factory=Scoring)
    tuning = None
    needs_candidates = True
    needs_trained_alpha = False

    def __post_init__(self) -> None:
        one_of(PROXIES).check("selection.proxy", self.proxy)
        if isinstance(self.edge_order, str) and self.edge_order != "random":
            raise ValueError(
                f"selection.edge_order must be random or a list of edge numbers; got {self.edge_order!r}. Its other "
                "names are for selection=perturb."
            )
        one_of(get_args(Rounds)).check("selection.topology_rounds", self.topology_rounds)
        POSITIVE_INT.check("selection.batches", self.batches)
        FLAG.check("selection.report_strengths", self.report_strengths)
        check_unraced(self.name, self.scoring)
        if self.scoring.batch_norm != "batch":
            raise ValueError(
                f"selection.scoring.batch_norm={self.scoring.batch_norm} cannot be honoured: a proxy says itself how "
                "it normalises. Use batch."
            )
        if self.scoring.batches is not None and self.scoring.batches < self.batches:
            raise ValueError(
                f"selection.batches={self.batches} is more than selection.scoring.batches={self.scoring.batches}. "
                "Lower the first, or set the second to null."
            )

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """See `Selector.check`."""
        check_candidates(self.name, cells)
        for name in cells:
            check_edge_order(self.edge_order, cells, name, names=("random",))

    def points(self, cells: Mapping[str, CellSpace], decided: Mapping[str, CellDecisions] | None = None) -> int:
        """All decisions are made at one point."""
        return 1

    def decide(
        self, point: DecisionStep, supernet: Supernet, trials: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        """See `Selector.decide`.

        Raises:
            ValueError: There are fewer batches than asked for, or the proxy is not a finite number.
        """
        batches = self._first(trials)
        rng_key = (seed, "selection")
        while due := _furthest_behind(_edges_left(supernet)):
            name, edges = due
            edge = next_of(self.edge_order, name, edges, (*rng_key, "edge", name, _decided(supernet, name)))
            yield self._decide_edge(supernet, supernet.cell_spaces[name], edge, batches)
        least_harm = self._least_harm(supernet, batches)
        while due := _furthest_behind(_nodes_left(supernet)):
            name, nodes = due
            node = next_of("random", name, nodes, (*rng_key, "node", name, _decided(supernet, name)))
            yield decide_inputs(supernet, supernet.cell_spaces[name], node, least_harm, self.topology_rounds)

    def _first(self, trials: SupernetEvaluator) -> Batches:
        batches = list(islice(trials.batches(), self.batches))
        if len(batches) < self.batches:
            raise ValueError(
                f"selection.batches={self.batches}, but the images make {len(batches)} scoring batches. Lower it, or "
                "selection.scoring.batch_size, or give more training images."
            )
        return batches

    def _decide_edge(self, supernet: Supernet, space: CellSpace, edge: int, batches: Batches) -> OperationDecision:
        candidates = range(len(space.operations[edge]))
        if len(candidates) == 1:
            return OperationDecision(space.name, edge, 0)
        weights = supernet.mixture_weights().detach()
        unmasked = self._values(supernet, weights, batches)
        masked = [
            self._values(supernet, weights.masked(space.name, edge, operation), batches) for operation in candidates
        ]
        kept = min(candidates, key=lambda operation: fmean(masked[operation]))  # the first wins ties
        strengths = tuple(
            Strength.mean([whole - part for whole, part in zip(unmasked, without, strict=True)]) for without in masked
        )
        return OperationDecision(space.name, edge, kept, strengths=strengths)

    def _least_harm(self, supernet: Supernet, batches: Batches) -> LeastHarm:
        """Return the judgement by the proxy of the supernet without an edge; the last wins ties."""

        def least_harm(without: Mapping[int, MixtureWeights]) -> TopologyRound:
            harms = [-fmean(self._values(supernet, weights, batches)) for weights in without.values()]
            return TopologyRound({}, list(without)[by_value(harms)])

        return least_harm

    def _values(self, supernet: Supernet, weights: MixtureWeights, batches: Batches) -> list[float]:
        """Return the proxy on each batch."""
        proxy = PROXIES[self.proxy]
        values = on_main_process(lambda: [proxy(supernet, weights, images, labels) for images, labels in batches])
        for value in values:
            if not isfinite(value):
                raise ValueError(
                    f"selection.proxy={self.proxy} is {value} for this supernet, so its operations cannot be compared: "
                    "its training diverged, or it is too deep for this proxy. Start again with a lower "
                    "search.weight_optimizer.lr, or use another proxy."
                )
        return values


def _edges_left(supernet: Supernet) -> dict[str, Sequence[int]]:
    return {name: supernet.decisions[name].undecided_edges for name in supernet.cell_spaces}


def _nodes_left(supernet: Supernet) -> dict[str, Sequence[int]]:
    return {name: supernet.decisions[name].undecided_nodes(space) for name, space in supernet.cell_spaces.items()}


def _furthest_behind(left: Mapping[str, Sequence[int]]) -> tuple[str, Sequence[int]] | None:
    """Return the cell type that has most left to decide, the first of several, and what; None if nothing is left."""
    name = max(left, key=lambda name: len(left[name]))
    return (name, left[name]) if left[name] else None


def _decided(supernet: Supernet, cell: str) -> int:
    """Return how much has been decided in a cell type: where a selection that was cut off goes on."""
    decisions = supernet.decisions[cell]
    return sum(operation is not None for operation in decisions.operations) + len(decisions.nodes)
