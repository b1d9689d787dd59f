"""Mixture weights, how much of each candidate operation goes into each edge of a cell: DARTS, sec. 2.2, eq. 2.

`o_bar(x) = sum_o weight_o * o(x)` on every edge. Masking, discretising, perturbing and sampling are nothing but other
weights. An operation without weight is *inactive*: it is neither evaluated nor stored.

Here are the weights alone: `relaxation` makes them of `alpha` (the softmax), `mixed_cell` takes the sum, by the
operations in `mixed_ops`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from archselect.models.cell_space import CellDecisions, CellSpace

Active = tuple[tuple[bool, ...], ...]
"""Per edge and candidate: may it have weight?"""


class MixtureWeights(dict[str, Tensor]):
    """Mixture weights of every cell type, `(edges, operations)` each, that know on the host which of them are zero.

    Finding the zeros of a tensor on a GPU would halt the host, so whoever makes the weights says where they are.

    Args:
        weights: Cell type -> `(edges, operations)`.
        active: Cell type -> which of them may be other than zero.
        edges: Cell type -> `(edges,)`, what all weights of an edge are multiplied by; left out: 1.
        drop_path: Each operation but identities is left out of this share of the images, drawn anew for each edge and
            cell, and the others are scaled so that the mean stays.
        undrawn: Cell type -> `(edges,)`, the sum of the weights that a draw left at zero, where edges add it to every
            element of their output for the sake of its gradient (see `relaxation.Undrawn`); left out: they do not.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        active: Mapping[str, Active],
        edges: Mapping[str, Tensor] | None = None,
        drop_path: float = 0.0,
        undrawn: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(weights)
        self.active = dict(active)
        self.edges = dict(edges or {})
        self.drop_path = drop_path
        self.undrawn = dict(undrawn or {})

    def replaced(
        self, weights: Mapping[str, Tensor] | None = None, active: Mapping[str, Active] | None = None, **others: Any
    ) -> "MixtureWeights":
        """Return the same with other weights of some cell types, and other `edges`, `drop_path` or `undrawn`."""
        same = {"edges": self.edges, "drop_path": self.drop_path, "undrawn": self.undrawn}
        return MixtureWeights({**self, **(weights or {})}, {**self.active, **(active or {})}, **{**same, **others})

    def detach(self) -> "MixtureWeights":
        """Return the same weights as constants: no gradient reaches the architecture parameters."""
        weights, edges = ({cell: row.detach() for cell, row in rows.items()} for rows in (self, self.edges))
        return self.replaced(weights, edges=edges, undrawn={})  # what was not drawn is 0 from here on

    def masked(self, cell: str, edge: int, operation: int | None = None, renormalize: bool = False) -> "MixtureWeights":
        """Return these weights with one operation of an edge, or the whole edge, set to zero.

        Args:
            cell: The cell type.
            edge: Number of the edge.
            operation: Index of the candidate to mask; None masks the edge.
            renormalize: Scale what is left of the edge so that it sums to what it summed to before. The official code
                does not.
        """
        weights, active = self[cell].clone(), list(self.active[cell])
        keep = torch.ones_like(weights[edge])
        keep[slice(None) if operation is None else operation] = 0
        row = self[cell][edge] * keep
        if renormalize and operation is not None:
            row = row * (self[cell][edge].sum() / row.sum().clamp_min(torch.finfo(row.dtype).tiny))
        weights[edge] = row
        active[edge] = tuple(was and operation not in (None, index) for index, was in enumerate(active[edge]))
        return self.replaced({cell: weights}, {cell: tuple(active)})


class DecisionMasks(nn.Module):
    """What has been decided in one cell type, as 0/1 factors: relaxing under it is one multiply-add on any device."""

    exists: Tensor  # which candidates an edge has, (edges, operations)
    mixed: Tensor  # 1 for the candidates of undecided edges, (edges, operations)
    decided: Tensor  # 1 for the operation that a decided edge kept, (edges, operations)
    feeds: Tensor  # 1 for the edges that feed a node, (nodes, edges)

    def __init__(self, space: CellSpace) -> None:
        super().__init__()
        self.space = space
        exists = [[index < len(candidates) for index in range(space.width)] for candidates in space.operations]
        self.register_buffer("exists", torch.tensor(exists), persistent=False)
        for name in ("mixed", "decided", "feeds"):
            self.register_buffer(name, torch.empty(0), persistent=False)
        self.decide(CellDecisions.none(space))

    def decide(self, decisions: CellDecisions) -> None:
        """Take what has been decided."""
        edges, options = list(zip(decisions.operations, decisions.kept, strict=True)), range(self.space.width)
        self.decisions = decisions
        self.active: Active = tuple(
            tuple(kept and index < len(candidates) and operation in (None, index) for index in options)
            for candidates, (operation, kept) in zip(self.space.operations, edges, strict=True)
        )
        self.mixed = self._factors([[kept and operation is None for _ in options] for operation, kept in edges])
        self.decided = self._factors([[kept and operation == index for index in options] for operation, kept in edges])
        into = map(self.space.topology.edges_into, self.space.topology.node_states)
        self.feeds = self._factors([[kept and edge in of for edge, (_, kept) in enumerate(edges)] for of in into])

    def _factors(self, rows: Sequence[Sequence[bool]]) -> Tensor:
        with torch.inference_mode(False):  # what is decided while validating must serve training too
            return torch.tensor(rows, dtype=self.mixed.dtype, device=self.mixed.device)


