"""Edges, rank correlations with confidence intervals over edges and runs, and numbers as analyses say them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from archselect.analysis.base import Table
from archselect.models.cell_space import CellSpace
from archselect.models.supernet.supernet import Supernet


def percent(share: float, digits: int = 1) -> str:
    """Return a share of 1 in percent."""
    return f"{100 * share:.{digits}f} %"


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is there; None of nothing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def table_column(column: str) -> str:
    """Return what a column of the NAS-Bench-201 table is: "CIFAR-10 test accuracy"."""
    data, _, part = column.rpartition("_")
    names = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16_120": "ImageNet16-120"}
    return f"{names[data]} {'validation' if part == 'valid' else part} accuracy"


class Estimate(NamedTuple):
    """A mean, with the limits of its interval where there are at least two values."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


def crossed_bootstrap(values: NDArray[np.float64], resamples: int, seed: int, confidence: float = 0.95) -> Estimate:
    """Return the mean of a table of values with a percentile interval.

    Rows and columns are drawn with replacement independently of each other, and what lies where they cross is averaged
    (the pigeonhole bootstrap of Owen, Ann. Appl. Stat. 2007): all values of a row share the run, all of a column the
    edge, so they are no independent draws. With one row only the columns are drawn. Where both vary the interval is
    somewhat too wide rather than too narrow; of few columns a percentile interval is somewhat too narrow.

    Args:
        values: `(runs, edges)`, NaN where there is none.
        resamples: How many tables are drawn.
        seed: What they are drawn from.
        confidence: Of the interval.
    """
    known = ~np.isnan(values)
    n = int(known.sum())
    if n == 0:
        return Estimate(None, None, None, 0)
    mean = float(values[known].mean())
    if n == 1:
        return Estimate(mean, None, None, 1)
    generator = np.random.default_rng(seed)
    rows, columns = (generator.multinomial(size, [1 / size] * size, resamples) for size in values.shape)
    sums = np.einsum("br,re,be->b", rows, np.where(known, values, 0.0), columns)
    weights = np.einsum("br,re,be->b", rows, known.astype(np.float64), columns)
    means = sums[weights > 0] / weights[weights > 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), n)


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


def edge_taus(strengths: Table, predictors: Sequence[str], truths: Sequence[str]) -> Table:
    """Return Kendall's tau-b of each predictor with each truth on each edge of each run; None where it is not defined.

    Args:
        strengths: run, edge, operation, and a column per predictor and truth; None where there is no value.
        predictors: Columns.
        truths: Columns.
    """
    rows = []
    for (run, edge), group in groupby(strengths, key=lambda row: (row["run"], row["edge"])):
        own = list(group)
        for predictor, truth in product(predictors, truths):
            complete = all(row[predictor] is not None for row in own)
            value = tau(own, predictor, truth) if complete else None
            rows.append({"run": run, "edge": edge, "predictor": predictor, "truth": truth, "tau": value})
    return rows


def correlations(edges: Table, resamples: int, seed: int) -> Table:
    """Return the mean tau of each predictor with each truth, and its 95 % interval.

    Args:
        edges: run, edge, predictor, truth, tau.
        resamples: Of the bootstrap.
        seed: Of the bootstrap, the same for all: they are compared on the same resamples.
    """
    runs, names = (list(dict.fromkeys(row[column] for row in edges)) for column in ("run", "edge"))
    rows = []
    for predictor, truth in dict.fromkeys((row["predictor"], row["truth"]) for row in edges):
        values = np.full((len(runs), len(names)), np.nan)
        for row in edges:
            if (row["predictor"], row["truth"]) == (predictor, truth) and row["tau"] is not None:
                values[runs.index(row["run"]), names.index(row["edge"])] = row["tau"]
        mean, low, high, n = crossed_bootstrap(values, resamples, seed)
        rows.append({"predictor": predictor, "truth": truth, "tau": mean, "low": low, "high": high, "n": n})
    return rows
