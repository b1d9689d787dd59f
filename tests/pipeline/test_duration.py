"""How long a plan takes: what other seeds took, or a timed step that changes nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.command import Run

from archselect.pipeline import plan as duration
from archselect.pipeline.config import instantiate_parts
from archselect.pipeline.plan import Plan
from archselect.pipeline.stage import StageContext
from archselect.results.formatting import duration as shown
from archselect.store import Store

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    monkeypatch.setattr(duration, "WORTH_TIMING", 0)

    def make(seed: int, logs: str) -> Plan:
        config = tiny_run.config.copy()
        config.seed, config.logger = seed, {}
        parts = instantiate_parts(config)
        job = StageContext(
            seed, parts.space, parts.data, parts.trainer, Store(logs), Console(quiet=True), lambda *_: None
        )
        return Plan(config, parts, job)

    return make


def test_earlier_stages_say_how_long_those_of_another_seed_take(plan: MakePlan, tiny_run: Run, tmp_path: Path) -> None:
    for kind in tiny_run.summary["stages"]:
        stage = tiny_run.stage(kind)
        shutil.copytree(stage, tmp_path / "stages" / kind / stage.name)
    said = duration.how_long(plan(10, str(tmp_path)))
    assert said is not None and said.endswith("to judge by what other seeds took.")
    for kind, stage in tiny_run.summary["stages"].items():
        assert f"{kind} {shown(stage['seconds'])}" in said


def test_without_earlier_stages_a_step_is_timed_that_leaves_no_trace(
    plan: MakePlan, tmp_path_factory: pytest.TempPathFactory
) -> None:
    logs = tmp_path_factory.mktemp("empty")
    state = torch.get_rng_state()
    said = duration.how_long(plan(10, str(logs)))
    assert said is not None and "on cpu (search " in said and said.endswith("one timed step of each network.")
    assert torch.equal(state, torch.get_rng_state())
    assert not list(logs.rglob("*"))


def test_a_step_that_does_not_fit_is_left_to_its_stage(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("archselect.search.module.SearchModule.training_step", full)
    assert duration.how_long(plan(10, str(tmp_path))) is None


def test_a_plan_of_minutes_is_not_timed(plan: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(duration, "WORTH_TIMING", 20_000)
    assert duration.how_long(plan(10, str(tmp_path))) is None


def test_the_length_of_a_plan_is_counted_in_images(plan: MakePlan, tmp_path: object) -> None:
    lengths = duration.image_counts(plan(10, str(tmp_path)))
    # 120 images, half of them for the weights. 17 points an epoch apart; 56 candidates are scored on one batch of 30.
    assert lengths["search"] == 3 * 60
    assert lengths["selection"] == pytest.approx(17 * 60 + 56 * 30 / 6)
    assert lengths["evaluation"] == pytest.approx(2 * 108)
