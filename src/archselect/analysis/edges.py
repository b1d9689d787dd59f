"""The edges that an analysis goes through, and how well two orders of their operations agree."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from scipy.stats import kendalltau

from archselect.analysis.analysis import Table
from archselect.networks.cell_space import CellSpace
from archselect.networks.supernet import Supernet

CONVOLUTIONS = ("sep_conv", "dil_conv", "nor_conv")
"""How the names of operations with convolutions begin."""


class Edge(NamedTuple):
    """An edge that has something to choose."""

    space: CellSpace
    number: int

    @property
    def cell(self) -> str:
        """The cell type."""
        return self.space.name

    @property
    def name(self) -> str:
        """`(source,target)`."""
        return edge_name(self.space.topology.edges[self.number])

    @property
    def operations(self) -> tuple[str, ...]:
        """The candidates."""
        return self.space.operations[self.number]


def edge_name(edge: Sequence[int]) -> str:
    """Return `(source,target)`."""
    return f"({edge[0]},{edge[1]})"


def open_edges(supernet: Supernet) -> list[Edge]:
    """Return the edges that are undecided and have two candidates or more."""
    return [
        Edge(space, edge)
        for name, space in supernet.cell_spaces.items()
        for edge in supernet.decisions[name].undecided_edges
        if len(space.operations[edge]) > 1
    ]


def is_convolution(operation: str) -> bool:
    """Return whether an operation has a convolution."""
    return operation.startswith(CONVOLUTIONS)


def by_edge(rows: Table) -> Iterator[tuple[tuple[str, str], Table]]:
    """Yield (cell, edge) and its rows, in order."""
    for key, own in groupby(rows, key=lambda row: (row["cell"], row["edge"])):
        yield key, list(own)


def tau(rows: Table, one: str, other: str) -> float | None:
    """Return Kendall's tau-b between two columns; None where one of them is constant or the rows are fewer than two."""
    x, y = ([row[name] for row in rows] for name in (one, other))
    if len(rows) < 2 or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(kendalltau(x, y).statistic)
