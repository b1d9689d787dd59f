"""Rank correlations of strengths with truths, per edge and over edges and runs."""

from collections.abc import Sequence
from itertools import groupby, product

import numpy as np

from archselect.analysis.analysis import Table
from archselect.analysis.bootstrap import crossed_bootstrap
from archselect.analysis.edges import tau


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
