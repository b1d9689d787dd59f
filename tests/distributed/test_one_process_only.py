"""What starts processes itself, or needs but one, says so where torchrun or srun started several."""

import sys
from pathlib import Path

import pytest
from tests.command import ANALYZE, _script, sweep, tiny

from archselect.analysis import look
from archselect.distributed import launch
from archselect.utils.errors import UserError

RANK = {"TORCHELASTIC_RUN_ID": "run", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
STARTED = "torchrun or srun started 2 processes of this program, but "


@pytest.fixture(params=["0", "1"])
def rank(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Be one of two processes of torchrun."""
    rank: str = request.param
    for name, value in {**RANK, "RANK": rank, "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "GRACE", 0)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # which the other process closes
    return rank


@pytest.mark.usefixtures("rank")
@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (["seed=0,1"], "the jobs of a sweep follow each other in one."),
        (["hparams_search=supernet"], "a study hands out its trials from one."),
    ],
)
def test_sweeps_and_studies_are_for_one_process(
    overrides: list[str], why: str, own_logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        sweep(*tiny(), *overrides, own_logs)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert f"Error: {STARTED}{why} Type python train.py; trainer.devices=N gives every job N." in said
    assert not Path(own_logs.removeprefix("logs=")).exists()


@pytest.mark.usefixtures("rank")
def test_an_analysis_is_for_one_process_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(SystemExit) as ended:
        _script(ANALYZE, ["analysis=cells", f"run={tmp_path / 'run'}"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    sentence = f"Error: {STARTED}an analysis runs on one device. Type python analyze.py by itself."
    assert sentence in said
    with pytest.raises(UserError, match="an analysis runs on one device"):
        look("cells", tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_job_of_an_analysis_has_one_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["hydra/launcher=slurm_local", "hydra.launcher.tasks_per_node=2"]
    with pytest.raises(SystemExit) as ended:
        _script(ANALYZE, ["-m", *options, "analysis=cells", f"run={tmp_path}"])
    assert ended.value.code == 1
    assert "An analysis runs on one device: leave hydra.launcher.nodes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
