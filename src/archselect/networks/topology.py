"""The topology of a cell: which states it has, which edges join them, what leaves it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

Output = Literal["concat", "last"]


@dataclass(frozen=True)
class CellTopology:
    """A cell as a directed acyclic graph in which every node may take an edge from every earlier state.

    States are numbered: first the cell's inputs, `0 .. inputs - 1`, then its nodes, `inputs .. inputs + nodes - 1`. A
    node's value is the sum over its edges.

    Attributes:
        inputs: Number of the cell's inputs (DARTS: the outputs of the two previous cells; NAS-Bench-201: one).
        nodes: Number of the nodes the cell computes.
        output: `"concat"`: the channels of all nodes, concatenated (DARTS); `"last"`: the last node (NAS-Bench-201).
        inputs_per_node: How many edges a node keeps in a genotype; `None`: all of them stay.

    Example:
        >>> CellTopology(inputs=2, nodes=2, output="concat", inputs_per_node=2).edges
        ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    """

    inputs: int
    nodes: int
    output: Output
    inputs_per_node: int | None

    def __post_init__(self) -> None:
        for name, value in (("inputs", self.inputs), ("nodes", self.nodes)):
            if not _is_positive_integer(value):
                raise ValueError(f"A cell topology needs a whole number of {name}, at least 1; got {value!r}.")
        if self.output not in get_args(Output):
            raise ValueError(
                f"A cell's output is one of {', '.join(map(repr, get_args(Output)))}; got {self.output!r}."
            )
        if self.inputs_per_node is not None and not _is_positive_integer(self.inputs_per_node):
            raise ValueError(
                "inputs_per_node is the number of edges a node keeps, at least 1, or None when all of them stay; "
                f"got {self.inputs_per_node!r}."
            )

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """All edges `(source state, target state)`, numbered by target, then by source."""
        return tuple((source, state) for state in self.node_states for source in range(state))

    @property
    def node_states(self) -> range:
        """The states that are nodes."""
        return range(self.inputs, self.inputs + self.nodes)

    def edges_into(self, state: int) -> tuple[int, ...]:
        """Return the numbers of the edges that enter `state`, by source; none for an input of the cell."""
        if not 0 <= state < self.inputs + self.nodes:
            raise ValueError(f"The states of this cell are 0..{self.inputs + self.nodes - 1}; got {state!r}.")
        return tuple(edge for edge, (_, target) in enumerate(self.edges) if target == state)

    def edges_kept_into(self, state: int) -> int:
        """Return how many edges `state` keeps in a genotype: `inputs_per_node`, or all where it has no more."""
        available = len(self.edges_into(state))
        return available if self.inputs_per_node is None else min(self.inputs_per_node, available)


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
