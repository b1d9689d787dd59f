"""The architecture that the size of the architecture parameters names (DARTS, sec. 2.4)."""

from archselect.networks.cell_space import CellDecisions, CellSpace
from archselect.networks.supernet import Supernet


def strongest(supernet: Supernet) -> dict[str, CellDecisions]:
    """Return the decisions made so far with everything else decided by magnitude."""
    return {name: _completed(supernet, space) for name, space in supernet.cell_spaces.items()}


def strongest_operation(supernet: Supernet, space: CellSpace, edge: int) -> int:
    """Return the candidate of an edge with the largest weight.

    Where nodes choose their inputs, `none` is not taken while there is another: its weight says that an edge is weak,
    not which operation is strong.
    """
    weights = supernet.relaxed(space.name)[edge].tolist()
    candidates = space.operations[edge]
    allowed = [index for index, operation in enumerate(candidates) if not _is_none(space, operation)] or [0]
    return max(allowed, key=lambda index: weights[index])


def strongest_inputs(supernet: Supernet, space: CellSpace, decisions: CellDecisions, node: int) -> tuple[int, ...]:
    """Return the in-edges of a node whose kept operations have the largest weights.

    Where the supernet normalises its edges, their weights count too (PC-DARTS, sec. 3.3).
    """
    weights = supernet.relaxed(space.name).detach()
    edges = supernet.edge_weights(space.name)
    if edges is not None:
        weights = weights * edges.detach().unsqueeze(1)
    rows = weights.tolist()

    def strength(edge: int) -> float:
        operation = decisions.operations[edge]
        empty = operation is None or _is_none(space, space.operations[edge][operation])
        return 0.0 if empty or operation is None else rows[edge][operation]

    into = [edge for edge in space.topology.edges_into(node) if decisions.kept[edge]]
    return tuple(sorted(sorted(into, key=strength, reverse=True)[: space.topology.edges_kept_into(node)]))


def _completed(supernet: Supernet, space: CellSpace) -> CellDecisions:
    decisions = supernet.decisions[space.name]
    for edge in decisions.undecided_edges:
        decisions = decisions.keep_operation(edge, strongest_operation(supernet, space, edge))
    for node in decisions.undecided_nodes(space):
        decisions = decisions.keep_inputs(space, node, strongest_inputs(supernet, space, decisions, node))
    return decisions


def _is_none(space: CellSpace, operation: str) -> bool:
    return operation == "none" and space.topology.inputs_per_node is not None
