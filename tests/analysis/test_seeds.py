"""What several runs chose, counted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.analysis.tables import Gather, rows_of
from tests.command import Run, analyze

from archselect.analysis import Seeds
from archselect.analysis.seeds import DROPPED, agreement, edges_of, frequencies
from archselect.pipeline.finished_run import open_run

SPACE = {"cells": {"cell": {"edges": [[0, 1], [0, 2]], "operations": [["skip", "conv"], ["skip", "conv"]]}}}


def outcome(label: str, supernet: str, first: str, second: str) -> dict[str, Any]:
    edges = {("cell", "(0,1)"): first, ("cell", "(0,2)"): second}
    return {"selection": label, "supernet": supernet, "edges": edges}


FOUND = [
    outcome("magnitude", "a", "skip", "skip"),
    outcome("magnitude", "b", "skip", DROPPED),
    outcome("magnitude", "c", "conv", DROPPED),
    outcome("perturb", "a", "conv", "skip"),
    outcome("perturb", "b", "skip", DROPPED),
]


def test_frequencies_are_shares_of_the_runs_of_a_selection() -> None:
    rows = frequencies(FOUND, SPACE)
    shares = {(row["selection"], row["edge"], row["operation"]): (row["share"], row["runs"]) for row in rows}
    assert len(shares) == 2 * 2 * 3
    assert shares["magnitude", "(0,1)", "skip"] == shares["magnitude", "(0,2)", DROPPED] == (pytest.approx(2 / 3), 3)
    assert shares["perturb", "(0,1)", "conv"] == (0.5, 2)
    assert shares["perturb", "(0,2)", "conv"] == (0, 2)


def test_selections_are_compared_on_one_supernet_and_with_themselves_on_others() -> None:
    found = {(row["one"], row["other"]): (row["share"], row["pairs"]) for row in agreement(FOUND)}
    assert found == {
        ("magnitude", "perturb"): ((0.5 + 1) / 2, 2),  # a: the second edge; b: both
        ("magnitude", "magnitude"): (pytest.approx((0.5 + 0 + 0.5) / 3), 3),
        ("perturb", "perturb"): (0, 1),
    }
    assert all(row["share"] is None and row["pairs"] == 0 for row in agreement([FOUND[0], FOUND[4]]))


def test_the_runs_of_a_folder_are_counted_once_each(tiny_run: Run, magnitude_run: Run, gathered: Gather) -> None:
    together = gathered(tiny_run.folder, magnitude_run.folder, magnitude_run.folder)  # as if a command was typed twice
    folder = analyze("analysis=seeds", f"run={together}")
    rows = {row["selection"]: row for row in rows_of(folder / "seeds.csv")}
    assert set(rows) == {"perturb", "magnitude"}
    for run, name in ((tiny_run, "perturb"), (magnitude_run, "magnitude")):
        assert rows[name]["genotype"] == run.summary["genotype"]
        assert float(rows[name]["accuracy"]) == pytest.approx(100 * run.summary["evaluation.test_accuracy"])
        assert int(rows[name]["skips"]) == run.summary["genotype"].count("skip_connect")
    one, other = (edges_of(run.genotype, run.space) for run in map(open_run, (tiny_run.folder, magnitude_run.folder)))
    assert len(one) == 28 and list(one.values()).count(DROPPED) == 12
    (pair,) = [row for row in rows_of(folder / "agreement.csv") if row["one"] != row["other"]]
    assert float(pair["share"]) == pytest.approx(sum(one[edge] == other[edge] for edge in one) / 28)
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
