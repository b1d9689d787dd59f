"""The short form of `make chaos`, and that the harness would notice if something were lost."""

import random
import shutil
from pathlib import Path

import pytest
import torch
from benchmarks.chaos import Harness, only_run
from tests.command import tiny

pytestmark = pytest.mark.slow

SMALL = ("data.train_subset=60", "search.epochs=3", "search_space.channels=2", "evaluation=none")


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    folder = tmp_path_factory.mktemp("chaos")
    return Harness("tiny", tiny("nasbench201", "darts", "perturb", *SMALL), folder, random.Random(0))


def test_a_run_killed_at_random_moments_ends_as_if_nothing_had_happened(harness: Harness) -> None:
    trial = harness.trial(kills=1)
    assert trial.lost is None
    assert len(trial.kills) == 1


def test_the_harness_notices_a_run_that_came_out_differently(harness: Harness) -> None:
    file = harness.undisturbed.stage("search") / "supernet.pt"
    state = torch.load(file, weights_only=True)
    kept = file.read_bytes()
    name = next(name for name, value in state.items() if isinstance(value, torch.Tensor) and value.is_floating_point())
    state[name] = state[name] + 1e-6
    logs = harness.folder / f"trial-{harness._sessions}"
    shutil.copytree(harness.folder / "undisturbed" / "stages", logs / "stages")  # so that nothing is computed anew
    torch.save(state, file)
    trial = harness.trial(kills=0)
    file.write_bytes(kept)
    assert trial.lost is not None
    assert name in trial.lost


def test_a_folder_with_two_runs_is_not_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 runs were finished"):
        only_run(tmp_path)
