"""What the architectures of a search space cost: a sum over the edges that they keep, so that a mixture has a mean.

    cost(genotype) = fixed + sum over kept edges e of cost(e, the operation on e)

`fixed` is what all networks of a skeleton have in common: stem, preprocessing of the cells, head. What an operation
adds on an edge is counted, not derived: an example network says for which channels, stride and resolution the
operations of each cell are built, and every candidate is built and counted there, one of a user's own as well.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from archselect.costs.count import Costs, count
from archselect.genotype import Genotype
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.discrete.network import DiscreteCell, DiscreteNetwork
from archselect.models.ops import build_operation, primitive
from archselect.search_spaces import SearchSpace

Decisions = Mapping[str, CellDecisions]

COUNTED = ("macs", "params")
"""What is counted of a network, and is a sum over its edges; its activations are none."""


class Place(NamedTuple):
    """What an operation is built for, and the side of its input in pixels."""

    channels: int
    stride: int
    size: int


Places = Mapping[str, tuple[Counter[Place], ...]]
"""Cell type -> per edge, how often the skeleton has it at each place."""


@dataclass(frozen=True)
class Skeleton:
    """The discrete networks of a space that differ in nothing but their genotype.

    Attributes:
        space: The search space.
        network: Makes the network of a genotype.
        image_size: Side of its images in pixels.
        description: All that its costs depend on besides the operations and the genotype, as JSON-able data.
    """

    space: SearchSpace
    network: Callable[[Genotype], DiscreteNetwork]
    image_size: int
    description: Mapping[str, Any]

    @classmethod
    def of(cls, space: SearchSpace, image_size: int, outputs: int, in_channels: int = 3, **sizes: Any) -> "Skeleton":
        """Return that of the networks of a space; `sizes`: what `SearchSpace.network` takes, or else the supernet's."""
        sizes = sizes or dict(space.supernet_sizes)
        images = {"image_size": image_size, "in_channels": in_channels, "outputs": outputs}

        def network(genotype: Genotype) -> DiscreteNetwork:
            return space.network(genotype, image_size, outputs, in_channels=in_channels, **sizes)

        return cls(space, network, image_size, {**images, "network": sizes})

    def example(self) -> DiscreteNetwork:
        """Return some network, without values: on the meta device."""
        with torch.device("meta"):
            return self.network(self.space.example())

    @cached_property
    def places(self) -> Places:
        """Where the operations of each edge stand; a ValueError for networks that have no such cells."""
        found = dict[str, tuple[Counter[Place], ...]]()
        for name, choices in self.space.cells.items():
            found[name] = tuple(Counter[Place]() for _ in choices.topology.edges)

        def note(cell: nn.Module, inputs: tuple[Any, ...], outputs: list[Tensor]) -> None:
            assert isinstance(cell, DiscreteCell)
            states = [*inputs[0], *outputs]
            for edge, (source, _) in enumerate(self.space.cells[cell.name].topology.edges):
                _, channels, size, _ = states[source].shape
                found[cell.name][edge][Place(channels, cell.strides[source], size)] += 1

        network = self.example()
        cells = [module for module in network.modules() if isinstance(module, DiscreteCell)]
        if not cells:
            raise ValueError(
                f"The networks of search space {self.space.name!r} have no DiscreteCell, so nothing says where their "
                "operations stand. Build them of archselect.models.discrete.network.DiscreteCell."
            )
        for cell in cells:
            cell.register_forward_hook(note)
        count(network, self.image_size, network.in_channels)
        return found


