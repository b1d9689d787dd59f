"""Perturbation-based selection with a zero-cost proxy in place of accuracy, and no tuning (Zero-Cost-PT).

Xiang et al., "Zero-Cost Operation Scoring in Differentiable Architecture Search", AAAI 2023, arXiv 2106.06799.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from math import isfinite
from statistics import fmean

from archselect.distributed.process_group import on_main_process
from archselect.models.cell_space import CellDecisions
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import Cells, DecisionStep, Evaluator, check_unraced, others
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyRound
from archselect.selection.perturbation import ProgressiveSelector, Without
from archselect.selection.proxies import PROXIES
from archselect.selection.schedule import NodeOrder
from archselect.utils.validation import PositiveInt, one_of


@dataclass(frozen=True)
class ZeroCost(ProgressiveSelector):
    """Decide edge by edge, then node by node, as `Perturbation` does, by what a proxy says of the supernet.

    Each operation of an edge is masked in turn, not renormalised; the one without which the proxy is lowest is kept.
    Then, while a node has too many inputs, the one without which the proxy is highest is dropped. Cell types take turns
    and nodes come in random order; with the same seed both orders are those of `Perturbation`. An operation is as
    strong as the proxy falls without it.

    The paper scores a supernet that was never trained, and repeats the selection several times; here it is the
    supernet that the search left, once. Without tuning all is decided in one step.
    """

    name: str = "zero_cost"
    proxy: str = "synflow"
    edge_orders = ("random",)
    node_order: NodeOrder = field(default="random", init=False)
    batches: PositiveInt = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(PROXIES).check("selection.proxy", self.proxy)
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

    def steps(self, cells: Cells, decided: Mapping[str, CellDecisions] | None = None) -> list[DecisionStep]:
        return [DecisionStep(0, "all", tuple(cells))]

    def decide(self, step: DecisionStep, supernet: Supernet, evaluator: Evaluator, seed: int) -> Iterator[Decision]:
        """Decide everything; a ValueError says that there are too few batches, or that the proxy is not finite."""
        for part in super().steps(supernet.cell_spaces, supernet.decisions):
            for cell in part.cells:
                decisions = supernet.decisions[cell]
                decided = sum(operation is not None for operation in decisions.operations) + len(decisions.nodes)
                yield from super().decide(replace(part, number=decided, cells=(cell,)), supernet, evaluator, seed)

    def operation_to_keep(self, supernet: Supernet, cell: str, edge: int, evaluator: Evaluator) -> OperationDecision:
        operations = self.offered(supernet, cell, edge)
        excluded = others(supernet.cell_spaces[cell], edge, operations)
        if len(operations) == 1:
            return OperationDecision(cell, edge, operations[0], excluded=excluded)
        weights = supernet.mixture_weights().detach()
        without = [weights.masked(cell, edge, operation) for operation in operations]
        unmasked, *masked = self._values(supernet, [weights, *without], evaluator)
        kept = operations[min(range(len(masked)), key=lambda index: fmean(masked[index]))]  # the first wins ties
        drops = [[whole - part for whole, part in zip(unmasked, values, strict=True)] for values in masked]
        return OperationDecision(cell, edge, kept, strengths=tuple(map(Strength.mean, drops)), excluded=excluded)

    def least_missed(self, without: Without, supernet: Supernet, evaluator: Evaluator) -> TopologyRound:
        means = dict(zip(without, map(fmean, self._values(supernet, without.values(), evaluator)), strict=True))
        return TopologyRound({}, max(reversed(means), key=means.__getitem__))  # the last wins ties

    def _values(
        self, supernet: Supernet, candidates: Iterable[MixtureWeights], evaluator: Evaluator
    ) -> list[list[float]]:
        """Return the proxy of each candidate on each batch."""
        batches = list(islice(evaluator.batches(), self.batches))
        if len(batches) < self.batches:
            raise ValueError(
                f"selection.batches={self.batches}, but the images make {len(batches)} scoring batches. Lower it, or "
                "selection.scoring.batch_size, or give more training images."
            )
        proxy = PROXIES[self.proxy]
        values = on_main_process(
            lambda: [[proxy(supernet, weights, *batch, evaluator.task) for batch in batches] for weights in candidates]
        )
        for value in chain.from_iterable(values):
            if not isfinite(value):
                raise ValueError(
                    f"selection.proxy={self.proxy} is {value} for this supernet, so its operations cannot be compared: "
                    "its training diverged, or it is too deep for this proxy. Start again with a lower "
                    "search.weight_optimizer.lr, or use another proxy."
                )
        return values
