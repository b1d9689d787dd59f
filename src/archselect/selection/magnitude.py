"""Selection by the size of the architecture parameters (DARTS, sec. 2.4)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archselect.networks.cell_space import CellSpace
from archselect.networks.supernet import Supernet
from archselect.selection.decision import Decision, OperationDecision, TopologyDecision
from archselect.selection.selector import ScoreAll


@dataclass(frozen=True)
class Magnitude:
    """Keep on every edge the operation with the largest weight; keep the in-edges whose largest weight is largest.

    Where nodes choose their inputs, `none` is never kept (as in DARTS): its weight says that an edge is weak, not
    which operation is strong.
    """

    name: str = "magnitude"
    tuning = None
    scoring = None

    def check(self, cells: Mapping[str, CellSpace]) -> None:
        """Nothing can be wrong: see `Selector.check`."""

    def points(self, cells: Mapping[str, CellSpace]) -> int:
        """All decisions are made at one point."""
        return 1

    def decide(self, point: int, supernet: Supernet, score: ScoreAll, seed: int) -> Iterator[Decision]:
        """See `Selector.decide`."""
        yield from magnitude_decisions(supernet)


def magnitude_decisions(supernet: Supernet) -> Iterator[Decision]:
    """Yield the decisions by magnitude on everything that is still undecided."""
    for name, space in supernet.cell_spaces.items():
        weights = supernet.relaxed(name).detach().tolist()
        decisions = supernet.decisions[name]
        undecided_nodes = decisions.undecided_nodes(space)
        strongest = []
        for edge, (candidates, kept) in enumerate(zip(space.operations, decisions.operations, strict=True)):
            allowed = [i for i, operation in enumerate(candidates) if not _is_none(space, operation)] or [0]
            best = max(allowed, key=lambda index: weights[edge][index]) if kept is None else kept
            strongest.append(0.0 if _is_none(space, candidates[best]) else weights[edge][best])
            if kept is None:
                yield OperationDecision(name, edge, best)
        for node in undecided_nodes:
            into = space.topology.edges_into(node)
            keep = sorted(into, key=lambda edge: strongest[edge], reverse=True)[: space.topology.edges_kept_into(node)]
            yield TopologyDecision(name, node, tuple(sorted(keep)))


def _is_none(space: CellSpace, operation: str) -> bool:
    return operation == "none" and space.topology.inputs_per_node is not None
