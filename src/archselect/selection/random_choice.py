"""Selection by chance: the baseline that every method must beat."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from archselect.distributed.rng import generator_for
from archselect.models.cell_space import CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import DecisionStep, Evaluator, Selector, others
from archselect.selection.decisions import Decision, OperationDecision, TopologyDecision


@dataclass(frozen=True)
class Random(Selector):
    """Keep on every edge an operation, and for every node its in-edges, uniformly at random."""

    name: str = "random"
    needs_candidates = False

    def decide(self, step: DecisionStep, supernet: Supernet, evaluator: Evaluator, seed: int) -> Iterator[Decision]:
        for name, space in supernet.cell_spaces.items():
            rng_key, undecided = (seed, "selection", "random", name), supernet.decisions[name]
            for edge in undecided.undecided_edges:
                offered = self.offered(supernet, name, edge)
                yield random_operation(space, edge, (*rng_key, "edge", edge), offered)
            for node in undecided.undecided_nodes(space):
                into = [edge for edge in space.topology.edges_into(node) if undecided.kept[edge]]
                order = torch.randperm(len(into), generator=generator_for(*rng_key, "node", node)).tolist()
                kept = tuple(sorted(into[index] for index in order[: space.topology.edges_kept_into(node)]))
                excluded = self.excluded_inputs(supernet, name, node)
                if kept in excluded and self.budget is not None:
                    fitting = self.budget.inputs(supernet.decisions, name, node)
                    kept = fitting[draw_index(len(fitting), (*rng_key, "node", node, "within the limit"))]
                yield TopologyDecision(name, node, kept, excluded=excluded)


def random_operation(
    space: CellSpace, edge: int, rng_key: tuple[int | str, ...], offered: Sequence[int]
) -> OperationDecision:
    """Return a decision for an operation of an edge, drawn uniformly of those offered.

    Of all it is the same one that is drawn without a limit, where that is offered: so is every other, as probably.
    """
    operation = draw_index(len(space.operations[edge]), rng_key)
    if operation not in offered:
        operation = offered[draw_index(len(offered), (*rng_key, "within the limit"))]
    return OperationDecision(space.name, edge, operation, excluded=others(space, edge, offered))


def draw_index(count: int, rng_key: tuple[int | str, ...]) -> int:
    """Return a number below `count`, drawn uniformly."""
    return int(torch.randint(count, (), generator=generator_for(*rng_key)))
