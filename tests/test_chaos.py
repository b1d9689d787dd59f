"""The short form of `make chaos`, and that the harness would notice if something were lost."""

import random
from pathlib import Path

import pytest
import torch
from benchmarks.chaos import Harness, only_run
from tests.command import tiny

COMMAND = [one for one in tiny("nasbench201", "darts", "perturb", "search.epochs=3") if "evaluation" not in one]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    folder = tmp_path_factory.mktemp("chaos")
    return Harness("tiny", [*COMMAND, "evaluation=none"], folder, random.Random(0))


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
    torch.save(state, file)
    trial = harness.trial(kills=0)
    file.write_bytes(kept)
    assert trial.lost is not None
    assert name in trial.lost


def test_a_folder_with_two_runs_is_not_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0 runs were finished"):
        only_run(tmp_path)
