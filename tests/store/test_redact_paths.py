"""What is written of paths names neither the user nor his home folder, and is found again."""

import logging
from pathlib import Path

import pytest

from archselect.store import redact_paths as places


@pytest.fixture(autouse=True)
def anna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setattr(places, "_user", lambda: "anna")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/anna", "~"),
        ("/home/anna/cifar", "~/cifar"),
        ("data.path=/home/anna/cifar, /home/anna", "data.path=~/cifar, ~"),
        ("/scratch/anna/cifar", "/scratch/$USER/cifar"),
        ("/scratch/anna", "/scratch/$USER"),
        ("/home/annabel/cifar", "/home/annabel/cifar"),
        ("/data/anna-banana/anna.txt", "/data/anna-banana/anna.txt"),
        ("anna", "anna"),
        ("logs/runs", "logs/runs"),
    ],
)
def test_home_and_user_are_taken_out_and_put_back(text: str, expected: str) -> None:
    assert places.redact(text) == expected
    if text.startswith("/"):
        assert places.expand(expected) == text


def test_somebody_elses_home_is_found_as_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = places.redact_all({"data": {"path": "/home/anna/cifar"}, "tables": ["/scratch/anna/t.csv", 5]})
    monkeypatch.setenv("HOME", "/home/ben")
    monkeypatch.setattr(places, "_user", lambda: "ben")
    assert places.expand_all(stored) == {"data": {"path": "/home/ben/cifar"}, "tables": ["/scratch/ben/t.csv", 5]}


def test_a_home_that_is_the_root_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert places.redact("/data/cifar") == "/data/cifar"


def test_the_log_of_a_run_is_written_likewise() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 1, "there is no %s", ("/home/anna/cifar",), None)
    assert places.Formatter("%(message)s").format(record) == "there is no ~/cifar"


def test_files_are_rewritten_once_they_exist(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    places.redact_files(file)
    assert not file.exists()
    file.write_text("path: /home/anna/cifar\n")
    places.redact_files(file)
    assert file.read_text() == "path: ~/cifar\n"
