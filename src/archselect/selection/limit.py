"""What the selected network may cost at most, and which decisions leave a network that costs no more.

What an architecture costs is a sum over its edges (`costs.expected`), and each node keeps its inputs whatever the
others do. So whether decisions can be completed within the limits is known exactly: of what each node can still come
to, the Pareto-minimal costs matter, one for a single limit and few for several, and their sums over the nodes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations, product
from typing import NamedTuple

from archselect.costs.expected import CostModel, Skeleton
from archselect.costs.latency_table import NANOSECONDS, cost_in_words, cost_models, option_of, unit_of
from archselect.genotype import Genotype
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.utils.validation import PositiveFloat, check_fields

Costs = tuple[int, ...]
"""What is limited, in the order of `Budget.bounds`."""

Decisions = Mapping[str, CellDecisions]

REMEMBERED = 2**16
"""So many nodes and sums are not computed again."""


@dataclass(frozen=True)
class Limit:
    """The options `selection.limit`: see `configs/selection/limit`."""

    macs: PositiveFloat | None = None
    params: PositiveFloat | None = None
    latency_ms: PositiveFloat | None = None
    latency_table: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, "selection.limit")
        if self.latency_ms is not None and self.latency_table is None:
            raise ValueError(
                "selection.limit.latency_ms needs selection.limit.latency_table=FILE, the latency of each operation. "
                "python -m archselect.costs measure writes one."
            )
        if self.latency_table is not None and self.latency_ms is None:
            raise ValueError(
                "selection.limit.latency_table is for selection.limit.latency_ms, which is not set. Set it, or leave "
                "the table out."
            )

    @property
    def most(self) -> dict[str, float]:
        """What is limited, and to how much, in the units of the cost models."""
        given = {"macs": self.macs, "params": self.params, "latency": self.latency_ms and self.latency_ms * NANOSECONDS}
        return {name: value for name, value in given.items() if value is not None}

    def budget(self, skeleton: Skeleton) -> "Budget | None":
        """Return what decides which networks of a skeleton are within the limits; None where there is no limit."""
        if not self.most:
            return None
        models = cost_models(self.most, skeleton, self.latency_table)
        return Budget(skeleton.space.cells, tuple(Bound(name, models[name], most) for name, most in self.most.items()))


class Bound(NamedTuple):
    """One of the limits: what is limited, what architectures cost, and the most that is allowed."""

    measure: str
    model: CostModel
    most: float

    def words(self, cost: float) -> str:
        """Return a cost in the unit in which it is typed."""
        return cost_in_words(self.measure, cost / self.unit)

    @property
    def unit(self) -> int:
        """How many of the model's units are one of the option's."""
        return unit_of(self.measure)

    @property
    def option(self) -> str:
        """The option that sets it."""
        return f"selection.limit.{option_of(self.measure)}"


class _Node(NamedTuple):
    """What the costs of a node's completions depend on."""

    cell: str
    edges: tuple[int, ...]  # that feed it
    operations: tuple[int | None, ...]  # of each; None: not decided
    keeps: int  # so many of them
    required: frozenset[int]  # these among them


