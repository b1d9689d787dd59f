"""What the optimizer of alpha remembers goes over from the search stage to the selection stage, as a file."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.command import Run, tiny, train

from archselect.pipeline.finished_run import open_run
from archselect.pipeline.search_stage import load_architecture_state

STEPS = 2  # of alpha in an epoch: 60 images in batches of 30
NAME = "architecture_optimizer.pt"


def steps(state: Any) -> list[float]:
    """Return how many steps Adam counted of each architecture parameter."""
    return [float(values["step"]) for values in state.values()]


def test_the_search_keeps_it_at_its_end_and_with_every_snapshot(tiny_run: Run) -> None:
    folder = tiny_run.stage("search")
    at_end = torch.load(folder / NAME, weights_only=True)["state"]
    supernet = tiny_run.parts.space.supernet(8, 10)
    shapes = [alpha.shape for alpha in supernet.architecture_parameters()]
    assert [values["exp_avg"].shape for values in at_end.values()] == shapes
    assert [steps(load_architecture_state(folder, epochs)) for epochs in (1, 2, 3)] == [
        [epochs * STEPS] * 2 for epochs in (1, 2, 3)
    ]
    assert steps(at_end) == [3 * STEPS] * 2
    for number, values in load_architecture_state(folder, 3).items():
        assert all(torch.equal(value, at_end[number][name]) for name, value in values.items())


def test_the_selection_goes_on_with_it_or_starts_afresh(tiny_run: Run, logs: str, no_figures: None) -> None:
    option = "selection.tuning.architecture_optimizer_state=fresh"
    fresh = train(
        *tiny("s2", "darts", "perturb", "search.epochs=3", "search.snapshots=1", "evaluation=none", option, logs)
    )
    assert fresh.stage("search") == tiny_run.stage("search")
    first, other = (run.history("selection")[0]["alpha"] for run in (tiny_run, fresh))
    assert first != other


def test_of_an_early_stop_it_is_that_of_the_supernet_that_is_kept(logs: str, no_figures: None) -> None:
    rule = "{_target_: archselect.search.Curvature, window: 1, lag: 1, every: 1, factor: 1.0000001, earliest: 0.0}"
    run = train(
        *tiny("s2", "darts", "magnitude", "evaluation=none", "search.epochs=12", logs),
        f"+search.stopping.eigenvalue={rule}",
        "search.snapshots=1",
    )
    result = open_run(run.folder).stage("search").result
    assert result["kept_epochs"] < result["epochs"], "the rule ended nothing"
    state = load_architecture_state(run.stage("search"))
    assert steps(state) == [result["kept_epochs"] * STEPS] * 2


def test_a_search_with_fixed_alpha_keeps_none(logs: str, no_figures: None) -> None:
    run = train(*tiny("s2", "fixed_alpha", "random", "evaluation=none", logs))
    assert not (run.stage("search") / NAME).exists()


def test_a_selection_from_a_search_that_did_not_keep_it_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no architecture_optimizer\.pt, .*architecture_optimizer_state=fresh"):
        load_architecture_state(tmp_path)
    with pytest.raises(ValueError, match=r"has no snapshots/architecture_optimizer-4\.pt"):
        load_architecture_state(tmp_path, 4)
