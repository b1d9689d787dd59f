"""What the tests of analyses share."""

import pytest
from tests.command import Run, tiny, train
from tests.conftest import without_figures


@pytest.fixture(scope="session")
def magnitude_run(tiny_run: Run) -> Run:
    """A run from the same supernet as `tiny_run`, by magnitude."""
    logs = tiny_run.stage("search").parents[2]
    with without_figures():
        return train(*tiny("s2", "darts", "magnitude", "search.epochs=3", "search.snapshots=1", f"logs={logs}"))
