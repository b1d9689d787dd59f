"""Networks in which layers or edges have changed places for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from archselect.networks.cell_space import CellSpace
from archselect.networks.mixed_cell import MixedCell
from archselect.networks.mixture import MixtureWeights
from archselect.networks.reference import ReferenceNetwork
from archselect.networks.supernet import Supernet


def exchangeable(supernet: Supernet) -> dict[str, list[tuple[int, int]]]:
    """Return, of every cell type, the pairs of edges with the same candidates and the same stride in all its cells."""
    halved = {cell.space.name for cell in _cells(supernet) if cell.stride > 1}
    return {name: _pairs(space, name in halved) for name, space in supernet.cell_spaces.items()}


def _pairs(space: CellSpace, halved: bool) -> list[tuple[int, int]]:
    edges = space.topology.edges
    strided = [halved and source < space.topology.inputs for source, _ in edges]
    return [
        (first, second)
        for first in range(len(edges))
        for second in range(first + 1, len(edges))
        if space.operations[first] == space.operations[second] and strided[first] == strided[second]
    ]


def _cells(supernet: Supernet) -> list[MixedCell]:
    return [module for module in supernet.modules() if isinstance(module, MixedCell)]


@contextmanager
def exchanged_layers(network: ReferenceNetwork, generator: torch.Generator | None) -> Iterator[None]:
    """Let two random layers of each stage change places for a while; none without a generator."""
    pairs = []
    for stage in range(len(network.stages) if generator is not None else 0):
        first, second = torch.randperm(network.layers, generator=generator)[:2].tolist()
        pairs.append((stage, first, second))
    for pair in pairs:
        network.exchange(*pair)
    try:
        yield
    finally:
        for pair in pairs:
            network.exchange(*pair)


@contextmanager
def exchanged_edges(supernet: Supernet, generator: torch.Generator | None) -> Iterator[MixtureWeights]:
    """Let two random edges of every cell type change operations for a while; yields the weights that go along.

    Nothing changes without a generator.
    """
    weights = supernet.mixture_weights().detach()
    if generator is None:
        yield weights
        return
    drawn = {}
    for name, pairs in exchangeable(supernet).items():
        drawn[name] = pairs[int(torch.randint(len(pairs), (), generator=generator))]
    for cell in _cells(supernet):
        cell.exchange(*drawn[cell.space.name])
    try:
        yield with_rows_exchanged(weights, drawn)
    finally:
        for cell in _cells(supernet):
            cell.exchange(*drawn[cell.space.name])


def with_rows_exchanged(weights: MixtureWeights, pairs: Mapping[str, tuple[int, int]]) -> MixtureWeights:
    """Return mixture weights in which two edges of each cell type have each other's."""
    rows: dict[str, Tensor] = {}
    active = {}
    for name, (first, second) in pairs.items():
        order = list(range(len(weights[name])))
        order[first], order[second] = second, first
        rows[name] = weights[name][order]
        active[name] = tuple(weights.active[name][edge] for edge in order)
    return weights.replaced(rows, active)
