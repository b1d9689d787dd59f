"""Selection by chance: the baseline that every method must beat."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from archselect.distributed.rng import generator_for
from archselect.models.supernet.supernet import Supernet
from archselect.selection.base import Selector, SupernetEvaluator
from archselect.selection.decisions import Decision, OperationDecision, TopologyDecision
from archselect.selection.schedule import DecisionStep


@dataclass(frozen=True)
class Random(Selector):
    """Keep on every edge an operation, and for every node its in-edges, uniformly at random."""

    name: str = "random"
    needs_candidates = False

    def decide(
        self, step: DecisionStep, supernet: Supernet, evaluator: SupernetEvaluator, seed: int
    ) -> Iterator[Decision]:
        for name, space in supernet.cell_spaces.items():
            undecided = supernet.decisions[name]
            for edge in undecided.undecided_edges:
                generator = generator_for(seed, "selection", "random", name, "edge", edge)
                operation = int(torch.randint(len(space.operations[edge]), (), generator=generator))
                yield OperationDecision(name, edge, operation)
            for node in undecided.undecided_nodes(space):
                generator = generator_for(seed, "selection", "random", name, "node", node)
                into = [edge for edge in space.topology.edges_into(node) if undecided.kept[edge]]
                order = torch.randperm(len(into), generator=generator)[: space.topology.edges_kept_into(node)]
                yield TopologyDecision(name, node, tuple(sorted(into[int(index)] for index in order)))
