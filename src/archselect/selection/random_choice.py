"""Selection by chance: the baseline that every method must beat."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from archselect.distributed.rng import generator_for
from archselect.models.cell_space import CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import DecisionStep, Evaluator, Selector
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
                yield random_operation(space, edge, (*rng_key, "edge", edge))
            for node in undecided.undecided_nodes(space):
                into = [edge for edge in space.topology.edges_into(node) if undecided.kept[edge]]
                order = torch.randperm(len(into), generator=generator_for(*rng_key, "node", node)).tolist()
                kept = order[: space.topology.edges_kept_into(node)]
                yield TopologyDecision(name, node, tuple(sorted(into[index] for index in kept)))


def random_operation(space: CellSpace, edge: int, rng_key: tuple[int | str, ...]) -> OperationDecision:
    """Return a decision for an operation of an edge, drawn uniformly."""
    operation = torch.randint(len(space.operations[edge]), (), generator=generator_for(*rng_key))
    return OperationDecision(space.name, edge, int(operation))