@dataclass(frozen=True, eq=False)
class Budget:
    """Which decisions leave an architecture within the limits.

    Attributes:
        cells: The choices of each cell type.
        bounds: The limits.
    """

    cells: Mapping[str, CellSpace]
    bounds: Sequence[Bound]

    def fits(self, decisions: Decisions, required: Collection[tuple[str, int]] = ()) -> bool:
        """Return whether decisions can be completed within the limits, so that nodes keep the edges `required`."""
        return bool(self._sums(self._nodes(decisions, required)))

    def operations(self, decisions: Decisions, cell: str, edge: int) -> list[int]:
        """Return the candidates of an undecided edge that a network within the limits can have there.

        Where none can, because the node will have to drop this edge, these are all that can be decided.
        """
        candidates = range(len(self.cells[cell].operations[edge]))
        then = {o: {**decisions, cell: decisions[cell].keep_operation(edge, o)} for o in candidates}
        kept = [operation for operation in candidates if self.fits(then[operation], [(cell, edge)])]
        return kept or [operation for operation in candidates if self.fits(then[operation])]

    def droppable(self, decisions: Decisions, cell: str, edges: Iterable[int]) -> list[int]:
        """Return those of the in-edges of a node without which a network within the limits is left."""
        return [edge for edge in edges if self.fits({**decisions, cell: without_edge(decisions[cell], edge)})]

    def inputs(self, decisions: Decisions, cell: str, node: int) -> list[tuple[int, ...]]:
        """Return the sets of in-edges that a node can keep within the limits."""
        space, decided = self.cells[cell], decisions[cell]
        sets = self._input_sets(decisions, cell, node)
        return [one for one in sets if self.fits({**decisions, cell: decided.keep_inputs(space, node, one)})]

    def _input_sets(self, decisions: Decisions, cell: str, node: int) -> Iterator[tuple[int, ...]]:
        topology = self.cells[cell].topology
        into = [edge for edge in topology.edges_into(node) if decisions[cell].kept[edge]]
        return combinations(into, topology.edges_kept_into(node))

    def excluded_inputs(self, decisions: Decisions, cell: str, node: int) -> tuple[tuple[int, ...], ...]:
        """Return the sets of in-edges that a node cannot keep within the limits."""
        fitting = set(self.inputs(decisions, cell, node))
        return tuple(one for one in self._input_sets(decisions, cell, node) if one not in fitting)

    def describe(self, genotype: Genotype) -> dict[str, dict[str, float]]:
        """Return each limit and what an architecture has of it, in the units of the options."""
        return {
            option_of(bound.measure): {
                "most": bound.most / bound.unit,
                "of_network": bound.model.cost(genotype) / bound.unit,
            }
            for bound in self.bounds
        }

    def check(self, decisions: Decisions, what: str, advice: str) -> None:
        """Raise a ValueError where no completion of some decisions fits; `what` stands for them in the sentence."""
        if self.fits(decisions):
            return
        for bound in self.bounds:
            alone = Budget(self.cells, [bound])
            if not alone.fits(decisions):
                least = bound.words(alone.least(decisions))
                raise ValueError(
                    f"{what} has at least {least}, but {bound.option} allows {bound.words(bound.most)}. {advice}"
                )
        options = " and ".join(f"{bound.option} ({bound.words(bound.most)})" for bound in self.bounds)
        raise ValueError(f"{what} meets each of {options} alone, but not all of them at once. {advice}")

    def least(self, decisions: Decisions) -> int:
        """Return the least that any completion of decisions costs, of the first limit."""
        unlimited = replace(self, bounds=[self.bounds[0]._replace(most=float("inf"))])
        ((least,),) = unlimited._sums(unlimited._nodes(decisions, ()))
        return least

    def check_genotype(self, genotype: Genotype) -> None:
        """Raise a ValueError for an architecture that is not within the limits."""
        for bound in self.bounds:
            if (cost := bound.model.cost(genotype)) > bound.most:
                raise ValueError(
                    f"The network of this genotype has {bound.words(cost)}, but {bound.option} allows "
                    f"{bound.words(bound.most)}. Give another genotype, or raise the limit."
                )

    def _nodes(self, decisions: Decisions, required: Collection[tuple[str, int]]) -> tuple[_Node, ...]:
        """Return the nodes of all cell types."""
        nodes = []
        for cell, space in self.cells.items():
            decided = decisions[cell]
            for node in space.topology.node_states:
                edges = tuple(edge for edge in space.topology.edges_into(node) if decided.kept[edge])
                operations = tuple(decided.operations[edge] for edge in edges)
                keeps = min(len(edges), space.topology.edges_kept_into(node))
                needed = frozenset(edge for edge in edges if (cell, edge) in required)
                nodes.append(_Node(cell, edges, operations, keeps, needed))
        return tuple(nodes)

    @cached_property
    def _sums(self) -> Callable[[tuple[_Node, ...]], tuple[Costs, ...]]:
        """What makes of nodes the Pareto-minimal costs within the limits of all architectures that they leave."""

        @lru_cache(maxsize=REMEMBERED)
        def sums(nodes: tuple[_Node, ...]) -> tuple[Costs, ...]:
            if not nodes:
                return self._minimal([tuple(bound.model.fixed for bound in self.bounds)])
            *others, last = nodes
            return self._minimal(_added(sums(tuple(others)), self._completions(last)))

        return sums

    @cached_property
    def _completions(self) -> Callable[[_Node], tuple[Costs, ...]]:
        """What makes of a node the Pareto-minimal costs that it can come to."""

        @lru_cache(maxsize=REMEMBERED)
        def completions(node: _Node) -> tuple[Costs, ...]:
            of_edges, found = dict[int, tuple[Costs, ...]](), list[Costs]()
            for edge, decided in zip(node.edges, node.operations, strict=True):
                candidates = range(len(self.cells[node.cell].operations[edge])) if decided is None else [decided]
                of_edges[edge] = self._minimal(self._cost(node.cell, edge, operation) for operation in candidates)
            for kept in combinations(node.edges, node.keeps):
                if node.required <= set(kept):
                    found += map(_sum, product(*(of_edges[edge] for edge in kept)))
            return self._minimal(found)

        return completions

    def _cost(self, cell: str, edge: int, operation: int) -> Costs:
        return tuple(bound.model.operations[cell][edge][operation] for bound in self.bounds)

    def _minimal(self, costs: Iterable[Costs]) -> tuple[Costs, ...]:
        """Return the costs within the limits that no other is below in everything."""
        kept: list[Costs] = []
        for one in sorted(set(costs)):
            within = all(cost <= bound.most for cost, bound in zip(one, self.bounds, strict=True))
            if within and not any(all(map(int.__le__, other, one)) for other in kept):
                kept.append(one)
        return tuple(kept)


def without_edge(decisions: CellDecisions, edge: int) -> CellDecisions:
    """Return decisions by which an edge does not feed its node any more, which may drop others still."""
    return replace(decisions, kept=tuple(kept and other != edge for other, kept in enumerate(decisions.kept)))


def _added(costs: Iterable[Costs], others: Iterable[Costs]) -> Iterator[Costs]:
    return map(_sum, product(costs, others))


def _sum(costs: Sequence[Costs]) -> Costs:
    return tuple(map(sum, zip(*costs, strict=True)))
