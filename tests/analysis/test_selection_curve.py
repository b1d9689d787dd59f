from pathlib import Path

import pytest
from tests.analysis.tables import rows_of
from tests.command import analyze

from archselect.pipeline.finished_run import open_run


def test_the_curves_are_those_of_selections_from_the_runs_supernet(tiny_folder: Path) -> None:
    only = ["~selections.perturb_random"]
    folder = analyze("analysis=selection_curve", f"run={tiny_folder}", *only)
    run = open_run(tiny_folder)
    found = rows_of(folder / "selection_curve.csv")
    own = [row for row in found if row["selection"] == "perturb"]
    history = run.history("selection")  # the run selected by perturbation itself
    assert [float(row["val_accuracy"]) for row in own[1:]] == [one["metrics"]["val_accuracy"] for one in history]
    assert float(own[0]["val_accuracy"]) == run.stage("search").result["val_accuracy"]
    assert [int(row["edges_decided"]) for row in own] == [0, *range(2, 30, 2), 28, 28, 28]
    assert int(own[-1]["nodes_decided"]) == 6
    assert {row["selection"] for row in found} == {"perturb", "perturb_magnitude"}
    reading = (folder / "reading.md").read_text()
    assert "with perturb " in reading and "with perturb_magnitude " in reading


def test_a_selection_without_tuning_is_refused(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        analyze("analysis=selection_curve", f"run={tiny_folder}", "+selection@selections.random=random")
    assert "selection=random decides everything at once" in capsys.readouterr().err
