"""Strengths beside the truth: the table's numbers, and how well both orders agree."""

import csv
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tests.command import analyze, lines, tiny, train

from archselect.analysis import TrueStrength
from archselect.analysis.base import AnalysisContext
from archselect.analysis.stats import correlations, crossed_bootstrap, edge_taus
from archselect.evaluation.nasbench201 import PACKAGED
from archselect.pipeline.finished_run import open_run

SELECTIONS = ("perturb", "shapley", "sampling", *(f"zero_cost_{name}" for name in ("synflow", "snip", "grad_norm")))
SELECTIONS += ("zero_cost_jacobian_covariance",)
CHEAP = (
    "selections.perturb.tuning.epochs_between=0",
    "selections.shapley.permutations=1",
    "selections.sampling.samples=30",
)


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open()))


def without(*names: str) -> list[str]:
    return [f"~selections.{name}" for name in names]


@pytest.fixture(scope="module")
def folder(nasbench201_folder: Path) -> Path:
    return analyze("analysis=true_strength", f"run={nasbench201_folder}", *CHEAP)


def test_the_truths_of_an_edge_are_those_of_the_table(folder: Path, nasbench201_folder: Path) -> None:
    table = pd.read_parquet(PACKAGED)
    parts = table["arch"].str.extractall(r"([a-z_0-9]+)~")[0].unstack()
    own = re.findall(r"([a-z_0-9]+)~", open_run(nasbench201_folder).genotype.to_nasbench201())
    rows = [row for row in rows_of(folder / "true_strength.csv") if row["edge"] == "(1,3)"]
    assert len(rows) == 5
    for row in rows:
        accuracy = table["cifar10_test"][parts[4] == row["operation"]]  # the fifth operation of the text
        changed = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*own[:4], row["operation"], own[5])
        assert float(row["true_mean"]) == pytest.approx(accuracy.mean())
        assert float(row["true_best"]) == accuracy.max()
        assert float(row["true_conditional"]) == table.set_index("arch")["cifar10_test"][changed]


def test_every_selection_says_how_strong_it_took_each_operation_to_be(folder: Path) -> None:
    rows = rows_of(folder / "true_strength.csv")
    assert len(rows) == 6 * 5
    for name in ("perturb", "shapley", "zero_cost_synflow", "zero_cost_snip", "zero_cost_grad_norm"):
        assert all(row[name] for row in rows), name
    assert len({row["zero_cost_synflow"] for row in rows}) > len({row["edge"] for row in rows})
    for edge in {row["edge"] for row in rows}:
        assert sum(float(row["alpha"]) for row in rows if row["edge"] == edge) == pytest.approx(1)


def test_the_number_of_parameters_is_the_predictor_to_beat(folder: Path) -> None:
    first = rows_of(folder / "true_strength.csv")[:5]
    channels = 4  # of the tiny run
    assert {row["operation"]: int(row["parameters"]) for row in first} == {
        "none": 0,
        "skip_connect": 0,
        "nor_conv_1x1": channels**2,
        "nor_conv_3x3": 9 * channels**2,
        "avg_pool_3x3": 0,
    }


def test_the_correlations_are_the_means_over_the_edges(folder: Path) -> None:
    edges = rows_of(folder / "edges.csv")
    for row in rows_of(folder / "correlations.csv"):
        taus = [
            float(one["tau"])
            for one in edges
            if one["tau"] and (one["predictor"], one["truth"]) == (row["predictor"], row["truth"])
        ]
        assert int(row["n"]) == len(taus)
        if taus:
            assert float(row["tau"]) == pytest.approx(np.mean(taus))
        if len(taus) > 1:
            assert float(row["low"]) <= float(row["tau"]) <= float(row["high"])
        else:
            assert row["low"] == row["high"] == ""  # one edge has no spread


def test_a_selection_that_the_run_refuses_is_left_out_with_its_reason(nasbench201_folder: Path) -> None:
    folder = analyze(
        "analysis=true_strength",
        f"run={nasbench201_folder}",
        "analysis.name=refused",
        *without(*(name for name in SELECTIONS if name != "zero_cost_synflow")),
        "selections.zero_cost_synflow.batches=3",
        "selections.zero_cost_synflow.scoring.batches=null",
    )
    assert (
        "zero_cost_synflow is left out: selection.batches=3, but the images make 2"
        in (folder / "reading.md").read_text()
    )
    assert all(row["zero_cost_synflow"] == "" for row in rows_of(folder / "refused.csv"))


def test_what_is_left_out_is_said_after_it_was_not_asked_for(nasbench201_folder: Path) -> None:
    words = ("analysis=true_strength", f"run={nasbench201_folder}", "analysis.seed=1")  # nothing is in the store yet
    analyze(*words, *without(*SELECTIONS))
    one = without(*(name for name in SELECTIONS if name != "zero_cost_synflow"))
    too_many = ("selections.zero_cost_synflow.batches=3", "selections.zero_cost_synflow.scoring.batches=null")
    folder = analyze(*words, *one, *too_many)
    assert "zero_cost_synflow is left out" in (folder / "reading.md").read_text()
    assert "zero_cost_synflow" in rows_of(folder / "true_strength.csv")[0]


