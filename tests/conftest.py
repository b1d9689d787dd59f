"""What the tests of whole runs share."""

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """Return `logs=FOLDER`, one folder for all tests, so that a stage that several of them start from is made once.

    The processes of `pytest --numprocesses` share it too: the store's locks are made for that.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "logs"
    return f"logs={folder}"


@pytest.fixture
def own_logs(tmp_path: Path) -> str:
    """Return `logs=FOLDER`, an empty folder for one test."""
    return f"logs={tmp_path / 'logs'}"


@pytest.fixture
def no_figures() -> Iterator[None]:
    """Leave the figures out, which take longer than a tiny run; they have tests of their own."""
    with mock.patch("archselect.pipeline.draw_figures", return_value=[]):
        yield
