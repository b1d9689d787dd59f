import errno
import json
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from archselect.store import StageFolder, StageKey, Store, StoreError, atomic_write
from archselect.store.provenance import git_state, provenance

IDENTITY = {
    "seed": 0,
    "config": {"learning_rate": 0.025, "operations": ["none"], "unrolled": True, "patience": None},
}
KEY = StageKey("search", "s2-darts-seed0", IDENTITY)


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    return Store(tmp_path / "logs").folder(KEY)


@pytest.fixture
def begun(folder: StageFolder) -> StageFolder:
    folder.begin({"learning_rate": 0.025}, {"device": "cpu"})
    return folder


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


# What a stage is called


def test_a_stage_lies_in_the_folder_of_its_kind_by_label_and_the_sha256_of_the_sorted_json(tmp_path: Path) -> None:
    # printf '%s' '{"config":{"learning_rate":0.025,"operations":["none"],"patience":null,"unrolled":true},"seed":0}' |
    # sha256sum
    assert KEY.digest == "f54a1e0534b7"
    for kind in ("search", "selection", "evaluation", "analysis"):
        folder = Store(tmp_path).folder(StageKey(kind, KEY.label, IDENTITY)).path  # type: ignore[arg-type]
        assert folder == tmp_path / "stages" / kind / "s2-darts-seed0-f54a1e0534b7"
    mine = {"config": dict(reversed(IDENTITY["config"].items())), "seed": 0}
    key = StageKey("search", "a", mine)
    mine["config"]["learning_rate"] = 1
    assert key.digest == KEY.digest


@pytest.mark.parametrize(
    "change",
    [
        *({"seed": seed} for seed in (1, False, 0.0, "0", None)),
        {"config": {**IDENTITY["config"], "learning_rate": 0.025000000000000005}},
        {"config": {**IDENTITY["config"], "operations": ["none", "none"]}},
        {"config": {**IDENTITY["config"], "operations": [["none"]]}},
        {"config": {"learning_rate": 0.025, "operations": ["none"], "unrolled": True}},
        {"version": 1},
    ],
    ids=str,
)
def test_every_part_of_the_identity_changes_the_digest(change: dict[str, Any]) -> None:
    assert StageKey("search", "a", {**IDENTITY, **change}).digest != KEY.digest


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"config": {"size": (3, 3)}}, r"identity\.config\.size .*tuple"),
        ({"config": {"rates": [0.1, float("nan")]}}, r"identity\.config\.rates\.1 .*nan"),
        ({"path": Path("data")}, r"identity\.path .*Path"),
        ({"config": {1: "a"}}, r"identity\.config .*1"),
    ],
    ids=["tuple", "nan", "object", "key"],
)
def test_refuses_an_identity_without_a_json_form_and_says_where(value: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        StageKey("search", "a", value)


@pytest.mark.parametrize("label", ["", "a/b", "..", ".hidden", "a b", "é", "-a", "a\n", "a" * 201])
def test_refuses_a_label_that_is_no_folder_name_and_an_unknown_kind(label: str) -> None:
    with pytest.raises(ValueError, match="label"):
        StageKey("search", label, {})
    with pytest.raises(ValueError, match="search, selection, evaluation"):
        StageKey("training", "a", {})  # type: ignore[arg-type]


# The three states


def test_a_stage_is_absent_then_unfinished_then_finished(folder: StageFolder, tmp_path: Path) -> None:
    assert folder.state == "absent"
    assert list(tmp_path.iterdir()) == [], "asking leaves no trace on disk"
    with folder.lock():
        assert folder.state == "absent"
        folder.begin({}, {})
        assert folder.state == "unfinished"
        with pytest.raises(FileNotFoundError, match="unfinished"):
            folder.result()
        folder.finish({"accuracy": 0.5})
    assert folder.state == "finished"
    assert folder.result() == {"accuracy": 0.5}


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: folder.begin({}, {}),
        lambda folder: folder.finish({"accuracy": 1.0}),
        lambda folder: folder.write_text("notes.txt", "new"),
        lambda folder: folder.append_line("history.jsonl", {"epoch": 1}),
        lambda folder: folder.keep_lines("history.jsonl", lambda record: False),
    ],
    ids=["begin", "finish", "write", "append", "keep"],
)
def test_a_finished_folder_never_changes(begun: StageFolder, write: Callable[[StageFolder], None]) -> None:
    begun.append_line("history.jsonl", {"epoch": 0})
    begun.finish({"accuracy": 0.5})
    before = {file: file.read_bytes() for file in begun.path.iterdir()}
    with pytest.raises(ValueError, match="is finished"):
        write(begun)
    assert {file: file.read_bytes() for file in begun.path.iterdir()} == before


