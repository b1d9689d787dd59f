"""Rank correlations per edge, and intervals over edges and runs."""

from typing import Any

import numpy as np
import pytest

from archselect.analysis.stats import correlations, crossed_bootstrap, edge_taus


def strengths(run: int, edge: str, **columns: list[float] | list[None]) -> list[dict[str, Any]]:
    values = zip(*columns.values(), strict=True)
    return [{"run": run, "edge": edge, **dict(zip(columns, row, strict=True))} for row in values]


def test_tau_counts_the_pairs_in_order_less_those_out_of_order() -> None:
    rows = [
        *strengths(1, "(0,1)", truth=[1, 2, 3, 4], same=[0.1, 0.2, 0.3, 0.4], one_swapped=[1, 2, 4, 3]),
        *strengths(1, "(0,2)", truth=[4, 3, 2, 1], same=[9, 8, 7, 6], one_swapped=[None] * 4),
        *strengths(1, "(1,2)", truth=[1, 2, 3, 4], same=[1, 1, 1, 1], one_swapped=[4, 3, 2, 1]),
    ]
    edges = edge_taus(rows, ["same", "one_swapped"], ["truth"])
    assert [row["tau"] for row in edges] == pytest.approx([1, 4 / 6, 1, None, None, -1])
    same, swapped = correlations(edges, resamples=200, seed=0)
    assert (same["tau"], same["low"], same["high"], same["n"]) == (1, 1, 1, 2)
    assert (swapped["tau"], swapped["n"]) == (pytest.approx(-1 / 6), 2)


def test_an_interval_holds_the_mean_and_shrinks_with_more_edges() -> None:
    few, many = (np.random.default_rng(0).normal(0.3, 0.2, (1, edges)) for edges in (6, 600))
    wide, narrow = (crossed_bootstrap(values, 2000, seed=0) for values in (few, many))
    for found, values in ((wide, few), (narrow, many)):
        assert found.low is not None and found.high is not None
        assert found.low < values.mean() < found.high
    # 1.96 standard errors to each side
    assert narrow.high - narrow.low == pytest.approx(2 * 1.96 * many.std() / 600**0.5, rel=0.1)
    assert narrow.high - narrow.low < 0.3 * (wide.high - wide.low)


def test_edges_that_all_runs_share_are_no_further_evidence() -> None:
    edges = np.random.default_rng(0).normal(0.3, 0.2, (1, 6))
    once, often = (crossed_bootstrap(np.repeat(edges, runs, axis=0), 4000, seed=0) for runs in (1, 20))
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=0.02)


def test_nothing_is_estimated_from_nothing() -> None:
    assert crossed_bootstrap(np.full((2, 3), np.nan), 10, 0) == (None, None, None, 0)
    assert crossed_bootstrap(np.array([[0.5, np.nan]]), 10, 0) == (0.5, None, None, 1)
