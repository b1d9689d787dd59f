"""Strengths beside the truth: the table's numbers, and how well both orders agree."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from tests.analysis.tables import Gather, rows_of
from tests.command import analyze, lines, tiny, train
from tests.conftest import without_figures

from archselect.analysis import TrueStrength
from archselect.analysis.base import AnalysisContext, stage_of
from archselect.evaluation.nasbench201 import PACKAGED
from archselect.pipeline.finished_run import open_run

SELECTIONS = ("perturb", "shapley", "sampling", *(f"zero_cost_{name}" for name in ("synflow", "snip", "grad_norm")))
SELECTIONS += ("zero_cost_jacobian_covariance",)
CHEAP = (
    "selections.perturb.tuning.epochs_between=0",
    "selections.shapley.permutations=1",
    "selections.sampling.samples=30",
)


def only(*names: str) -> list[str]:
    return [f"~selections.{name}" for name in SELECTIONS if name not in names]


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


def test_every_predictor_says_how_strong_it_takes_each_operation_to_be(folder: Path) -> None:
    rows = rows_of(folder / "true_strength.csv")
    assert len(rows) == 6 * 5
    for name in ("perturb", "shapley", "zero_cost_synflow", "zero_cost_snip", "zero_cost_grad_norm"):
        assert all(row[name] for row in rows), name
    assert len({row["zero_cost_synflow"] for row in rows}) > len({row["edge"] for row in rows})
    for edge in {row["edge"] for row in rows}:
        assert sum(float(row["alpha"]) for row in rows if row["edge"] == edge) == pytest.approx(1)
    channels = 4  # of the tiny run
    sizes = {"nor_conv_1x1": channels**2, "nor_conv_3x3": 9 * channels**2}
    assert all(int(row["parameters"]) == sizes.get(row["operation"], 0) for row in rows)


def test_the_correlations_are_the_means_over_the_edges(folder: Path) -> None:
    edges = rows_of(folder / "edges.csv")
    for row in rows_of(folder / "correlations.csv"):
        own = [one["tau"] for one in edges if (one["predictor"], one["truth"]) == (row["predictor"], row["truth"])]
        taus = [float(tau) for tau in own if tau]
        assert int(row["n"]) == len(taus)
        if taus:
            assert float(row["tau"]) == pytest.approx(np.mean(taus))
        if len(taus) > 1:
            assert float(row["low"]) <= float(row["tau"]) <= float(row["high"])
        else:
            assert row["low"] == row["high"] == ""  # one edge has no spread


def context(folder: Path, **given: Any) -> AnalysisContext:
    return AnalysisContext([open_run(folder)], {}, Console(quiet=True), **given)


def key(context: AnalysisContext) -> str:
    return stage_of(TrueStrength(), context).key.digest


def test_a_selection_that_the_run_refuses_is_left_out_with_its_reason(
    nasbench201_folder: Path, gathered: Gather
) -> None:
    too_many = ("selections.zero_cost_synflow.batches=3", "selections.zero_cost_synflow.scoring.batches=null")
    words = (*only("zero_cost_synflow"), *too_many)
    folder = analyze("analysis=true_strength", f"run={gathered(nasbench201_folder)}", *words)
    reading = (folder / "reading.md").read_text()
    assert "zero_cost_synflow is left out: selection.batches=3, but the images make 2" in reading
    assert all(row["zero_cost_synflow"] == "" for row in rows_of(folder / "true_strength.csv"))
    # The same without that selection is not taken for it.
    assert key(context(nasbench201_folder, refused={"zero_cost_synflow": "why"})) != key(context(nasbench201_folder))


def test_another_table_is_measured_anew(nasbench201_folder: Path, gathered: Gather, tmp_path: Path) -> None:
    table = tmp_path / "other.parquet"
    pd.read_parquet(PACKAGED).assign(cifar10_test=50.0).to_parquet(table)
    folder = analyze("analysis=true_strength", f"run={gathered(nasbench201_folder)}", f"table={table}", *only())
    assert {float(row["true_mean"]) for row in rows_of(folder / "true_strength.csv")} == {50.0}
    packaged = key(context(nasbench201_folder))
    assert key(context(nasbench201_folder, table_file=table)) != packaged
    assert key(context(nasbench201_folder, table_file=PACKAGED)) == packaged
    with mock.patch("archselect.analysis.base.PACKAGED", table):  # of a later version
        assert key(context(nasbench201_folder)) != packaged


@pytest.fixture(scope="module")
def fixed_folder(nasbench201_folder: Path) -> Path:
    """A second run beside the first one, from a supernet of its own whose alpha was never trained."""
    words = [one for one in tiny("nasbench201", "fixed_alpha", "random") if "evaluation" not in one]
    with without_figures():
        return train(*words, "evaluation=none", "seed=1", f"logs={nasbench201_folder.parents[2]}").folder


def test_several_runs_are_measured_each_on_its_own_supernet(
    nasbench201_folder: Path, fixed_folder: Path, gathered: Gather
) -> None:
    together = gathered(fixed_folder, fixed_folder, nasbench201_folder)  # the same supernet counts once
    folder = analyze("analysis=true_strength", f"run={together}", *only("zero_cost_snip"))
    rows = rows_of(folder / "true_strength.csv")
    assert Counter((row["run"], row["seed"]) for row in rows) == {("1", "1"): 30, ("2", "0"): 30}
    trained = open_run(nasbench201_folder).history("search")[-1]["alpha"]["cell"]
    assert [float(row["alpha"]) for row in rows[30:]] == pytest.approx([weight for edge in trained for weight in edge])
    assert all(row["alpha"] == "" and row["masking"] for row in rows[:30])
    assert "alpha is left out of some runs: search=fixed_alpha never trains it." in (folder / "reading.md").read_text()
    logs = open_run(fixed_folder).stage("search").folder.root
    recorded = [
        strength["value"]
        for file in logs.glob("stages/selection/nasbench201-fixed_alpha-zero_cost-*-seed1-*/decisions.jsonl")
        for record in sorted(lines(file), key=lambda record: record["edge"])
        for strength in record["strengths"]
    ]
    assert [float(row["zero_cost_snip"]) for row in rows[:30]] == recorded
    counted = {row["predictor"]: int(row["n"]) for row in rows_of(folder / "correlations.csv")}
    assert (counted["alpha"], counted["zero_cost_snip"]) == (6, 12)


def test_a_run_in_another_space_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"is 's2'\. Name runs with search_space=nasbench201\."):
        TrueStrength().check([open_run(tiny_folder)])


def test_cells_that_the_packages_table_lacks_need_another(nasbench201_folder: Path) -> None:
    known = context(nasbench201_folder)
    config = known.run.config.copy()
    config.search_space.operations = ["none", "skip_connect", "sep_conv_3x3"]
    strange = replace(known, runs=[replace(known.run, config=config)])
    with pytest.raises(ValueError, match=rf"lacks cells of the run {known.run.folder}, .* operations\. .* table=FILE"):
        TrueStrength().prepare(strange)


@pytest.mark.parametrize("table", ["nowhere.csv", "3"])
def test_a_table_that_is_not_there_is_refused(
    table: str, nasbench201_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        analyze("analysis=landscape", f"run={nasbench201_folder}", f"table={table}")
    assert f"There is no NAS-Bench-201 table at {table}. Set table=FILE" in capsys.readouterr().err
