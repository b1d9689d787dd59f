from pathlib import Path

import pytest
from tests.analysis import made_table
from tests.command import Run, tiny, train


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run in S2 of three epochs, whose supernet was kept after each."""
    logs = tmp_path_factory.mktemp("tiny-run") / "logs"
    return train(*tiny("s2", "darts", "perturb", "search.epochs=3", "search.snapshots=1", f"logs={logs}"))


@pytest.fixture(scope="session")
def tiny_folder(tiny_run: Run) -> Path:
    return tiny_run.folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NAS-Bench-201 table of made-up accuracies."""
    return made_table.written(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="session")
def nasbench201_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in NAS-Bench-201 of two epochs, kept after each, that evaluates nothing."""
    logs = tmp_path_factory.mktemp("nasbench201-run") / "logs"
    overrides = [one for one in tiny("nasbench201", "darts", "magnitude") if "evaluation" not in one]
    return train(*overrides, "evaluation=none", "search.snapshots=1", f"logs={logs}").folder
