"""How long a plan takes: what other seeds took, or a timed step that changes nothing."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.command import Run

from archselect.pipeline.config import instantiate_parts
from archselect.pipeline.console import show_plan
from archselect.pipeline.memory import memory_of, show_memory
from archselect.pipeline.plan import Plan, how_long, image_counts
from archselect.pipeline.stage import StageContext
from archselect.results.formatting import duration
from archselect.store import CHECKPOINTS, Store
from archselect.store.integrity import MARKER


@pytest.fixture
def plan(tiny_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    """That of `tiny_run` with another seed and an empty store, long enough to be timed."""
    monkeypatch.setattr("archselect.pipeline.plan.WORTH_TIMING", 0)
    config = tiny_run.config.copy()
    config.seed, config.logger = 10, {}
    parts = instantiate_parts(config)
    store = Store(tmp_path / "logs")
    return Plan(
        config, parts, StageContext(10, parts.space, parts.data, parts.task, parts.trainer, store, Console(quiet=True))
    )


def test_earlier_stages_say_how_long_those_of_another_seed_take(plan: Plan, tiny_run: Run) -> None:
    for kind in tiny_run.summary["stages"]:
        stage = tiny_run.stage(kind)
        shutil.copytree(stage, plan.job.store.root / "stages" / kind / stage.name)
    said = how_long(plan)
    assert said is not None and said.endswith("to judge by what other seeds took.")
    for kind, stage in tiny_run.summary["stages"].items():
        assert f"{kind} {duration(stage['seconds'])}" in said


def test_without_earlier_stages_a_step_is_timed_that_leaves_no_trace(plan: Plan) -> None:
    state = torch.get_rng_state()
    said = how_long(plan)
    assert said is not None and "on cpu (search " in said and said.endswith("one timed step of each network.")
    assert torch.equal(state, torch.get_rng_state())
    assert not plan.job.store.root.exists()


def test_a_step_that_does_not_fit_is_left_to_its_stage(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("archselect.search.module.SearchModule.training_step", full)
    assert how_long(plan) is None


def test_a_plan_of_minutes_is_not_timed_by_the_images_of_all_its_epochs(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 120 images, half of them for the weights. 17 points an epoch apart; 56 candidates are scored on one batch of 30.
    expected = {"search": 3 * 60, "selection": 17 * 60 + 56 * 30 / 6, "evaluation": 2 * 108}
    assert image_counts(plan) == pytest.approx(expected)
    monkeypatch.setattr("archselect.pipeline.plan.WORTH_TIMING", sum(expected.values()) + 1)
    assert how_long(plan) is None


def test_what_is_there_is_neither_made_nor_counted_again(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, parts = tiny_run.config.copy(), tiny_run.parts
    for kind in tiny_run.summary["stages"]:
        shutil.copytree(tiny_run.stage(kind), tmp_path / "stages" / kind / tiny_run.stage(kind).name)
    trainer, console = parts.trainer, Console(width=100, record=True, file=io.StringIO())
    plan = Plan(
        config, parts, StageContext(parts.seed, parts.space, parts.data, parts.task, trainer, Store(tmp_path), console)
    )
    assert list(plan.known()) == ["search", "selection", "evaluation"]
    assert image_counts(plan) == {}

    stages = plan.known()
    for kind, left in (("evaluation", 108), ("selection", (17 * 60 + 56 * 30 / 6) * 16 / 17)):  # after an epoch each
        begun = plan.job.store.folder(stages[kind].key).path
        (begun / MARKER).unlink()
        (begun / "history.jsonl").write_text((begun / "history.jsonl").read_text().splitlines()[0] + "\n")
        (begun / CHECKPOINTS[0]).touch()
        if kind == "evaluation":
            assert image_counts(plan) == pytest.approx({"evaluation": left})
        else:  # whose genotype is not known any more, nor with it its evaluation
            assert image_counts(plan) == pytest.approx({"selection": left, "evaluation": 2 * 108})
    search = plan.job.store.folder(plan.search().key).path
    (search / MARKER).unlink()
    (search / "history.jsonl").write_text((search / "history.jsonl").read_text().splitlines()[0] + "\n")
    (search / CHECKPOINTS[0]).touch()
    assert list(plan.known()) == ["search"]
    assert image_counts(plan)["search"] == pytest.approx(2 * 60)  # an epoch of three was made
    monkeypatch.setattr("archselect.pipeline.plan.WORTH_TIMING", 0)
    monkeypatch.setattr("archselect.pipeline.plan._earlier", lambda *_: 30.0)  # what other seeds took
    said = how_long(plan)
    assert said is not None and "search 20 s" in said
    show_plan(plan)
    rows = [line.split("│")[4].strip() for line in console.export_text().splitlines() if line.startswith("│")]
    assert rows == ["goes on after epoch 1", "after the search", "after the selection"]


def test_what_a_step_of_each_network_takes_is_said_and_a_device_that_is_too_small_warned_of(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(width=400, record=True, file=io.StringIO())
    long = replace(plan, job=replace(plan.job, console=console))
    needed = memory_of(plan, image_counts(plan))
    monkeypatch.setattr("archselect.pipeline.memory.memory_of", lambda *_: needed)
    show_memory(long)
    said = console.export_text()
    assert set(needed) == {"search", "evaluation"}  # a selection tunes by the search's steps
    for kind, memory in needed.items():
        assert f"{kind} {memory.total / 1e6:.1f} MB" in said
    assert "may need more memory" not in said

    monkeypatch.setattr("archselect.pipeline.memory.total_memory", lambda: needed["search"].total - 1)
    show_memory(long)
    warned = [line for line in console.export_text().splitlines() if "it may need more memory than cpu has" in line]
    assert len(warned) == 1 and "search.recompute=true lowers it" in warned[0]


def test_an_operation_that_looks_at_values_leaves_a_step_unknown(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: object) -> None:
        torch.empty(1, device="meta").item()

    console = Console(width=400, record=True, file=io.StringIO())
    monkeypatch.setattr("archselect.models.supernet.supernet.Supernet.mixture_weights", look)
    show_memory(replace(plan, job=replace(plan.job, console=console)))
    assert "what a step takes is not known" in console.export_text()
