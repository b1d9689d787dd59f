"""Stage folders that something has happened to: what is noticed, and that nothing sound is taken for damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest

from archselect.store import StageFolder, StageKey, Store

KEY = StageKey("search", "s2-darts-seed0", {"seed": 0})


@pytest.fixture
def unfinished(tmp_path: Path) -> StageFolder:
    folder = Store(tmp_path).folder(KEY)
    folder.begin({"seed": 0}, {"device": "cpu"})
    folder.append_line("history.jsonl", {"epoch": 0})
    folder.append_line("history.jsonl", {"epoch": 1})
    (folder.path / "checkpoint.ckpt").write_bytes(b"a checkpoint")
    (folder.path / "scratch").mkdir()
    (folder.path / "scratch" / "trial.pt").write_bytes(b"a trial")
    (folder.path / "snapshots").mkdir()
    (folder.path / "snapshots" / "epoch-1.pt").write_bytes(b"a snapshot")
    return folder


@pytest.fixture
def finished(unfinished: StageFolder) -> StageFolder:
    unfinished.finish({"accuracy": 0.5})
    return unfinished


def test_the_marker_lists_what_is_kept_with_sizes_and_digests(finished: StageFolder) -> None:
    files = finished.read_json("finished.json")["files"]
    assert list(files) == [
        "config.yaml",
        "history.jsonl",
        "identity.json",
        "provenance.json",
        "result.json",
        "snapshots/epoch-1.pt",
    ]
    # printf 'a snapshot' | sha256sum
    assert files["snapshots/epoch-1.pt"] == {
        "bytes": 10,
        "sha256": "4fd24382e6a60f42a9b4a85f8135fd29c109de63d8c604138b6817cdec77d3c0",
    }
    assert sorted(path.name for path in finished.path.iterdir() if path.name not in files) == [
        "finished.json",
        "snapshots",
    ]


def test_sound_folders_are_not_damaged(unfinished: StageFolder) -> None:
    assert (unfinished.state, unfinished.integrity_error(contents=True)) == ("unfinished", None)
    (unfinished.path / "history.jsonl").open("ab").write(b'{"epoch": 2')  # a killed writer's half line
    assert (unfinished.state, unfinished.integrity_error(contents=True)) == ("unfinished", None)
    unfinished.finish({})
    assert (unfinished.state, unfinished.integrity_error(contents=True)) == ("finished", None)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "harm", "seen_at_once", "words"),
    [
        ("snapshots/epoch-1.pt", Path.unlink, True, "snapshots/epoch-1.pt is gone"),
        ("snapshots/epoch-1.pt", cut, True, "snapshots/epoch-1.pt has 7 bytes where it had 10"),
        ("snapshots/epoch-1.pt", change, False, "snapshots/epoch-1.pt is not what it was when the stage was finished"),
        ("result.json", Path.unlink, True, "result.json is gone"),
        ("identity.json", Path.unlink, True, "identity.json is gone"),
        ("identity.json", cut, True, "identity.json cannot be read"),
        ("finished.json", cut, True, "finished.json cannot be read"),
        ("finished.json", lambda path: path.write_text("{}"), True, "finished.json cannot be read"),
    ],
)
def test_a_finished_stage_whose_files_changed_is_damaged(
    finished: StageFolder, name: str, harm: Callable[[Path], None], seen_at_once: bool, words: str
) -> None:
    harm(finished.path / name)
    assert finished.state == ("damaged" if seen_at_once else "finished")
    assert finished.integrity_error(contents=True) == words


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("identity.json", lambda path: path.write_bytes(b""), "identity.json cannot be read"),
        ("provenance.json", cut, "provenance.json cannot be read"),
        ("history.jsonl", change, "line 1 of history.jsonl cannot be read"),
        ("history.jsonl", lambda path: path.write_text("[" * 100_000 + "\n"), "line 1 of history.jsonl cannot be read"),
    ],
)
def test_an_unfinished_stage_whose_records_cannot_be_read_is_damaged(
    unfinished: StageFolder, name: str, harm: Callable[[Path], None], words: str
) -> None:
    harm(unfinished.path / name)
    assert unfinished.integrity_error(contents=True) == words


def test_a_folder_of_another_stage_is_damaged(finished: StageFolder, tmp_path: Path) -> None:
    other = Store(tmp_path).folder(StageKey("search", "s2-darts-seed0", {"seed": 1}))
    finished.path.rename(other.path)
    assert other.state == "damaged"
    for use, error in ((other.result, FileNotFoundError), (lambda: other.begin({}, {}), ValueError)):
        with pytest.raises(error, match="belongs to another stage"):
            use()


def test_what_is_set_aside_is_kept_under_a_name_of_its_own(finished: StageFolder) -> None:
    first = finished.quarantine()
    assert finished.state == "absent"
    finished.begin({"seed": 0}, {"device": "cpu"})
    second = finished.quarantine()
    assert [path.name for path in (first, second)] == [f"{KEY.folder_name}.damaged-{n}" for n in (1, 2)]
    assert (first / "result.json").read_text() == '{\n  "accuracy": 0.5\n}\n'
