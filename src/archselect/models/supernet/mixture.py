"""Mixture weights: how much of each candidate operation goes into each edge of a cell.

`o_bar(x) = sum_o weight_o * o(x)` on every edge (DARTS, eq. 2). Masking, discretising, perturbing and sampling are
nothing but other weights. An operation without weight is *inactive*: it is neither evaluated nor stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from archselect.models.cell_space import CellSpace

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
        self,
        weights: Mapping[str, Tensor] | None = None,
        active: Mapping[str, Active] | None = None,
        drop_path: float | None = None,
        undrawn: Mapping[str, Tensor] | None = None,
    ) -> "MixtureWeights":
        """Return the same with other weights."""
        return MixtureWeights(
            {**self, **(weights or {})},
            {**self.active, **(active or {})},
            self.edges,
            self.drop_path if drop_path is None else drop_path,
            {**self.undrawn, **(undrawn or {})},
        )

    def with_undrawn(self) -> "MixtureWeights":
        """Return these weights, of which a draw left most at zero, with the sums of these for their gradient."""
        drawn = {cell: torch.tensor(self.active[cell], device=row.device) for cell, row in self.items()}
        return self.replaced(undrawn={cell: (row * ~drawn[cell]).sum(dim=1) for cell, row in self.items()})

    def detach(self) -> "MixtureWeights":
        """Return the same weights as constants: no gradient reaches the architecture parameters."""
        edges = {cell: weights.detach() for cell, weights in self.edges.items()}
        weights = {cell: weights.detach() for cell, weights in self.items()}
        return MixtureWeights(weights, self.active, edges, self.drop_path)  # what was not drawn is 0 from here on

    def masked(self, cell: str, edge: int, operation: int | None = None, renormalize: bool = False) -> "MixtureWeights":
        """Return these weights with one operation of an edge, or the whole edge, set to zero.

        Args:
            cell: The cell type.
            edge: Number of the edge.
            operation: Index of the candidate to mask; None masks the edge.
            renormalize: Scale what is left of the edge so that it sums to what it summed to before. The official code
                does not.
        """
        weights = self[cell].clone()
        row = weights[edge]
        keep = torch.zeros_like(row)
        if operation is not None:
            keep = torch.ones_like(row)
            keep[operation] = 0
        masked = row * keep
        if renormalize and operation is not None:
            masked = masked * (row.sum() / masked.sum().clamp_min(torch.finfo(row.dtype).tiny))
        weights[edge] = masked
        active = [list(candidates) for candidates in self.active[cell]]
        active[edge] = [was and operation is not None and index != operation for index, was in enumerate(active[edge])]
        return self.replaced({cell: weights}, {cell: tuple(tuple(candidates) for candidates in active)})


def nonzero(weights: Tensor) -> Active:
    """Return which of the `(edges, operations)` weights are not zero; a look at values, so it waits for a GPU."""
    return tuple(tuple(row) for row in (weights.detach() != 0).tolist())


@dataclass(frozen=True)
class Term:
    """One operation on those edges out of one source on which it is active."""

    operation: str
    edges: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What a cell has to evaluate: the terms that leave each source, and where their weights stand when flattened."""

    terms: tuple[tuple[Term, ...], ...]
    order: tuple[int, ...]


@lru_cache(maxsize=4096)
def plan(space: CellSpace, active: Active) -> Plan:
    """Return the plan for the active operations; `none` adds nothing and is left out."""
    terms: list[tuple[Term, ...]] = []
    order: list[int] = []
    for source in range(space.topology.inputs + space.topology.nodes):
        leaving = [edge for edge, (start, _) in enumerate(space.topology.edges) if start == source]
        names = dict.fromkeys(name for edge in leaving for name in space.operations[edge] if name != "none")
        here = []
        for name in names:
            edges = tuple(
                edge
                for edge in leaving
                if name in space.operations[edge] and active[edge][space.operations[edge].index(name)]
            )
            if edges:
                here.append(Term(name, edges))
                order += [edge * space.width + space.operations[edge].index(name) for edge in edges]
        terms.append(tuple(here))
    return Plan(tuple(terms), tuple(order))


@lru_cache(maxsize=4096)
def _order_on(order: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # what is cached while validating must serve training too
        return torch.tensor(order, dtype=torch.long, device=device)


class Mixture:
    """The weights of one cell type, sorted by source and operation as its cells evaluate them.

    Args:
        space: Edges and candidate operations of the cell type.
        weights: `(edges, operations)`; what stands beyond the last candidate of an edge is not read.
        active: Which of them may be other than zero; None: look at them.
        edges: What all weights of an edge are multiplied by, `(edges,)`; None: 1.
        auxiliary: Weight of the auxiliary skip connection beside each of `auxiliary_edges` (DARTS-minus).
        auxiliary_edges: The edges that have one.
        drop_path: See `MixtureWeights`.
        undrawn: See `MixtureWeights`, `(edges,)`; None: nothing is added.

    Attributes:
        feeding: The edges that carry anything.
        edges: Their weights as a whole, `(edges,)`; None: 1.
    """

    def __init__(
        self,
        space: CellSpace,
        weights: Tensor,
        active: Active | None = None,
        edges: Tensor | None = None,
        auxiliary: float = 0.0,
        auxiliary_edges: tuple[int, ...] = (),
        drop_path: float = 0.0,
        undrawn: Tensor | None = None,
    ) -> None:
        if weights.shape != (len(space.operations), space.width):
            raise ValueError(
                f"The mixture weights of the {space.name} cell must be (edges, operations) = "
                f"{(len(space.operations), space.width)}; got {tuple(weights.shape)}."
            )
        active = nonzero(weights) if active is None else active
        self.edges = edges
        self.auxiliary = auxiliary
        self.auxiliary_edges = auxiliary_edges if auxiliary else ()
        self.feeding = frozenset(edge for edge, candidates in enumerate(active) if any(candidates))
        self.drop_path = drop_path
        self._undrawn = undrawn
        if edges is not None:
            weights = weights * edges.unsqueeze(1)
            self._undrawn = None if undrawn is None else undrawn * edges
        self._like = weights
        self._plan = plan(space, active)
        ordered = weights.reshape(-1)[_order_on(self._plan.order, weights.device)]
        values = iter(ordered.split([len(term.edges) for terms in self._plan.terms for term in terms]))
        self._values = tuple(tuple(next(values) for _ in terms) for terms in self._plan.terms)

    def leaving(self, source: int) -> tuple[tuple[Term, Tensor], ...]:
        """Return the terms that leave `source`, each with the weights `(len(term.edges),)` of its edges."""
        return tuple(zip(self._plan.terms[source], self._values[source], strict=True))

    def auxiliary_weights(self, edges: Sequence[int]) -> Tensor:
        """Return the weights `(len(edges),)` of the auxiliary skip connections beside edges."""
        weights = self._like.new_full((len(edges),), self.auxiliary)
        return weights if self.edges is None else weights * self.edges[list(edges)]

    def undrawn_into(self, edges: Sequence[int]) -> Tensor | None:
        """Return what some edges add to every element of their sum, a scalar; None: nothing."""
        return None if self._undrawn is None else self._undrawn[list(edges)].sum()
