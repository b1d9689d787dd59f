"""What the tests of trained networks share."""

import pytest
from tests.command import Run, tiny, train
from tests.conftest import without_figures


@pytest.fixture(scope="session")
def trained_run(logs: str) -> Run:
    """A finished run in NAS-Bench-201 whose network recognises digits; it is exported sooner than others."""
    more = ["evaluation.epochs=8", "data.train_subset=400", "search.epochs=1"]
    with without_figures():
        return train(*tiny("nasbench201", "darts", "magnitude", *more, logs))