def test_a_stage_killed_before_its_marker_is_unfinished_and_can_be_finished(
    begun: StageFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def killed_at_the_marker(source: Path, target: Path) -> None:
        if target.name == "finished.json":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed_at_the_marker)
        begun.finish({"accuracy": 0.5})
    assert (begun.path / "result.json").exists()
    assert begun.state == "unfinished"
    begun.begin({}, {})
    begun.finish({"accuracy": 0.6})
    assert begun.result() == {"accuracy": 0.6}


def test_the_folder_says_how_it_came_to_be_and_a_session_that_was_cut_off_counts_up_to_its_last_write(
    begun: StageFolder,
) -> None:
    begun.append_line("history.jsonl", {"epoch": 0})
    written = (begun.path / "identity.json").stat().st_mtime + 100
    os.utime(begun.path / "history.jsonl", (written, written))
    begun.begin({"learning_rate": 0.025, "device": "cuda"}, {"device": "cuda"})
    assert json.loads((begun.path / "identity.json").read_text()) == IDENTITY
    assert yaml.safe_load((begun.path / "config.yaml").read_text()) == {"learning_rate": 0.025, "device": "cuda"}
    begun.finish({})
    sessions = begun.read_json("provenance.json")
    assert [session["device"] for session in sessions] == ["cpu", "cuda"]
    assert all(session["started"].endswith("+00:00") for session in sessions)
    assert begun.seconds == pytest.approx(100, abs=10)


# Files that are whole


def test_a_file_keeps_its_old_content_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    for cut_off in (False, True):
        with suppress(KeyboardInterrupt), atomic_write(file) as stream:
            stream.write(b"first ")
            if cut_off:
                raise KeyboardInterrupt
            assert not file.exists()
            stream.write(b"second")
        assert file.read_bytes() == b"first second"
        assert list(tmp_path.iterdir()) == [file]


def test_json_comes_back_as_it_was_written(begun: StageFolder) -> None:
    value = {"α": [0.1, None, True, {"nested": "é"}], "loss": float("inf")}
    begun.write_json("scores.json", value)
    assert begun.read_json("scores.json") == value


def test_lines_come_back_in_order_without_a_half_written_last_one_and_some_are_dropped(begun: StageFolder) -> None:
    assert begun.read_lines("history.jsonl") == []
    (begun.path / "history.jsonl").write_text('{"epoch": 7}')
    assert begun.read_lines("history.jsonl") == []
    begun.append_line("history.jsonl", {"epoch": 0})
    begun.append_line("history.jsonl", {"epoch": 1})
    with (begun.path / "history.jsonl").open("a") as file:
        file.write('{"epoch": 2, "genotype": "nor')
    assert begun.read_lines("history.jsonl") == [{"epoch": 0}, {"epoch": 1}]
    begun.append_line("history.jsonl", {"epoch": 2})
    assert begun.read_lines("history.jsonl") == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}]
    begun.keep_lines("history.jsonl", lambda record: record["epoch"] < 1)
    begun.append_line("history.jsonl", {"epoch": 1})
    assert begun.read_lines("history.jsonl") == [{"epoch": 0}, {"epoch": 1}]
    (begun.path / "history.jsonl").write_text('{"epoch": 0}\n\0\0\0\n{"epoch": 2}\n')
    with pytest.raises(ValueError, match=r"Line 2 of .*history\.jsonl is damaged"):
        begun.read_lines("history.jsonl")


# What the disk may refuse


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: folder.write_text("history.jsonl", "{}\n"),
        lambda folder: folder.append_line("history.jsonl", {"epoch": 1}),
    ],
    ids=["replace", "append"],
)
def test_a_full_disk_is_explained_and_what_was_written_stays(
    begun: StageFolder, monkeypatch: pytest.MonkeyPatch, write: Callable[[StageFolder], None]
) -> None:
    begun.append_line("history.jsonl", {"epoch": 0})
    with (
        monkeypatch.context() as patch,
        pytest.raises(StoreError, match=r"No space .*history\.jsonl: free some .*typed again goes on") as caught,
    ):
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        write(begun)
    assert caught.value.errno == errno.ENOSPC
    assert begun.read_lines("history.jsonl")[0] == {"epoch": 0}
    assert not list(begun.path.glob(".*"))


