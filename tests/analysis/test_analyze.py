import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.analysis.tables import Gather
from tests.command import Run, analyze

from archselect.analysis.base import Measurer
from archselect.pipeline.finished_run import load_genotype, load_supernet, open_run
from archselect.store import StageKey, Store
from archselect.store.redact_paths import find_runs

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, *overrides: str) -> str:
    with pytest.raises(SystemExit) as ended:
        analyze(*overrides)
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_a_folder_without_a_run_is_refused_and_not_made(tmp_path: Path, capsys: Capture) -> None:
    missing = tmp_path / "nowhere"
    assert "does not exist" in refused(capsys, "analysis=cells", f"run={missing}")
    assert not missing.exists()
    assert "holds no finished run" in refused(capsys, "analysis=cells", f"run={tmp_path}")


def test_of_several_runs_one_has_to_be_named(tiny_folder: Path, gathered: Gather, capsys: Capture) -> None:
    folder = gathered(tiny_folder, tiny_folder)
    said = refused(capsys, "analysis=operation_strength", f"run={folder}")
    assert "holds 2 finished runs. Name one of them" in said and str(folder / "0") in said


def test_other_images_than_the_runs_are_noticed(tiny_folder: Path, gathered: Gather, capsys: Capture) -> None:
    run = gathered(tiny_folder) / "0"
    config = run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("train_subset: 120", "train_subset: 200"))
    assert "are not those that the run" in refused(capsys, "analysis=operation_strength", f"run={run}")


def test_a_run_whose_stages_are_gone_is_refused(tiny_folder: Path, gathered: Gather, capsys: Capture) -> None:
    run = gathered(tiny_folder) / "0"
    summary = json.loads((run / "summary.json").read_text())
    for stage in summary["stages"].values():
        stage["folder"] = str(run / "gone")
    (run / "summary.json").write_text(json.dumps(summary))
    assert "The search of the run" in refused(capsys, "analysis=skip_dominance", f"run={run}")


def test_a_run_is_opened_from_its_folder(tiny_run: Run) -> None:
    folder = tiny_run.folder
    assert str(load_genotype(folder)) == tiny_run.summary["genotype"]
    assert find_runs(folder) == [folder]
    assert folder in find_runs(folder.parent)  # where other tests may have put theirs
    assert open_run(folder).snapshots == [1, 2, 3]
    final, second, last = (list(load_supernet(folder, epochs=epochs).parameters()) for epochs in (None, 2, 3))
    assert any(not one.equal(other) for one, other in zip(final, second, strict=True))
    assert all(one.equal(other) for one, other in zip(final, last, strict=True))
    assert str(load_supernet(folder, kind="selection").genotype()) == tiny_run.summary["genotype"]
    with pytest.raises(ValueError, match="no snapshot of the supernet after 7 epochs; there are: 1, 2, 3"):
        load_supernet(folder, epochs=7)


def test_what_was_measured_before_an_interruption_is_not_measured_again(tmp_path: Path) -> None:
    steps: list[str] = []
    progress = SimpleNamespace(say=lambda what: None, advance=lambda: steps.append("one"))
    folder = Store(tmp_path).folder(StageKey("analysis", "once", {"seed": 0}))
    folder.begin({}, {})
    trainer: Any = SimpleNamespace(folder=folder, progress=progress, device="cpu")
    context: Any = SimpleNamespace(run=None)
    assert Measurer(context, trainer).cached("edge 1", lambda: [0.25]) == [0.25]
    measurer = Measurer(context, trainer)
    assert measurer.cached("edge 1", lambda: [0.5]) == [0.25]
    assert measurer.cached("edge 2", lambda: [0.75]) == [0.75]
    assert len(steps) == 3
