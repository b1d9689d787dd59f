from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console

from archselect.pipeline.stage import StageContext, run_stage
from archselect.store import DamagedError, StageKey, Store
from archselect.training.checkpoint import NEWEST
from archselect.training.fit import HISTORY, StageTrainer

RECORD: dict[str, Any] = {"epoch": 0, "seconds": 1.0, "metrics": {"train_loss": 0.5}}


@dataclass
class Counting:
    """A stage that writes a record and a checkpoint, and counts how often it worked."""

    interrupt: Callable[[], None] = lambda: None
    worked: int = 0
    key: ClassVar = StageKey("search", "counting", {"seed": 0})
    config: ClassVar = {"seed": 0}

    def run(self, stage_trainer: StageTrainer) -> Mapping[str, Any]:
        self.worked += 1
        if not stage_trainer.folder.read_lines(HISTORY):
            stage_trainer.folder.append_line(HISTORY, RECORD)
        (stage_trainer.folder.path / NEWEST).write_text("all there is so far")
        self.interrupt()
        return {"answer": 42}


def job_in(folder: Path) -> StageContext:
    trainer, nothing = partial(pl.Trainer, accelerator="cpu", devices=1), cast(Any, None)
    return StageContext(0, nothing, nothing, nothing, trainer, Store(folder), Console(file=StringIO()))


def raising(*errors: BaseException) -> Callable[[], None]:
    """Return what raises the next of these errors each time that it is called, and then nothing more."""
    left = list(errors)

    def interrupt() -> None:
        if left:
            raise left.pop(0)

    return interrupt


def test_a_stage_is_worked_on_once_and_reused_from_then_on(tmp_path: Path) -> None:
    stage = Counting()
    first, second = run_stage(stage, job_in(tmp_path)), run_stage(stage, job_in(tmp_path))
    assert (stage.worked, first.reused, second.reused) == (1, False, True)
    assert first.result == second.result == {"answer": 42}
    assert first.folder.path == second.folder.path


def test_the_checkpoint_goes_when_the_stage_is_finished_and_not_before(tmp_path: Path) -> None:
    stage = Counting(raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, job_in(tmp_path))
    folder = Store(tmp_path).folder(stage.key)
    assert folder.state == "unfinished"
    assert (folder.path / NEWEST).exists()
    assert not run_stage(Counting(), job_in(tmp_path)).reused
    assert not (folder.path / NEWEST).exists()
    assert len(folder.read_json("provenance.json")) == 2


def test_the_log_hears_of_epochs_that_were_there_already(tmp_path: Path) -> None:
    heard: list[tuple[str, Any]] = []
    run_stage(Counting(), job_in(tmp_path))
    run_stage(Counting(), replace(job_in(tmp_path), log=lambda stage, record: heard.append((stage, record))))
    assert heard == [("search", RECORD)]


def test_a_stage_is_unlocked_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a number"):
        run_stage(Counting(raising(ValueError("The loss is not a number."))), job_in(tmp_path))
    waited: list[bool] = []
    with Store(tmp_path).folder(Counting().key).lock(lambda: waited.append(True)):
        assert waited == []


def test_a_stage_that_finds_its_scratch_damaged_is_set_aside_and_starts_afresh_once(tmp_path: Path) -> None:
    gone = DamagedError("trial.pt is gone")
    stage = Counting(raising(gone))
    job = job_in(tmp_path / "logs")
    finished = run_stage(stage, job)
    assert stage.worked == 2
    assert finished.result == {"answer": 42}
    assert (tmp_path / "logs" / "stages" / "search" / f"{stage.key.folder_name}.damaged-1").is_dir()
    said = cast(StringIO, job.console.file).getvalue()
    assert "is damaged: trial.pt is gone. It is kept as" in said
    with pytest.raises(DamagedError):
        run_stage(Counting(raising(gone, gone)), job_in(tmp_path / "other"))


def test_a_full_gpu_says_which_option_lowers_what_it_takes(tmp_path: Path) -> None:
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has ...")
    with pytest.raises(ValueError, match=r"needs more memory than cpu has \(CUDA out of memory\)") as caught:
        run_stage(Counting(raising(full)), job_in(tmp_path))
    assert "search.recompute=true lowers it" in str(caught.value)
    assert "search.batch_size" in str(caught.value)
