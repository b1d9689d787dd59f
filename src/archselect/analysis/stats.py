"""Edges, rank correlations with confidence intervals over edges and runs, and numbers as summaries say them."""

from collections import defaultdict
from collections.abc import ItemsView, Iterable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pandas import DataFrame
from scipy.stats import kendalltau, spearmanr

from archselect.analysis.base import Table
from archselect.figures.style import edge_name
from archselect.models.ops.primitives import PRIMITIVES, Primitives
from archselect.models.supernet.supernet import Supernet

SKIP = "skip_connect"


def convolutions(primitives: Primitives = PRIMITIVES) -> frozenset[str]:
    """Return the operations that learn: convolutions, and those of a user's own that have weights as they have."""
    return frozenset(name for name, one in primitives.items() if one.learns)


class Edge(NamedTuple):
    """An edge that has something to choose: cell type, number in it, `(source,target)`, candidates."""

    cell: str
    number: int
    name: str
    operations: tuple[str, ...]


def open_edges(supernet: Supernet) -> list[Edge]:
    """Return the edges that are undecided and have two candidates or more."""
    return [
        Edge(cell, edge, edge_name(space.topology.edges[edge]), space.operations[edge])
        for cell, space in supernet.cell_spaces.items()
        for edge in supernet.decisions[cell].undecided_edges
        if len(space.operations[edge]) > 1
    ]


def rows_by(table: Table, *columns: str) -> ItemsView[Any, Table]:
    """Return each value of a column, or values of several, with its rows, in the order of their first appearance."""
    found: dict[Any, Table] = defaultdict(list)
    for row in table:
        found[row[columns[0]] if len(columns) == 1 else tuple(row[column] for column in columns)].append(row)
    return found.items()


def edges_of(table: Table) -> list[Table]:
    """Return the rows of every edge; of every seed, where the table has several."""
    seeds = ["seed"] if any("seed" in row for row in table) else []
    return [rows for _, rows in rows_by(table, *seeds, "cell", "edge")]


def distinct(table: Iterable[Any], column: str) -> list[Any]:
    """Return the values of a column, in the order of their first appearance."""
    return list(dict.fromkeys(row[column] for row in table))


def picked(rows: Table, column: str, sign: int = 1) -> str:
    """Return the operation with the largest value in a column, with `sign` -1 the smallest; the first wins ties."""
    return str(max(rows, key=lambda row: sign * row[column])["operation"])


def percent(share: float, digits: int = 1) -> str:
    """Return a share of 1 in percent."""
    return f"{100 * share:.{digits}f} %"


def plural(count: int, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{count} {noun}{'s' * (count > 1)}"


def table_column(column: str) -> str:
    """Return what a column of the NAS-Bench-201 table is: "CIFAR-10 test accuracy"."""
    data, _, part = column.rpartition("_")
    names = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16_120": "ImageNet16-120"}
    return f"{names[data]} {'validation' if part == 'valid' else part} accuracy"


def mean(values: Iterable[float]) -> float:
    """Return the mean, rounded as a sum divided by a count is."""
    known = list(values)
    return sum(known) / len(known)


def mean_defined(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is there; None of nothing."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; None of fewer than three pairs or where one side is constant."""
    if len(x) < 3 or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(spearmanr(x, y).statistic)


def tau(rows: Table, one: str, other: str) -> float | None:
    """Return Kendall's tau-b between two columns; None where one has one value only, or lacks some."""
    x, y = ([row[name] for row in rows] for name in (one, other))
    if None in (*x, *y) or len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(kendalltau(x, y).statistic)


def edge_taus(strengths: Table, predictors: Sequence[str], truths: Sequence[str]) -> Table:
    """Return a row for Kendall's tau-b of each predictor with each ground truth on each edge of each run.

    Both are columns of the strengths, beside run, edge and operation; None where there is no value.
    """
    return [
        {"run": run, "edge": edge, "predictor": predictor, "truth": truth, "tau": tau(own, predictor, truth)}
        for (run, edge), own in rows_by(strengths, "run", "edge")
        for predictor, truth in product(predictors, truths)
    ]


def correlations(edges: Table, resamples: int, seed: int) -> Table:
    """Return the mean of what `edge_taus` returns of each predictor with each ground truth, and its 95 % interval.

    The seed of the bootstrap is the same for all: they are compared on the same resamples.
    """
    rows = []
    for (predictor, truth), own in DataFrame(edges).groupby(["predictor", "truth"], sort=False):
        values = own.pivot(index="run", columns="edge", values="tau").astype(float)
        values = values.reindex(index=own["run"].unique(), columns=own["edge"].unique())
        estimate = crossed_bootstrap(np.ascontiguousarray(values), resamples, seed)
        rows.append({"predictor": predictor, "truth": truth, **estimate._asdict()})
    return rows


class Estimate(NamedTuple):
    """A mean of so many values, with the limits of its 95 % interval where there are at least two."""

    tau: float | None
    low: float | None
    high: float | None
    n: int


def crossed_bootstrap(values: NDArray[np.float64], resamples: int, seed: int) -> Estimate:
    """Return the mean of a table of values `(runs, edges)`, NaN where there is none, with a percentile interval.

    Rows and columns are drawn with replacement independently of each other, and what lies where they cross is averaged
    (the pigeonhole bootstrap of Owen, Ann. Appl. Stat. 2007): all values of a row share the run, all of a column the
    edge, so they are no independent draws. With one row only the columns are drawn. Where both vary the interval is
    somewhat too wide rather than too narrow; of few columns a percentile interval is somewhat too narrow.
    """
    known = ~np.isnan(values)
    n = int(known.sum())
    average = float(values[known].mean()) if n else None
    if n < 2:
        return Estimate(average, None, None, n)
    generator = np.random.default_rng(seed)
    rows, columns = (generator.multinomial(size, [1 / size] * size, resamples) for size in values.shape)
    sums = np.einsum("br,re,be->b", rows, np.where(known, values, 0.0), columns)
    weights = np.einsum("br,re,be->b", rows, known.astype(np.float64), columns)
    tail = (1 - 0.95) / 2
    low, high = np.quantile(sums[weights > 0] / weights[weights > 0], [tail, 1 - tail])
    return Estimate(average, float(low), float(high), n)
