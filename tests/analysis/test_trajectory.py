"""What is chosen along a search: each choice is that of the supernet as it was, and judged rightly."""

from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
from tests.analysis.tables import Gather, rows_of
from tests.command import Run, analyze

from archselect.analysis import Trajectory
from archselect.evaluation.nasbench201 import PACKAGED
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun, open_run
from archselect.pipeline.selection_stage import SelectionStage


def test_magnitude_chooses_at_every_snapshot_what_the_history_says_it_would(tiny_folder: Path) -> None:
    folder = analyze("analysis=trajectory", f"run={tiny_folder}", "~selections.perturb")
    rows = rows_of(folder / "trajectory.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    for row, record in zip(rows, open_run(tiny_folder).history("search"), strict=True):
        assert row["genotype"] == record["genotype"]
        assert float(row["val_accuracy"]) == record["metrics"]["val_accuracy"]
        assert float(row["skip_share"]) == pytest.approx(row["genotype"].count("skip_connect") / 16)


def test_in_nasbench201_a_choice_is_as_good_as_the_table_says(nasbench201_folder: Path) -> None:
    words = ("analysis=trajectory", f"run={nasbench201_folder}")
    folder = analyze(*words)
    known = pd.read_parquet(PACKAGED).set_index("arch")
    rows = rows_of(folder / "trajectory.csv")
    assert [(row["epoch"], row["selection"]) for row in rows] == [
        (epoch, name) for epoch in ("1", "2") for name in ("magnitude", "perturb")
    ]
    for row in rows:
        arch = Genotype.from_text(row["genotype"]).to_nasbench201()
        for column in ("cifar10_test", "cifar100_test", "imagenet16_120_test"):
            assert float(row[column]) == known[column][arch]
    assert (folder / "trajectory.png").stat().st_size > 10_000
    with mock.patch.object(SelectionStage, "run", None), mock.patch.object(Trajectory, "measure", None):
        assert rows_of(analyze(*words) / "trajectory.csv") == rows  # typed again, nothing is selected again


def test_a_choice_is_retrained_as_the_run_s_own_was(magnitude_run: Run) -> None:
    words = ("~selections.perturb", "analysis.epochs=[3]", "analysis.judge=true")
    (row,) = rows_of(analyze("analysis=trajectory", f"run={magnitude_run.folder}", *words) / "trajectory.csv")
    # After the last of three epochs the supernet is the one that the run selected from, in the same way.
    assert row["genotype"] == magnitude_run.summary["genotype"]
    assert float(row["test_accuracy"]) == magnitude_run.summary["evaluation.test_accuracy"]


def test_a_selection_that_the_run_refuses_is_left_out_with_its_reason(tiny_folder: Path, gathered: Gather) -> None:
    too_short = ("selections.perturb.tuning.epochs_between=5", "selections.perturb.tuning.epochs=2")
    folder = analyze("analysis=trajectory", f"run={gathered(tiny_folder)}", "analysis.epochs=[1]", *too_short)
    assert "perturb is left out: selection.tuning.epochs=2 is too short" in (folder / "reading.md").read_text()
    assert {row["selection"] for row in rows_of(folder / "trajectory.csv")} == {"magnitude"}


def test_says_how_to_search_so_that_there_are_snapshots(tiny_folder: Path) -> None:
    run = open_run(tiny_folder)
    with pytest.raises(ValueError, match=r"epochs names 4, .* after 1, 2, 3 epochs"):
        Trajectory(epochs=[1, 4]).check([run])
    with (
        mock.patch.object(FinishedRun, "snapshots", []),
        pytest.raises(ValueError, match=r"Search with search\.snapshots=N"),
    ):
        Trajectory().check([run])


def test_judges_only_what_can_be_retrained(nasbench201_folder: Path) -> None:
    with pytest.raises(ValueError, match="has evaluation=none"):
        Trajectory(judge=True).check([open_run(nasbench201_folder)])


@pytest.mark.parametrize("epochs", [[], "all", [0], [True]], ids=str)
def test_epochs_are_a_list_of_counts(epochs: object) -> None:
    with pytest.raises(ValueError, match=r"analysis\.epochs"):
        Trajectory(epochs=epochs)  # type: ignore[arg-type]
