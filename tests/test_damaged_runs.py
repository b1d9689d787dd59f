"""Runs whose files were damaged behind their back: they go on from what is sound, say so, and end as if undisturbed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from tests.command import Run, lines, tiny, train
from tests.sameness import same

from archselect.search.module import SearchModule
from archselect.selection.scorer import Scorer

# Four epochs of one step, and six edges, decided in six points with such an epoch between them.
SMALL = ("data.train_subset=60", "search.batch_size=30", "search_space.channels=2", "evaluation=none")
COMMAND = tiny("nasbench201", "darts", "perturb", "search.epochs=4", *SMALL)


class Cut(BaseException):
    """A session that ends here."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing happened to."""
    return train(*COMMAND, f"logs={tmp_path_factory.mktemp('alone')}")


@pytest.fixture
def logs(tmp_path: Path) -> str:
    return f"logs={tmp_path}"


@pytest.fixture
def copied(alone: Run, tmp_path: Path) -> Path:
    """The logs of the same run, copied to another place with all stages finished."""
    shutil.copytree(Path(alone.stage("search")).parents[1], tmp_path / "stages")
    return tmp_path


def cut_off(logs: str, owner: type, method: str, call: int) -> None:
    """Run the command until a method is called for the `call`th time."""
    original, calls = getattr(owner, method), []

    def count(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise Cut
        return original(*args, **kwargs)

    with mock.patch.object(owner, method, count), pytest.raises(Cut):
        train(*COMMAND, logs)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def changed_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def only_stage(logs: Path, kind: str) -> Path:
    (stage,) = (path for path in (logs / "stages" / kind).iterdir() if path.is_dir() and ".damaged" not in path.name)
    return stage


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    alone: Run, tmp_path: Path, logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(logs, SearchModule, "training_step", 4)  # in the fourth epoch: the checkpoints of two are there
    half(only_stage(tmp_path, "search") / "checkpoint.ckpt")
    again = train(*COMMAND, logs)
    words = said(capsys)
    assert "warning: in" in words
    assert "checkpoint.ckpt is damaged, or no file of PyTorch" in words
    assert "going on from previous.ckpt" in words
    same(alone, again)
    assert "warning" not in said(capsys)
    assert [record["epoch"] for record in again.history("search")] == [0, 1, 2, 3]


def test_two_damaged_checkpoints_make_the_stage_start_afresh(
    alone: Run, tmp_path: Path, logs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(logs, Scorer, "__call__", 4)
    selection = only_stage(tmp_path, "selection")
    assert lines(selection / "decisions.jsonl")
    for name in ("checkpoint.ckpt", "previous.ckpt"):
        emptied(selection / name)
    again = train(*COMMAND, logs)
    assert "starting afresh" in said(capsys)
    same(alone, again)


@pytest.mark.parametrize(
    ("owner", "method", "call", "decided", "words"),
    [
        # A kill may leave half a line of what was not yet tuned under: nothing to warn of.
        (SearchModule, "training_step", 4 + 4, 4, None),
        (Scorer, "__call__", 4, 3, "decisions.jsonl does not hold the decisions that the checkpoint was tuned under"),
    ],
    ids=["not yet tuned under", "tuned under"],
)
def test_half_a_line_of_decisions_is_made_again(
    owner: type,
    method: str,
    call: int,
    decided: int,
    words: str | None,
    alone: Run,
    tmp_path: Path,
    logs: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut_off(logs, owner, method, call)
    decisions = only_stage(tmp_path, "selection") / "decisions.jsonl"
    assert [record["point"] for record in lines(decisions)] == list(range(decided))
    decisions.write_bytes(decisions.read_bytes()[:-20])
    same(alone, train(*COMMAND, logs))
    out = said(capsys)
    assert "warning" not in out if words is None else words in out


# What else may have happened to a folder is shown by `tests/store/test_integrity.py`.
@pytest.mark.parametrize(
    ("kind", "name", "harm", "words"),
    [
        ("search", "supernet.pt", changed_byte, "supernet.pt is not what it was when the stage was finished"),
        ("selection", "decisions.jsonl", Path.unlink, "decisions.jsonl is gone"),
    ],
)
def test_a_finished_stage_that_is_not_what_it_was_is_set_aside_and_made_again(
    kind: str,
    name: str,
    harm: Callable[[Path], None],
    words: str,
    alone: Run,
    copied: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage = only_stage(copied, kind)
    harm(stage / name)
    again = train(*COMMAND, f"logs={copied}")
    out = said(capsys)
    assert f"is damaged: {words}" in out
    assert f"It is kept as {stage.name}.damaged-1" in out
    assert again.reused() == {one: one != kind for one in ("search", "selection")}
    same(alone, again)


def test_stages_copied_from_another_machine_are_used(alone: Run, copied: Path) -> None:
    again = train(*COMMAND, f"logs={copied}")
    assert again.reused() == {"search": True, "selection": True}
    assert again.stage("search").is_relative_to(copied)
    same(alone, again)
