"""All decisions at once, by strengths that are known, within a budget: the strongest that fits is taken first.

Without limits that is what `Magnitude` and `Shapley` do anyway: an edge keeps its best operation, a node its strongest
inputs.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from archselect.models.cell_space import CellSpace
from archselect.models.supernet.supernet import Supernet
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision
from archselect.selection.limit import Budget

Ranking = Callable[[CellSpace, int], Sequence[tuple[int, float]]]
"""Of an edge its operations, best first, each with how strong an input of its node the edge is with it."""


class Pair(NamedTuple):
    """An operation on an edge."""

    cell: str
    edge: int
    operation: int


def strongest_within(
    budget: Budget, supernet: Supernet, ranking: Ranking, strengths: Callable[[CellSpace, int], Sequence[Strength]]
) -> Iterator[Decision]:
    """Yield the decisions on everything that is still undecided.

    Operations on edges are taken in the order of their strength, each with its edge as an input of the node, where a
    network within the budget can have it beside what was taken already. On an edge no operation comes before a better
    one. Strengths of what was excluded are left out.
    """
    taken, refused = _take(budget, supernet, ranking)
    for name, space in supernet.cell_spaces.items():
        decisions = supernet.decisions[name]
        for edge in decisions.undecided_edges:
            excluded = tuple(sorted(pair.operation for pair in refused if (pair.cell, pair.edge) == (name, edge)))
            if len(excluded) == len(space.operations[edge]):  # the node drops it: its operation does not matter
                excluded = ()
            left = [operation for operation, _ in ranking(space, edge) if operation not in excluded]
            known = [one for operation, one in enumerate(strengths(space, edge)) if operation not in excluded]
            kept = taken.get((name, edge), left[0])
            yield OperationDecision(name, edge, kept, strengths=tuple(known), excluded=excluded)
        for node in decisions.undecided_nodes(space):
            kept_edges = tuple(edge for edge in space.topology.edges_into(node) if (name, edge) in taken)
            excluded_sets = budget.excluded_inputs(supernet.decisions, name, node)
            yield TopologyDecision(name, node, kept_edges, excluded=excluded_sets)


def _take(budget: Budget, supernet: Supernet, ranking: Ranking) -> tuple[dict[tuple[str, int], int], list[Pair]]:
    """Return what the edges that are kept have, and what was refused because no network within the budget has it."""
    decisions, cells = dict(supernet.decisions), supernet.cell_spaces
    taken, refused = dict[tuple[str, int], int](), list[Pair]()
    for pair in _by_strength(supernet, ranking):
        cell, edge, operation = pair
        topology, (_, node) = cells[cell].topology, cells[cell].topology.edges[edge]
        inputs = [into for into in topology.edges_into(node) if (cell, into) in taken]
        if edge in inputs or len(inputs) == topology.edges_kept_into(node):
            continue
        then = {**decisions, cell: decisions[cell].keep_operation(edge, operation)}
        if budget.fits(then, {*taken, (cell, edge)}):
            decisions, taken[cell, edge] = then, operation
        else:
            refused.append(pair)
    return taken, refused


def _by_strength(supernet: Supernet, ranking: Ranking) -> list[Pair]:
    """Return the operations that edges may have, strongest first; of equals the first edge's."""
    found: list[tuple[float, Pair]] = []
    for name, space in supernet.cell_spaces.items():
        decisions = supernet.decisions[name]
        for edge in (edge for edge, kept in enumerate(decisions.kept) if kept):
            decided = decisions.operations[edge]
            ranked = [
                (operation, strength) for operation, strength in ranking(space, edge) if decided in (None, operation)
            ]
            lowest = accumulate((strength for _, strength in ranked), min)
            found += [
                (least, Pair(name, edge, operation)) for least, (operation, _) in zip(lowest, ranked, strict=True)
            ]
    return [pair for _, pair in sorted(found, key=lambda one: one[0], reverse=True)]