def test_another_table_is_measured_anew(nasbench201_folder: Path, tmp_path: Path) -> None:
    words = ("analysis=true_strength", f"run={nasbench201_folder}", *without(*SELECTIONS))

    def means(*more: str) -> list[float]:
        return [float(row["true_mean"]) for row in rows_of(analyze(*words, *more) / "true_strength.csv")]

    before = means()
    pd.read_parquet(PACKAGED).assign(cifar10_test=50.0).to_csv(tmp_path / "other.csv", index=False)
    assert set(means(f"table={tmp_path}/other.csv")) == {50.0}
    pd.read_parquet(PACKAGED).assign(cifar10_test=60.0).to_parquet(tmp_path / "newer.parquet")
    with mock.patch("archselect.analysis.base.PACKAGED", tmp_path / "newer.parquet"):
        assert set(means()) == {60.0}
    assert means() == before


@pytest.fixture(scope="module")
def fixed_folder(nasbench201_folder: Path) -> Path:
    """A second run beside the first one, from a supernet of its own whose alpha was never trained."""
    words = [one for one in tiny("nasbench201", "fixed_alpha", "random") if "evaluation" not in one]
    words += ["evaluation=none", "seed=1", f"logs={nasbench201_folder.parents[2]}"]
    return train(*words).folder


def test_several_runs_are_measured_each_on_its_own_supernet(
    nasbench201_folder: Path, fixed_folder: Path, gathered: Callable[..., Path]
) -> None:
    together = gathered(fixed_folder, fixed_folder, nasbench201_folder)  # the same supernet counts once
    logs = open_run(fixed_folder).stage("search").folder.root
    some = without(*(name for name in SELECTIONS if name != "zero_cost_snip"))
    folder = analyze("analysis=true_strength", f"run={together}", *some)
    rows = rows_of(folder / "true_strength.csv")
    assert Counter((row["run"], row["seed"]) for row in rows) == {("1", "1"): 30, ("2", "0"): 30}
    trained = open_run(nasbench201_folder).history("search")[-1]["alpha"]["cell"]
    assert [float(row["alpha"]) for row in rows[30:]] == pytest.approx([weight for edge in trained for weight in edge])
    assert all(row["alpha"] == "" and row["masking"] for row in rows[:30])
    assert "alpha is left out of some runs: search=fixed_alpha never trains it." in (folder / "reading.md").read_text()
    recorded = [
        strength["value"]
        for file in logs.glob("stages/selection/nasbench201-fixed_alpha-zero_cost-*-seed1-*/decisions.jsonl")
        for record in sorted(lines(file), key=lambda record: record["edge"])
        for strength in record["strengths"]
    ]
    assert [float(row["zero_cost_snip"]) for row in rows[:30]] == recorded
    counted = {row["predictor"]: int(row["n"]) for row in rows_of(folder / "correlations.csv")}
    assert counted["alpha"] == 6
    assert counted["zero_cost_snip"] == 12


def test_a_run_in_another_space_is_refused(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        analyze("analysis=true_strength", f"run={tiny_folder}")
    assert "is 's2'. Name runs with search_space=nasbench201." in capsys.readouterr().err


def test_cells_that_the_packages_table_lacks_need_another(nasbench201_folder: Path, fixed_folder: Path) -> None:
    known, strange = open_run(nasbench201_folder), open_run(fixed_folder)
    config = strange.config.copy()
    config.search_space.operations = ["none", "skip_connect", "sep_conv_3x3"]
    subject = AnalysisContext([known, replace(strange, config=config)], {}, Console(quiet=True))
    with pytest.raises(
        ValueError, match=rf"lacks cells of the run {fixed_folder}, .* other operations\. .* table=FILE"
    ):
        TrueStrength().prepare(subject)


@pytest.mark.parametrize("table", ["nowhere.csv", "3"])
def test_a_table_that_is_not_there_is_refused(
    table: str, nasbench201_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        analyze("analysis=landscape", f"run={nasbench201_folder}", f"table={table}")
    assert f"There is no NAS-Bench-201 table at {table}. Set table=FILE" in capsys.readouterr().err


def strengths(run: int, edge: str, truth: list[float], **predictors: list[float | None]) -> list[dict[str, Any]]:
    return [
        {"run": run, "edge": edge, "truth": value, **{name: column[index] for name, column in predictors.items()}}
        for index, value in enumerate(truth)
    ]


def test_tau_counts_the_pairs_in_order_less_those_out_of_order() -> None:
    rows = [
        *strengths(1, "(0,1)", [1, 2, 3, 4], same=[0.1, 0.2, 0.3, 0.4], one_swapped=[1, 2, 4, 3]),
        *strengths(1, "(0,2)", [4, 3, 2, 1], same=[9, 8, 7, 6], one_swapped=[None] * 4),
        *strengths(1, "(1,2)", [1, 2, 3, 4], same=[1, 1, 1, 1], one_swapped=[4, 3, 2, 1]),
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