def nonzero(weights: Tensor) -> Active:
    """Return which of the `(edges, operations)` weights are not zero; a look at values, so it waits for a GPU."""
    return tuple(tuple(row) for row in (weights.detach() != 0).tolist())


@dataclass(frozen=True)
class Term:
    """One operation on those edges out of one state on which it is active.

    Attributes:
        operation: Its name.
        edges: The edges, as the cell numbers them.
        positions: Where they stand among the edges out of the state that offer the operation.
    """

    operation: str
    edges: tuple[int, ...]
    positions: tuple[int, ...]


@lru_cache(maxsize=4096)
def terms_by_source(space: CellSpace, active: Active) -> tuple[tuple[Term, ...], ...]:
    """Return, for each state, the terms that leave it; `none` adds nothing and is left out."""

    def terms(state: int) -> Iterator[Term]:
        for name, offering in space.stacks(state).items():
            found = [(edge, at) for at, edge in enumerate(offering) if active[edge][space.operations[edge].index(name)]]
            if found:
                yield Term(name, *map(tuple, zip(*found, strict=True)))

    return tuple(tuple(terms(state)) for state in space.topology.states)


@lru_cache(maxsize=4096)
def _places(space: CellSpace, active: Active, device: torch.device) -> Tensor:
    """Return where the weights of the terms stand in the flattened `(edges, operations)`, one term after another."""
    terms = [term for terms in terms_by_source(space, active) for term in terms]
    places = [
        edge * space.width + space.operations[edge].index(term.operation) for term in terms for edge in term.edges
    ]
    with torch.inference_mode(False):  # what is cached while validating must serve training too
        return torch.tensor(places, dtype=torch.long, device=device)


@dataclass(eq=False)
class Mixture:
    """The weights of one cell type, sorted by source and operation as its cells evaluate them.

    Attributes:
        space: Edges and candidate operations of the cell type.
        weights: `(edges, operations)`; what stands beyond the last candidate of an edge is not read.
        active: Which of them may be other than zero; None: look at them.
        edges: What all weights of an edge are multiplied by, `(edges,)`; None: 1.
        auxiliary: Weight of the auxiliary skip connection beside each of `auxiliary_edges` (DARTS-minus).
        auxiliary_edges: The edges that have one.
        drop_path: Share of the images that each operation but identities is left out of.
        undrawn: What edges add to their output for its gradient, `(edges,)`; None: nothing.
        feeding: The edges that carry anything.
    """

    space: CellSpace
    weights: Tensor
    active: InitVar[Active | None] = None
    edges: Tensor | None = None
    auxiliary: float = 0.0
    auxiliary_edges: tuple[int, ...] = ()
    drop_path: float = 0.0
    undrawn: Tensor | None = None

    def __post_init__(self, active: Active | None) -> None:
        space, edges = self.space, self.edges
        if self.weights.shape != (len(space.operations), space.width):
            raise ValueError(
                f"The mixture weights of the {space.name} cell must be (edges, operations) = "
                f"{(len(space.operations), space.width)}; got {tuple(self.weights.shape)}."
            )
        active = nonzero(self.weights) if active is None else active
        self.auxiliary_edges = self.auxiliary_edges if self.auxiliary else ()
        self.feeding = frozenset(edge for edge, candidates in enumerate(active) if any(candidates))
        if edges is not None:
            self.weights = self.weights * edges.unsqueeze(1)
            self.undrawn = None if self.undrawn is None else self.undrawn * edges
        terms = terms_by_source(space, active)
        ordered = self.weights.reshape(-1)[_places(space, active, self.weights.device)]
        values = iter(ordered.split([len(term.edges) for of_source in terms for term in of_source]))
        self._terms = tuple(tuple((term, next(values)) for term in of_source) for of_source in terms)

    def terms_from(self, source: int) -> tuple[tuple[Term, Tensor], ...]:
        """Return the terms that leave `source`, each with the weights `(len(term.edges),)` of its edges."""
        return self._terms[source]

    def auxiliary_weights(self, edges: Sequence[int]) -> Tensor:
        """Return the weights `(len(edges),)` of the auxiliary skip connections beside edges."""
        weights = self.weights.new_full((len(edges),), self.auxiliary)
        return weights if self.edges is None else weights * self.edges[list(edges)]

    def undrawn_into(self, edges: Sequence[int]) -> Tensor | None:
        """Return what some edges add to every element of their sum, a scalar; None: nothing."""
        return None if self.undrawn is None else self.undrawn[list(edges)].sum()