@dataclass(frozen=True)
class CostModel:
    """What every architecture of a skeleton costs, in whole numbers.

    Attributes:
        cells: The choices of each cell type.
        fixed: What all architectures have in common.
        operations: Cell type -> per edge and candidate what it adds, summed over all cells of the type.
    """

    cells: Mapping[str, CellSpace]
    fixed: int
    operations: Mapping[str, tuple[tuple[int, ...], ...]]

    def cost(self, genotype: Genotype) -> int:
        """Return what an architecture costs."""
        total = self.fixed
        for name, space in self.cells.items():
            for source, target, operation in genotype.cell(name).edges:
                edge = space.topology.edges.index((source, target))
                total += self.operations[name][edge][space.operations[edge].index(operation)]
        return total

    def expected(self, weights: Mapping[str, Tensor], decisions: Decisions) -> Tensor:
        """Return the mean cost of the architectures that a mixture stands for, a scalar in float64.

        An edge has each operation with the share of it in the edge's weights (ProxylessNAS, Cai et al., ICLR 2019,
        arXiv 1812.00332, sec. 3.3.1: E[latency] = sum_j p_j F(o_j)). While a node has n inputs of which it will keep k,
        each is kept with probability k / n, for which the weights of operations say nothing; so once everything is
        decided this is the cost of the architecture, to the last unit.

        Args:
            weights: Cell type -> `(edges, operations)`, as of `Supernet.mixture_weights`: zero on dropped edges.
            decisions: What has been decided in each cell type.
        """
        total = torch.tensor(float(self.fixed), dtype=torch.float64)
        for name, space in self.cells.items():
            rows = weights[name].double()
            sums = rows.sum(dim=1, keepdim=True)
            shares = rows / sums.where(sums > 0, 1)  # dropped edges have no weight
            # Where an edge has fewer candidates than others, their weight is zero as well.
            costs = [[*edge, *[0] * (space.width - len(edge))] for edge in self.operations[name]]
            of_edges = (shares * torch.tensor(costs, dtype=rows.dtype, device=rows.device)).sum(dim=1)
            kept = torch.tensor(_kept_probabilities(space, decisions[name]), dtype=rows.dtype, device=rows.device)
            total = total.to(rows.device) + (kept * of_edges).sum()
        return total

    @property
    def highest(self) -> int:
        """What the most expensive architecture costs."""
        return self._extreme(max)

    @property
    def lowest(self) -> int:
        """What the cheapest architecture costs."""
        return self._extreme(min)

    def _extreme(self, choose: Callable[[Iterable[int]], int]) -> int:
        total = self.fixed
        for name, space in self.cells.items():
            of_edges = [choose(edge) for edge in self.operations[name]]
            for node in space.topology.node_states:
                into = sorted((of_edges[edge] for edge in space.topology.edges_into(node)), reverse=choose is max)
                total += sum(into[: space.topology.edges_kept_into(node)])
        return total


def _kept_probabilities(space: CellSpace, decisions: CellDecisions) -> list[float]:
    """Return for each edge how probable it is that its node keeps it, where those that are left are alike."""
    kept = [0.0] * len(space.operations)
    for node in space.topology.node_states:
        feeding = [edge for edge in space.topology.edges_into(node) if decisions.kept[edge]]
        for edge in feeding:
            kept[edge] = min(1.0, space.topology.edges_kept_into(node) / len(feeding))
    return kept


def linear_model(skeleton: Skeleton, fixed: int, cost: Callable[[str, Place], int]) -> CostModel:
    """Return the costs of a skeleton whose operation at a place costs so much.

    Operations that are zero cost nothing: networks leave such edges out.
    """
    space = skeleton.space

    def of_edge(candidate: str, places: Counter[Place]) -> int:
        if primitive(candidate, space.primitives).zero:
            return 0
        return sum(times * cost(candidate, place) for place, times in places.items())

    operations = {}
    for name, cell in space.cells.items():
        operations[name] = tuple(
            tuple(of_edge(candidate, there) for candidate in candidates)
            for candidates, there in zip(cell.operations, skeleton.places[name], strict=True)
        )
    return CostModel(space.cells, fixed, operations)


def counted_models(skeleton: Skeleton) -> dict[str, CostModel]:
    """Return `macs` and `params` of the architectures of a skeleton: equal to those counted of each, to the last one.

    Example:
        >>> space = archselect.DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=4, layers=3)
        >>> counted = counted_models(Skeleton.of(space, image_size=8, outputs=10))
        >>> {name: model.cost(space.example()) for name, model in counted.items()}
        {'macs': 119168, 'params': 8822}
    """
    space = skeleton.space

    @cache
    def costs_at(operation: str, place: Place) -> Costs:
        with torch.device("meta"):
            return count(operation_at(space, operation, place), place.size, place.channels)

    def counted(name: str, operation: str, place: Place) -> int:
        return int(getattr(costs_at(operation, place), name))

    example = skeleton.example()
    whole = count(example, skeleton.image_size, example.in_channels)
    models = {}
    for name in COUNTED:
        model = linear_model(skeleton, 0, partial(counted, name))
        models[name] = replace(model, fixed=int(getattr(whole, name)) - model.cost(space.example()))
    return models


def operations_at(skeleton: Skeleton) -> list[tuple[str, Place]]:
    """Return every candidate that networks build at every place where a skeleton may have it, each once."""
    space = skeleton.space
    found = dict.fromkeys(
        (candidate, place)
        for name, cell in space.cells.items()
        for candidates, of_edge in zip(cell.operations, skeleton.places[name], strict=True)
        for candidate in candidates
        if not primitive(candidate, space.primitives).zero
        for place in of_edge
    )
    return list(found)


def operation_at(space: SearchSpace, operation: str, place: Place) -> nn.Module:
    """Return an operation of a space as discrete networks have it at a place."""
    return build_operation(operation, place.channels, place.stride, primitives=space.primitives)
