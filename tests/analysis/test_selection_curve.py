from pathlib import Path

from tests.analysis.tables import rows_of
from tests.command import analyze

from archselect.pipeline.finished_run import open_run


def test_the_curves_are_those_of_selections_from_the_runs_supernet(tiny_folder: Path) -> None:
    folder = analyze("analysis=selection_curve", f"run={tiny_folder}", "~selections.perturb_random")
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