def test_a_forbidden_folder_or_lock_is_explained(folder: StageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(pytest.importorskip("fcntl"), "flock", failing(errno.ENOSYS))
        with pytest.raises(StoreError, match="offers no locks"), folder.lock():
            pass
    monkeypatch.setattr(Path, "mkdir", failing(errno.EACCES))
    with pytest.raises(StoreError, match=r"s2-darts-seed0-f54a1e0534b7\.lock is not permitted"), folder.lock():
        pass
    with pytest.raises(StoreError, match="s2-darts-seed0-f54a1e0534b7 is not permitted"):
        folder.begin({}, {})


@pytest.mark.parametrize("blocked", ["parent", "parent/logs", "parent/logs/stages"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path, blocked: str) -> None:
    (tmp_path / blocked).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / blocked).write_text("not a folder")
    with (
        pytest.raises(StoreError, match=r"logs is a file: move it|a file is where a folder is needed"),
        Store(tmp_path / "parent" / "logs").folder(KEY).lock(),
    ):
        pass


def test_an_error_of_the_work_under_the_lock_is_not_the_stores(folder: StageFolder) -> None:
    with pytest.raises(FileNotFoundError, match="my own") as caught, folder.lock():
        raise FileNotFoundError("my own")
    assert not isinstance(caught.value, StoreError)
    with folder.lock(on_wait=lambda: pytest.fail("the lock was not released")):
        pass


# Two processes

PROCESSES = multiprocessing.get_context("spawn")


def work_until_told(folder: StageFolder, said: Any, told: Any) -> None:
    with folder.lock():
        folder.begin({}, {})
        said.put("working")
        assert told.wait(60)
        folder.finish({"accuracy": 0.5})


@pytest.mark.parametrize(("is_killed", "found"), [(False, "finished"), (True, "unfinished")])
def test_who_works_on_a_stage_is_waited_for_and_blocks_nobody_when_killed(
    folder: StageFolder, is_killed: bool, found: str
) -> None:
    said, told, waited = PROCESSES.Queue(), PROCESSES.Event(), []
    at_work = PROCESSES.Process(target=work_until_told, args=(folder, said, told))
    at_work.start()
    assert said.get(timeout=60) == "working"

    def end() -> None:
        waited.append(folder.state)
        at_work.kill() if is_killed else told.set()

    with folder.lock(on_wait=end):
        assert (waited, folder.state) == (["unfinished"], found)
    at_work.join(60)
    assert at_work.exitcode == (-signal.SIGKILL if is_killed else 0)


# Provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit of one file, and no repository around it."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "model.py").write_text("layers = 8\n")
    author = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for arguments in (["init"], ["add", "model.py"], [*author, "commit", "-m", "first"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
    return folder


def test_git_state_is_the_commit_and_whether_anything_differs_from_it(checkout: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True)
    assert git_state(checkout / "model.py") == {"commit": head.stdout.strip(), "dirty": False}
    (checkout / "new.yaml").write_text("layers: 20\n")
    added = git_state(checkout / "model.py")
    assert added == {"commit": head.stdout.strip(), "dirty": True, "diff": "", "untracked": ["new.yaml"]}
    (checkout / "new.yaml").unlink()
    (checkout / "model.py").write_text("layers = 20\n")
    changed = git_state(checkout / "model.py")
    assert changed is not None
    assert (changed["dirty"], changed["untracked"]) == (True, [])
    assert "-layers = 8\n+layers = 20" in changed["diff"]
    (checkout / "model.py").write_text("layers = 20\n" * 30_000)
    long = (git_state(checkout / "model.py") or {})["diff"]
    assert 200_000 < len(long) < 200_100 and long.endswith("characters more]")


def test_git_state_is_none_where_the_source_is_in_no_commit(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = checkout / ".venv" / "model.py"
    installed.parent.mkdir()
    installed.write_text("")
    assert git_state(installed) is None
    assert git_state(tmp_path / "model.py") is None
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout / "model.py") is None


def test_provenance_is_plain_json_and_names_versions_device_and_seeds_and_no_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setattr("sys.argv", ["/home/anna/archselect/train.py", "seed=1", "data.path=/home/anna/cifar"])
    record = provenance("cpu", {"search": 0})
    assert record["command"] == ["train.py", "seed=1", "data.path=~/cifar"]
    assert json.loads(json.dumps(record)) == record
    assert (record["device"], record["seeds"]) == ("cpu", {"search": 0})
    assert set(record["versions"]) == {"python", "archselect", "torch", "pytorch_lightning", "hydra"}
    assert record["versions"]["hydra"].startswith("1.3")
    assert all(record["versions"][name] for name in ("python", "torch", "pytorch_lightning"))
