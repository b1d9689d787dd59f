"""Files of tensors and the two checkpoints of a stage: damaged ones are never gone on from."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from archselect.distributed.rng import generator_states
from archselect.store import DamagedError
from archselect.training import mid_epoch
from archselect.training.checkpoint import AtomicCheckpointIO, load_state, newest_valid
from archselect.training.mid_epoch import MidEpochCheckpoint

STATE = {"epoch": 3, "weights": torch.arange(20.0), "curve": [0.1, 0.2]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stage that has written two checkpoints."""
    io = AtomicCheckpointIO()
    for epoch in (2, 3):
        io.save_checkpoint({**STATE, "epoch": epoch}, tmp_path / "checkpoint.ckpt")
    return tmp_path


def loaded(path: Path | None) -> Any:
    assert path is not None
    return load_state(path)["epoch"]


def test_the_newest_checkpoint_is_gone_on_from(folder: Path) -> None:
    path, wrong = newest_valid(folder)
    assert (loaded(path), wrong) == (3, [])
    assert sorted(file.name for file in folder.iterdir()) == ["checkpoint.ckpt", "previous.ckpt"], "pruned to two"


def test_a_checkpoint_cut_at_any_byte_gives_way_to_the_one_before(folder: Path) -> None:
    newest = folder / "checkpoint.ckpt"
    whole = newest.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        newest.write_bytes(whole[:length])
        path, wrong = newest_valid(folder)
        assert loaded(path) == 2, length
        assert len(wrong) == 1
        assert wrong[0].startswith("checkpoint.ckpt is damaged, or no file of PyTorch (")


def test_a_changed_byte_is_never_loaded_as_if_nothing_were(folder: Path) -> None:
    newest = folder / "checkpoint.ckpt"
    whole = newest.read_bytes()
    noticed = 0
    for place in range(0, len(whole), 5):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        newest.write_bytes(changed)
        path, wrong = newest_valid(folder)
        if wrong:
            noticed += 1
            assert loaded(path) == 2
        else:  # between the records, where nothing is written
            state = load_state(newest)
            assert (state["epoch"], state["curve"]) == (3, STATE["curve"])
            assert torch.equal(state["weights"], STATE["weights"])
    assert noticed > 30


def test_a_kill_between_the_two_renames_leaves_the_previous_one(folder: Path) -> None:
    (folder / "checkpoint.ckpt").unlink()
    path, wrong = newest_valid(folder)
    assert (loaded(path), wrong) == (2, [])


def test_an_older_layout_is_not_gone_on_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archselect.training.checkpoint.LAYOUT", 2)
    words = "is of another version of this program (layout 1, not 2)"
    assert newest_valid(folder) == (None, [f"checkpoint.ckpt {words}", f"previous.ckpt {words}"])


def test_a_pickle_that_runs_code_is_refused_and_not_run(folder: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (folder / "ran",)

    torch.save({"epoch": Hostile()}, folder / "checkpoint.ckpt")
    path, wrong = newest_valid(folder)
    assert loaded(path) == 2
    assert "could run code" in wrong[0]
    assert not (folder / "ran").exists()


def test_what_was_written_for_an_unfinished_stage_and_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"^trial\.pt is gone$"):
        load_state(tmp_path / "trial.pt")
    torch.save([1, 2], tmp_path / "trial.pt")
    with pytest.raises(DamagedError, match="holds a list where it should hold a state"):
        load_state(tmp_path / "trial.pt")


def test_the_time_of_an_epoch_is_that_of_all_its_sessions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [100.0]
    monkeypatch.setattr(mid_epoch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    trainer, module = MagicMock(), MagicMock(**{"named_modules.return_value": []})
    first, second = (MidEpochCheckpoint(tmp_path, minutes=30) for _ in range(2))
    first.on_train_epoch_start(trainer, module)
    now[0] = 107.0
    state = {"seconds": first.seconds, "processes": [{"generators": generator_states(), "statistics": {}}]}
    now[0] = 500.0
    second.on_load_checkpoint(trainer, module, {mid_epoch.KEY: state})
    second.on_train_start(trainer, module)
    now[0] = 503.0
    assert second.seconds == 7.0 + 3.0
    second.on_train_epoch_start(trainer, module)
    now[0] = 504.0
    assert second.seconds == 1.0
