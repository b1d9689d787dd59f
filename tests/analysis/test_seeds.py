"""What several runs chose, counted."""

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from tests.command import Run, analyze, tiny, train

from archselect.analysis import Seeds
from archselect.analysis.seeds import DROPPED, Outcome, agreement, frequencies
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import open_run
from archselect.results.summaries import Choices, RunResult

SPACE = {"cells": {"cell": {"edges": [[0, 1], [0, 2]], "operations": [["skip", "conv"], ["skip", "conv"]]}}}


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open()))


def outcome(label: str, supernet: str, first: str, second: str) -> Outcome:
    choices = Choices("s2", "darts", label, "none", "digits")
    result = RunResult(
        choices,
        seed=0,
        folder="",
        accuracy=None,
        balanced_accuracy=None,
        unbalanced=False,
        rank=None,
        of=None,
        parameters=None,
        skip_share=0.0,
        seconds={},
        runs=(),
    )
    edges = {("cell", "(0,1)"): first, ("cell", "(0,2)"): second}
    return Outcome(label, supernet, "", edges, result)


FOUND = [
    outcome("magnitude", "a", "skip", "skip"),
    outcome("magnitude", "b", "skip", DROPPED),
    outcome("magnitude", "c", "conv", DROPPED),
    outcome("perturb", "a", "conv", "skip"),
    outcome("perturb", "b", "skip", DROPPED),
]


def test_frequencies_are_shares_of_the_runs_of_a_selection() -> None:
    shares = {
        (row["selection"], row["edge"], row["operation"]): (row["share"], row["runs"])
        for row in frequencies(FOUND, SPACE)
    }
    assert len(shares) == 2 * 2 * 3
    assert shares["magnitude", "(0,1)", "skip"] == (pytest.approx(2 / 3), 3)
    assert shares["magnitude", "(0,2)", DROPPED] == (pytest.approx(2 / 3), 3)
    assert shares["perturb", "(0,1)", "conv"] == (0.5, 2)
    assert shares["perturb", "(0,2)", "conv"] == (0, 2)


def test_selections_are_compared_on_one_supernet_and_with_themselves_on_others() -> None:
    found = {(row["one"], row["other"]): (row["share"], row["pairs"]) for row in agreement(FOUND)}
    assert found == {
        ("magnitude", "perturb"): ((0.5 + 1) / 2, 2),  # a: the second edge; b: both
        ("magnitude", "magnitude"): (pytest.approx((0.5 + 0 + 0.5) / 3), 3),
        ("perturb", "perturb"): (0, 1),
    }


def test_what_has_no_pair_has_no_agreement() -> None:
    rows = agreement([FOUND[0], FOUND[4]])
    assert all(row["share"] is None and row["pairs"] == 0 for row in rows)


@pytest.fixture(scope="module")
def beside(tiny_run: Run) -> Run:
    """A run from the same supernet as the tiny one, by magnitude; its command was typed twice."""
    logs = tiny_run.stage("search").parents[2]
    words = tiny("s2", "darts", "magnitude", "search.epochs=3", "search.snapshots=1", f"logs={logs}")
    with mock.patch("archselect.pipeline.run.draw_figures", return_value=[]):
        train(*words)
        return train(*words)


def test_the_runs_of_a_folder_are_counted_once_each(tiny_run: Run, beside: Run, gathered: Callable[..., Path]) -> None:
    folder = analyze("analysis=seeds", f"run={gathered(tiny_run.folder, beside.folder, beside.folder)}")
    rows = {row["selection"]: row for row in rows_of(folder / "seeds.csv")}
    assert set(rows) == {"perturb", "magnitude"}
    same = Counter[bool]()
    for run, name in ((tiny_run, "perturb"), (beside, "magnitude")):
        assert rows[name]["genotype"] == run.summary["genotype"]
        assert float(rows[name]["accuracy"]) == pytest.approx(100 * run.summary["evaluation.test_accuracy"])
        assert int(rows[name]["skips"]) == run.summary["genotype"].count("skip_connect")
    one, other = (
        {
            (cell.name, source, target): operation
            for cell in Genotype.from_text(run.summary["genotype"])
            for source, target, operation in cell.edges
        }
        for run in (tiny_run, beside)
    )
    for cell in ("normal", "reduction"):
        for target in range(2, 6):
            for source in range(target):
                same[one.get((cell, source, target)) == other.get((cell, source, target))] += 1
    (pair,) = [row for row in rows_of(folder / "agreement.csv") if row["one"] != row["other"]]
    assert float(pair["share"]) == pytest.approx(same[True] / 28)
    assert "magnitude: 1 run, " in (folder / "reading.md").read_text()
    assert (folder / "seeds.png").stat().st_size > 10_000


def test_a_run_that_evaluated_nothing_has_no_accuracy(nasbench201_folder: Path) -> None:
    folder = analyze("analysis=seeds", f"run={nasbench201_folder}")
    assert "No run evaluated what it chose" in (folder / "reading.md").read_text()
    (row,) = rows_of(folder / "seeds.csv")
    assert row["accuracy"] == ""
    rows = rows_of(folder / "frequencies.csv")
    assert len(rows) == 6 * 5  # no edge of this space is ever dropped
    assert sum(float(row["share"]) for row in rows) == 6


def test_runs_in_different_spaces_are_refused_by_name(tiny_folder: Path, nasbench201_folder: Path) -> None:
    runs = [open_run(tiny_folder), open_run(nasbench201_folder)]
    with pytest.raises(ValueError, match="these are in s2 and nasbench201"):
        Seeds().check(runs)
    config = runs[0].config.copy()
    config.search_space.operations = ["skip_connect", "sep_conv_5x5"]
    with pytest.raises(ValueError, match="choose among the same operations"):
        Seeds().check([runs[0], replace(runs[0], config=config)])
