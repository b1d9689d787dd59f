from pathlib import Path

import pytest
from tests.command import Run, tiny, train


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run in S2 of three epochs, whose supernet was kept after each."""
    logs = tmp_path_factory.mktemp("tiny-run") / "logs"
    return train(*tiny("s2", "darts", "perturb", "search.epochs=3", "search.snapshots=1", f"logs={logs}"))


@pytest.fixture(scope="session")
def tiny_folder(tiny_run: Run) -> Path:
    return tiny_run.folder
