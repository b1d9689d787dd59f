"""What a run leaves may be passed on: no key, no name of a user, no path of a home folder is in it."""

import os
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image
from tests.command import analyze, sweep, tiny, train

from archselect.pipeline.finished_run import open_run
from archselect.pipeline.run import recording_failures
from archselect.results.grid import REFUSED
from archselect.utils.errors import UserError

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of a user Quimby, in which everything lies: data, logs and where the command is typed."""
    home = tmp_path / "home" / "quimby"
    for split in ("train", "test"):
        for label in range(2):
            folder = home / "images" / split / str(label)
            folder.mkdir(parents=True)
            for number in range(20):
                Image.new("RGB", (8, 8), (number * 12, label * 200, 50)).save(folder / f"{number}.png")
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")  # of compiled loops
    for name, value in {"HOME": str(home), "USER": "quimby", "LOGNAME": "quimby", "XDG_CACHE_HOME": cache}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.chdir(home)
    return home


def betraying(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder whose content or name tells the key or the user, and what of it."""
    told = {}
    for file in folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        words = str(file.relative_to(folder)).encode() + b"\n" + content
        for secret in (KEY.encode(), b"quimby"):
            if (place := words.find(secret)) >= 0:
                told[str(file.relative_to(folder))] = words[max(0, place - 60) : place + 40]
    return told


def options(home: Path, *more: str) -> list[str]:
    small = ["data=image_folder", f"data.path={home / 'images'}", "data.classes=2", "data.image_size=8"]
    small += ["data.mean=[0.5,0.5,0.5]", "data.std=[0.5,0.5,0.5]"]  # the images have one colour each
    return [
        *tiny("s2", "darts", "magnitude"),
        "data.train_subset=null",
        *small,
        "search.epochs=1",
        "search.batch_size=10",
        "evaluation.batch_size=10",
        *more,
    ]


def test_neither_key_nor_user_is_in_what_a_run_and_an_analysis_leave(home: Path) -> None:
    run = train(*options(home, f"logs={home / 'logs'}", "evaluation.epochs=1", "logger=tensorboard"))
    analyze("analysis=cells", f"run={run.folder}")
    assert (run.folder / "analyses" / "cells" / "reading.md").is_file()
    assert len([file for file in (home / "logs").rglob("*") if file.is_file()]) > 30
    assert betraying(home / "logs") == {}
    config = yaml.safe_load((run.folder / ".hydra" / "config.yaml").read_text())
    assert config["data"]["path"] == "~/images"
    assert open_run(run.folder).config.data.path == str(home / "images")
    assert open_run(run.folder).stage("search").reused


def test_what_was_refused_and_a_sweep_name_no_user_either(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sweep(*options(home, f"logs={home / 'logs'}", f"data.path={home / 'nothing'}"))
    assert "nothing" in capsys.readouterr().err
    (log,) = (home / "logs").rglob("train.log")
    assert "~/nothing" in log.read_text()
    assert list((home / "logs").rglob("multirun.yaml"))
    groups = ("search_space", "search", "selection", "evaluation", "data", "task")
    config = OmegaConf.create({"seed": 0, **{group: {"name": "a"} for group in groups}})
    with pytest.raises(UserError), recording_failures(config, home / "logs", REFUSED):
        raise UserError(f"There is no {home / 'table.csv'}.")
    assert "There is no ~/table.csv." in (home / "logs" / "refused.json").read_text()
    assert betraying(home / "logs") == {}


def test_a_file_that_tells_is_found(home: Path) -> None:
    assert betraying(home / "images") == {}
    (home / "images" / "a.txt").write_text(f"x{KEY}")
    assert list(betraying(home / "images")) == ["a.txt"]
