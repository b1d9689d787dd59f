"""A cell: which states it has and which edges join them, what can be chosen in it, and what has been chosen so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, Literal

from archselect.genotype import CellGenotype, Input
from archselect.models.ops.primitives import PRIMITIVES, Primitives
from archselect.utils.validation import PositiveInt, check_fields

OutputRule = Literal["concat", "last"]
"""What a cell gives: the channels of all nodes, concatenated (DARTS), or its last node (NAS-Bench-201)."""


@dataclass(frozen=True)
class CellTopology:
    """A cell as a directed acyclic graph in which every node may take an edge from every earlier state.

    States are numbered: first the cell's inputs, `0 .. inputs - 1`, then its nodes, `inputs .. inputs + nodes - 1`. A
    node's value is the sum over its edges.

    Attributes:
        inputs: Number of the cell's inputs (DARTS: the outputs of the two previous cells; NAS-Bench-201: one).
        nodes: Number of the nodes the cell computes.
        output: What the cell gives.
        inputs_per_node: How many edges a node keeps in a genotype; `None`: all of them stay.

    Example:
        >>> CellTopology(inputs=2, nodes=2, output="concat", inputs_per_node=2).edges
        ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    """

    inputs: PositiveInt
    nodes: PositiveInt
    output: OutputRule
    inputs_per_node: PositiveInt | None

    def __post_init__(self) -> None:
        check_fields(self, "topology")

    @property
    def states(self) -> range:
        """The cell's inputs, then its nodes."""
        return range(self.inputs + self.nodes)

    @property
    def node_states(self) -> range:
        """The states that are nodes."""
        return self.states[self.inputs :]

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """All edges `(source state, target state)`, numbered by target, then by source."""
        return tuple((source, target) for target in self.node_states for source in range(target))

    def edges_into(self, state: int) -> tuple[int, ...]:
        """Return the numbers of the edges that enter `state`, by source; none for an input of the cell."""
        return tuple(edge for edge, (_, target) in enumerate(self.edges) if target == state)

    def edges_from(self, state: int) -> tuple[int, ...]:
        """Return the numbers of the edges that leave `state`, by target."""
        return tuple(edge for edge, (source, _) in enumerate(self.edges) if source == state)

    def edges_kept_into(self, state: int) -> int:
        """Return how many edges `state` keeps in a genotype: `inputs_per_node`, or all where it has no more."""
        available = len(self.edges_into(state))
        return available if self.inputs_per_node is None else min(self.inputs_per_node, available)


@dataclass(frozen=True)
class CellSpace:
    """The choices of one cell type: its edges, and on each edge the candidate operations.

    Edges may differ in their candidates and in how many they have (S1 has one list per edge). `own` are the operations
    that the search space has besides the package's.
    """

    name: str
    topology: CellTopology
    operations: tuple[tuple[str, ...], ...]
    own: Primitives = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        edges = self.topology.edges
        if len(self.operations) != len(edges):
            raise ValueError(
                f"The {self.name} cell has {len(edges)} edges, so it needs {len(edges)} lists of candidate operations, "
                f"but {len(self.operations)} were given. Give one list per edge, in the order {list(edges)}, "
                "or a single list that holds for every edge."
            )
        for edge, candidates in zip(edges, self.operations, strict=True):
            if not candidates:
                raise ValueError(f"Edge {edge} of the {self.name} cell has no candidate operation. List at least one.")
            if len(set(candidates)) != len(candidates):
                raise ValueError(
                    f"Edge {edge} of the {self.name} cell lists an operation twice: {list(candidates)}. Name each once."
                )

    @property
    def primitives(self) -> Primitives:
        """All operations that there are in the search space."""
        return {**PRIMITIVES, **self.own}

    @property
    def draws(self) -> bool:
        """Whether a candidate draws random numbers."""
        return any(self.primitives[name].draws for name in set(chain.from_iterable(self.operations)))

    @property
    def width(self) -> int:
        """The largest number of candidates on an edge: the second dimension of `alpha` and of mixture weights."""
        return max(map(len, self.operations))

    def stacks(self, state: int) -> dict[str, tuple[int, ...]]:
        """Return the operations but `none` on the edges that leave `state`, each with the edges that offer it."""
        leaving = self.topology.edges_from(state)
        names = dict.fromkeys(name for edge in leaving for name in self.operations[edge] if name != "none")
        return {name: tuple(edge for edge in leaving if name in self.operations[edge]) for name in names}

    def carries(self, inputs: Sequence[bool]) -> bool:
        """Return whether a path of operations other than `none` leads to the output from an input that carries."""
        states = [*inputs, *[False] * self.topology.nodes]
        for (source, target), candidates in zip(self.topology.edges, self.operations, strict=True):
            states[target] |= states[source] and any(name != "none" for name in candidates)
        nodes = states[self.topology.inputs :]
        return any(nodes) if self.topology.output == "concat" else nodes[-1]

    def describe(self) -> dict[str, Any]:
        """Return edges and candidates as JSON-able lists."""
        return {
            "edges": [list(edge) for edge in self.topology.edges],
            "operations": [list(candidates) for candidates in self.operations],
        }

    def check(self, cell: CellGenotype) -> None:
        """Raise a ValueError if `cell` is not one of the cells that this space contains."""
        topology = self.topology
        if (cell.inputs, len(cell.nodes)) != (topology.inputs, topology.nodes):
            raise ValueError(
                f"The {self.name} cell of this search space has {topology.inputs} inputs and {topology.nodes} nodes, "
                f"but the genotype's has {cell.inputs} and {len(cell.nodes)}. It is incomplete or was made for another "
                "search space."
            )
        for node, inputs in enumerate(cell.nodes, start=topology.inputs):
            expected, found = topology.edges_kept_into(node), len(inputs)
            if found != expected:
                needed = f"Node {node} of the {self.name} cell must have {expected} inputs"
                raise ValueError(f"{needed}, but the genotype gives it {found}.")
            for operation, source in inputs:
                candidates = self.operations[topology.edges.index((source, node))]
                if operation not in candidates:
                    raise ValueError(
                        f"Edge ({source}, {node}) of the {self.name} cell chooses among {list(candidates)}, but the "
                        f"genotype has {operation!r} there. It was made for another search space: name that one by "
                        "search_space=..., or another genotype."
                    )


