"""What the tests of whole runs share."""

import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from tests.command import CONFIGS, Run, tiny, train

from archselect import kernels
from archselect.pipeline.command_line import register_resolvers


def pytest_collection_finish() -> None:
    """Let Python look for garbage less often, and not in what was imported: that is a tenth of the time of tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


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


def without_figures() -> Any:
    """Leave the figures out, which take longer than a tiny run; they have tests of their own."""
    return mock.patch("archselect.pipeline.run.draw_figures", return_value=[])


@pytest.fixture
def with_figures() -> None:
    """Draw the figures of the runs that a test makes."""


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave the figures out in tests that do not ask for `with_figures`."""
    with nullcontext() if "with_figures" in request.fixturenames else without_figures():
        yield


@pytest.fixture(scope="session")
def tiny_run(logs: str) -> Run:
    """A finished run in S2 of three epochs, whose supernet was kept after each."""
    with without_figures():
        return train(*tiny("s2", "darts", "perturb", "search.epochs=3", "search.snapshots=1", logs))


@pytest.fixture(scope="session")
def tiny_folder(tiny_run: Run) -> Path:
    """The folder of `tiny_run`."""
    return tiny_run.folder


@pytest.fixture(scope="session")
def nasbench201_folder(logs: str) -> Path:
    """A finished run in NAS-Bench-201 of two epochs, kept after each, that evaluates nothing."""
    overrides = [one for one in tiny("nasbench201", "darts", "magnitude") if "evaluation" not in one]
    with without_figures():
        return train(*overrides, "evaluation=none", "search.snapshots=1", logs).folder


@pytest.fixture
def gathered(tmp_path: Path) -> Callable[..., Path]:
    """Return what copies runs, in this order, into a folder that holds no others; their stages stay where they are."""

    def gather(*runs: Path) -> Path:
        for number, run in enumerate(runs):
            others = shutil.ignore_patterns("analyses")  # of other tests, which may be at it
            shutil.copytree(run, tmp_path / "runs" / str(number), symlinks=True, ignore=others)
        return tmp_path / "runs"

    return gather


@pytest.fixture(params=[True, False], ids=["by_loops", "by_pytorch"])
def evaluation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Evaluate networks as on a CPU and as on a GPU, both tried here."""
    with kernels.enabled(request.param):
        yield


@pytest.fixture
def hydra() -> Iterator[None]:
    """Compose from the configs of the project with `compose`; what Hydra knew before is put back."""
    register_resolvers()
    before = HydraConfig.instance().cfg
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield
    HydraConfig.instance().cfg = before
