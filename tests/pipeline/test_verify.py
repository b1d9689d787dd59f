"""`python -m archselect.pipeline.verify`: it finds nothing wrong with sound runs, and each thing that is wrong."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.command import Run

from archselect.pipeline.verify import main


@pytest.fixture
def copied(tiny_run: Run, tmp_path: Path) -> Path:
    """A folder with one run and its three stages."""
    root = tiny_run.folder.parents[2]
    shutil.copytree(tiny_run.folder, tmp_path / tiny_run.folder.relative_to(root), symlinks=True)
    for kind in tiny_run.summary["stages"]:
        stage = tiny_run.stage(kind)
        shutil.copytree(stage, tmp_path / stage.relative_to(root))
    return tmp_path


def verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main([str(folder)])
    return code, " ".join(capsys.readouterr().out.split())


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def stage(logs: Path, kind: str) -> Path:
    (found,) = (logs / "stages" / kind).iterdir()
    return found


def summary(logs: Path) -> Path:
    (found,) = logs.glob("runs/*/*/summary.json")
    return found


def test_finds_nothing_wrong_with_what_is_as_it_was(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(copied, capsys) == (
        0,
        "Checked: 1 evaluation, finished; 1 run, finished; 1 search, finished; 1 selection, finished. All are as they "
        "were.",
    )


def flip_a_byte(logs: Path) -> None:
    path = stage(logs, "search") / "snapshots" / "epoch-1.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forge(logs: Path, kind: str, name: str, change: Callable[[Path], object]) -> None:
    """Change a file of a finished stage, and its digest too."""
    file = stage(logs, kind) / name
    change(file)
    digest = {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    edit_json(stage(logs, kind) / "finished.json", lambda marker: marker["files"].update({name: digest}))


HARM: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a changed byte": (flip_a_byte, "snapshots/epoch-1.pt is not what it was when the stage was finished."),
    "a file that is no checkpoint": (
        lambda logs: forge(logs, "search", "supernet.pt", lambda file: file.write_bytes(b"no tensors")),
        "supernet.pt cannot be read",
    ),
    "a session that does not say how it ran": (
        lambda logs: forge(
            logs, "evaluation", "provenance.json", lambda file: edit_json(file, lambda sessions: sessions[0].pop("git"))
        ),
        "Session 1 of provenance.json does not say its git.",
    ),
    "a renamed stage": (
        lambda logs: stage(logs, "selection").rename(logs / "stages" / "selection" / "mine-0123456789ab"),
        "is not the stage that its identity.json describes",
    ),
    "a lost search": (lambda logs: shutil.rmtree(stage(logs, "search")), "What it started from, the stage"),
    "another accuracy in the summary": (
        lambda logs: edit_json(summary(logs), lambda told: told.update({"evaluation.test_accuracy": 0.99})),
        "summary.json says evaluation.test_accuracy = 0.99, the stage 0.",
    ),
    "another genotype in the summary's folder": (
        lambda logs: os.truncate(summary(logs).with_name("genotype.json"), 10),
        "genotype.json cannot be read",
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_says_what_is_wrong(harm: str, copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    act, words = HARM[harm]
    act(copied)
    code, said = verify(copied, capsys)
    assert code == 1
    assert words in said


def test_what_was_set_aside_and_what_is_unfinished_are_no_problems(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stage(copied, "search")
    shutil.copytree(folder, folder.with_name(f"{folder.name}.damaged-1"))
    (stage(copied, "evaluation") / "finished.json").unlink()
    shutil.rmtree(copied / "runs")
    code, said = verify(copied, capsys)
    assert code == 0
    assert "1 evaluation, unfinished; 1 search, finished; 1 search, set aside" in said


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "holds neither stages nor runs" in " ".join(capsys.readouterr().err.split())