@dataclass(frozen=True)
class CellDecisions:
    """What has been decided in one cell type."""

    operations: tuple[int | None, ...]  # per edge the index of the one that was kept; None while the edge is a mixture
    kept: tuple[bool, ...]  # per edge whether it still feeds its node
    nodes: tuple[int, ...] = ()  # as states, those whose inputs have been decided

    @staticmethod
    def none(space: CellSpace) -> "CellDecisions":
        """Return the state before any decision."""
        edges = len(space.operations)
        return CellDecisions((None,) * edges, (True,) * edges)

    def check(self, space: CellSpace) -> None:
        """Raise a ValueError if these are not decisions about the edges and candidates of `space`."""
        edges = len(space.operations)
        if (len(self.operations), len(self.kept)) != (edges, edges):
            raise ValueError(
                f"The {space.name} cell has {edges} edges, but the decisions are about {len(self.operations)}. "
                "They were made in another search space."
            )
        for edge, candidates, operation in zip(space.topology.edges, space.operations, self.operations, strict=True):
            if operation is not None and not 0 <= operation < len(candidates):
                raise ValueError(
                    f"Edge {edge} of the {space.name} cell chooses among {len(candidates)} operations, but the "
                    f"decision is for number {operation}, counted from 0."
                )

    def keep_operation(self, edge: int, operation: int) -> "CellDecisions":
        """Return these decisions, and `edge` decided."""
        return replace(self, operations=(*self.operations[:edge], operation, *self.operations[edge + 1 :]))

    def keep_inputs(self, space: CellSpace, node: int, edges: Iterable[int]) -> "CellDecisions":
        """Return these decisions with `node` fed by `edges` only."""
        keep, into = set(edges), set(space.topology.edges_into(node))
        if not keep <= into:
            raise ValueError(
                f"Node {node} of the {space.name} cell is fed by edges {sorted(into)}, not by {sorted(keep)}."
            )
        kept = tuple(edge in keep if edge in into else was for edge, was in enumerate(self.kept))
        return replace(self, kept=kept, nodes=(*self.nodes, node))

    @property
    def undecided_edges(self) -> tuple[int, ...]:
        """The edges that are still mixtures."""
        pairs = zip(self.operations, self.kept, strict=True)
        return tuple(edge for edge, (operation, kept) in enumerate(pairs) if kept and operation is None)

    def undecided_nodes(self, space: CellSpace) -> tuple[int, ...]:
        """Return the nodes (as states) that still have more inputs than the space allows."""
        topology = space.topology
        more = [
            node for node in topology.node_states if topology.edges_kept_into(node) < len(topology.edges_into(node))
        ]
        return tuple(node for node in more if node not in self.nodes)

    def genotype(self, space: CellSpace) -> CellGenotype:
        """Return the cell that was decided; a ValueError while an edge or a node is undecided."""
        topology = space.topology
        edges, nodes = [topology.edges[edge] for edge in self.undecided_edges], list(self.undecided_nodes(space))
        if edges or nodes:
            raise ValueError(f"The {space.name} cell is not decided yet: edges {edges}, nodes {nodes}.")

        def input_of(edge: int) -> Input:
            operation = self.operations[edge]
            assert operation is not None
            return Input(space.operations[edge][operation], topology.edges[edge][0])

        kept = [[edge for edge in topology.edges_into(node) if self.kept[edge]] for node in topology.node_states]
        return CellGenotype(space.name, topology.inputs, tuple(tuple(map(input_of, edges)) for edges in kept))

    def to_state(self) -> dict[str, list[Any]]:
        """Return plain lists for a checkpoint."""
        return {name: list(value) for name, value in vars(self).items()}

    @staticmethod
    def from_state(state: dict[str, list[Any]]) -> "CellDecisions":
        """Return the decisions that `to_state` wrote."""
        return CellDecisions(**{name: tuple(value) for name, value in state.items()})
