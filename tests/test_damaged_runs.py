"""Runs whose files were damaged behind their back: they go on from what is sound, say so, and end as if undisturbed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.command import Run, lines, tiny, train
from tests.sameness import same

from archselect.search.module import SearchModule
from archselect.selection.scorer import Scorer

pytestmark = pytest.mark.usefixtures("no_figures")

# Six edges, decided in six points with an epoch of two steps between them.
COMMAND = [one for one in tiny("nasbench201", "darts", "perturb", "search.epochs=4") if "evaluation" not in one]
COMMAND += ["evaluation=none"]


class Cut(BaseException):
    """A session that ends here."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing happened to."""
    return train(*COMMAND, f"logs={tmp_path_factory.mktemp('alone')}")


@pytest.fixture
def copied(alone: Run, tmp_path: Path) -> Path:
    """The logs of the same run, copied to another place with all stages finished."""
    shutil.copytree(Path(alone.stage("search")).parents[1], tmp_path / "stages")
    return tmp_path


def cut_off(
    logs: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: type = SearchModule,
    method: str = "training_step",
    call: int = 7,
) -> None:
    """Run the command until a method is called for the `call`th time."""
    original, calls = getattr(owner, method), []

    def count(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == call:
            raise Cut
        return original(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Cut):
        patch.setattr(owner, method, count)
        train(*COMMAND, f"logs={logs}")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def only_stage(logs: Path, kind: str) -> Path:
    (stage,) = (path for path in (logs / "stages" / kind).iterdir() if path.is_dir() and ".damaged" not in path.name)
    return stage


@pytest.mark.parametrize("harm", [half, emptied])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    harm: Callable[[Path], None],
    alone: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut_off(tmp_path, monkeypatch)  # in the fourth epoch of two steps: there are checkpoints of the third and second
    search = only_stage(tmp_path, "search")
    harm(search / "checkpoint.ckpt")
    again = train(*COMMAND, f"logs={tmp_path}")
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: in" in said
    assert "checkpoint.ckpt is damaged, or no file of PyTorch" in said
    assert "going on from previous.ckpt" in said
    same(alone, again)
    assert "warning" not in " ".join(capsys.readouterr().out.split())
    assert [record["epoch"] for record in again.history("search")] == [0, 1, 2, 3]


def test_two_damaged_checkpoints_make_the_stage_start_afresh(
    alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(tmp_path, monkeypatch, Scorer, "__call__", call=4)
    selection = only_stage(tmp_path, "selection")
    assert lines(selection / "decisions.jsonl")
    for name in ("checkpoint.ckpt", "previous.ckpt"):
        emptied(selection / name)
    again = train(*COMMAND, f"logs={tmp_path}")
    assert "starting afresh" in " ".join(capsys.readouterr().out.split())
    same(alone, again)


def test_half_a_line_of_decisions_is_made_again(
    alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(tmp_path, monkeypatch, SearchModule, "training_step", call=8 + 7)  # the fourth point has been decided
    decisions = only_stage(tmp_path, "selection") / "decisions.jsonl"
    assert [record["point"] for record in lines(decisions)] == [0, 1, 2, 3]
    decisions.write_bytes(decisions.read_bytes()[:-20])
    same(alone, train(*COMMAND, f"logs={tmp_path}"))
    assert "warning" not in capsys.readouterr().out, "a kill may leave half a line: nothing to warn of"


def test_a_decision_that_only_the_checkpoint_knows_makes_the_selection_start_afresh(
    alone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(tmp_path, monkeypatch, Scorer, "__call__", call=4)
    decisions = only_stage(tmp_path, "selection") / "decisions.jsonl"
    assert [record["point"] for record in lines(decisions)] == [0, 1, 2]
    decisions.write_bytes(decisions.read_bytes()[:-20])
    same(alone, train(*COMMAND, f"logs={tmp_path}"))
    said = " ".join(capsys.readouterr().out.split())
    assert "decisions.jsonl does not hold the decisions that the checkpoint was tuned under" in said


@pytest.mark.parametrize(
    ("kind", "name", "harm", "words"),
    [
        ("search", "supernet.pt", Path.unlink, "supernet.pt is gone"),
        ("search", "supernet.pt", half, "supernet.pt has"),
        ("search", "identity.json", emptied, "identity.json cannot be read"),
        ("selection", "genotype.json", half, "genotype.json has"),
        ("selection", "decisions.jsonl", Path.unlink, "decisions.jsonl is gone"),
    ],
)
def test_a_finished_stage_that_lost_a_file_is_set_aside_and_made_again(
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
    said = " ".join(capsys.readouterr().out.split())
    assert f"is damaged: {words}" in said
    assert f"It is kept as {stage.name}.damaged-1" in said
    assert again.reused() == {one: one != kind for one in ("search", "selection")}
    same(alone, again)


def test_one_changed_byte_in_a_finished_supernet_is_noticed(
    alone: Run, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = only_stage(copied, "search") / "supernet.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    again = train(*COMMAND, f"logs={copied}")
    assert "supernet.pt is not what it was when the stage was finished" in " ".join(capsys.readouterr().out.split())
    assert again.reused() == {"search": False, "selection": True}
    same(alone, again)


def test_stages_copied_from_another_machine_are_used(alone: Run, copied: Path) -> None:
    again = train(*COMMAND, f"logs={copied}")
    assert again.reused() == {"search": True, "selection": True}
    assert again.stage("search").is_relative_to(copied)
    same(alone, again)


def test_another_stage_under_the_same_name_is_not_taken_for_it(
    alone: Run, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = only_stage(copied, "search")
    identity = json.loads((stage / "identity.json").read_text())
    (stage / "identity.json").write_text(json.dumps({**identity, "seed": 7}))
    again = train(*COMMAND, f"logs={copied}")
    assert "it belongs to another stage" in " ".join(capsys.readouterr().out.split())
    assert again.reused() == {"search": False, "selection": True}
    same(alone, again)
