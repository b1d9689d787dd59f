"""Perturbation-based selection with a zero-cost proxy in place of accuracy, and no tuning (Zero-Cost-PT).

Xiang et al., "Zero-Cost Operation Scoring in Differentiable Architecture Search", AAAI 2023, arXiv 2106.06799.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from statistics import fmean

from torch import Tensor

from archselect.distributed.process_group import on_main_process
from archselect.models.cell_space import CellSpace
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import Selector, SupernetEvaluator, check_unraced
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyRound
from archselect.selection.edge_order import NodeOrder, check_edge_order, next_edge, next_node
from archselect.selection.proxies import PROXIES
from archselect.selection.schedule import DecisionStep, progressive_steps
from archselect.selection.scoring import Scoring
from archselect.selection.topology import LeastMissed, Rounds, inputs_to_keep
from archselect.utils.validation import PositiveInt, one_of

Batches = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ZeroCost(Selector):
    """Decide edge by edge, then node by node, as `Perturbation` does, by what a proxy says of the supernet.

    Each operation of an edge is masked in turn, not renormalised; the one without which the proxy is lowest is kept.
    Then, while a node has too many inputs, the one without which the proxy is highest is dropped. Cell types take turns
    and nodes come in random order; with the same seed both orders are those of `Perturbation`. An operation is as
    strong as the proxy falls without it.

    The paper scores a supernet that was never trained, and repeats the selection several times; here it is the
    supernet that the search left, once.

    Attributes:
        proxy: A name in `PROXIES`.
        edge_order: `random`; or the numbers of the edges in the order in which they are decided, one list for all or
            one per cell type.
        topology_rounds: As in `Perturbation`.
        batches: The proxy is the mean over the first so many scoring batches. `synflow` reads no images: one will do.
        scoring: Says which images the batches hold.
    """

    name: str = "zero_cost"
    proxy: str = "synflow"
    edge_order: NodeOrder = "random"
    topology_rounds: Rounds = "independent"
    batches: PositiveInt = 1
    report_strengths: bool = False
    scoring: Scoring = field(default_factory=Scoring)

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(PROXIES).check("selection.proxy", self.proxy)
        if isinstance(self.edge_order, str) and self.edge_order != "random":
            raise ValueError(
                f"selection.edge_order must be random or a list of edge numbers; got {self.edge_order!r}. Its other "
                "names are for selection=perturb."
            )
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
        super().check(cells)
        check_edge_order(self.edge_order, cells, names=("random",))

    def decide(
        self, step: DecisionStep, supernet: Supernet, evaluator: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        """Decide everything; a ValueError says that there are too few batches, or that the proxy is not finite."""
        batches = list(islice(evaluator.batches(), self.batches))
        if len(batches) < self.batches:
            raise ValueError(
                f"selection.batches={self.batches}, but the images make {len(batches)} scoring batches. Lower it, or "
                "selection.scoring.batch_size, or give more training images."
            )
        for part in progressive_steps(supernet.cell_spaces, supernet.decisions):
            for cell in part.cells:
                space, decisions = supernet.cell_spaces[cell], supernet.decisions[cell]
                decided = sum(operation is not None for operation in decisions.operations) + len(decisions.nodes)
                if part.kind == "operation":
                    rng_key = (seed, "selection", "edge", cell, decided)
                    edge = next_edge(self.edge_order, supernet, cell, evaluator, rng_key)
                    yield self._operation_to_keep(supernet, space, edge, batches)
                else:
                    node = next_node("random", supernet, cell, (seed, "selection", "node", cell, decided))
                    least_missed = self._by_proxy(supernet, batches)
                    yield inputs_to_keep(supernet, space, node, least_missed, self.topology_rounds)

    def _operation_to_keep(
        self, supernet: Supernet, space: CellSpace, edge: int, batches: Batches
    ) -> OperationDecision:
        operations = range(len(space.operations[edge]))
        if len(operations) == 1:
            return OperationDecision(space.name, edge, 0)
        weights = supernet.mixture_weights().detach()
        unmasked = self._values(supernet, weights, batches)
        masked = [self._values(supernet, weights.masked(space.name, edge, index), batches) for index in operations]
        kept = min(operations, key=lambda operation: fmean(masked[operation]))  # the first wins ties
        drops = [[whole - part for whole, part in zip(unmasked, without, strict=True)] for without in masked]
        return OperationDecision(space.name, edge, kept, strengths=tuple(map(Strength.mean, drops)))

    def _by_proxy(self, supernet: Supernet, batches: Batches) -> LeastMissed:
        """Return the judgement by the proxy of the supernet without an edge."""

        def least_missed(without: Mapping[int, MixtureWeights]) -> TopologyRound:
            values = {edge: fmean(self._values(supernet, weights, batches)) for edge, weights in without.items()}
            return TopologyRound({}, max(reversed(values), key=lambda edge: values[edge]))  # the last wins ties

        return least_missed

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
