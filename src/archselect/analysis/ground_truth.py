"""What each operation on each edge of a NAS-Bench-201 cell is worth, by the benchmark's table."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archselect.genotype import Genotype
from archselect.models.cell_space import CellSpace

TRUTHS = ("true_mean", "true_best", "true_conditional")
"""Of the architectures with an operation on an edge: the mean, the best, and the one that is else the run's own."""


def truths(accuracies: NDArray[np.float64], edge: int, own: Sequence[int]) -> list[dict[str, float]]:
    """Return `TRUTHS` of each operation of an edge, in percent.

    Args:
        accuracies: Of all cells, an axis per edge (see `NASBench201Table.accuracies`).
        edge: Number of the edge.
        own: The operations of the run's architecture, by index, an entry per edge.
    """
    by_operation = np.moveaxis(accuracies, edge, 0)
    others = tuple(operation for number, operation in enumerate(own) if number != edge)
    return [
        dict(zip(TRUTHS, (float(cells.mean()), float(cells.max()), float(cells[others])), strict=True))
        for cells in by_operation
    ]


def own_operations(genotype: Genotype, space: CellSpace) -> list[int]:
    """Return the operation of every edge of the cell, by index."""
    chosen: Mapping[tuple[int, int], str] = {
        (source, target): operation for source, target, operation in genotype.cell(space.name).edges
    }
    return [space.operations[number].index(chosen[edge]) for number, edge in enumerate(space.topology.edges)]
