"""Every key that the dashboard asks for is there in what a sweep over two seeds told W&B."""

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from matplotlib.figure import Figure
from PIL import Image
from tests.command import Run, sweep, tiny
from tests.reporting.panels import asked, panels, run_sets
from tests.wandb_file import Told

from archselect.reporting.panels import GROUPING
from archselect.reporting.workspace import define, describe_spaces
from archselect.results.summaries import PaperNumber


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Run]]:
    number = PaperNumber(accuracy=97.0, std=None, best=None, of="made up")
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch("archselect.results.summaries.paper_number", return_value=number),
    ):
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        patch.setattr(
            Figure, "savefig", lambda figure, path, **_: Image.new("RGB", (8, 8)).save(path)
        )  # names matter here
        yield sweep(
            *tiny("s2", "darts", "perturb"),
            "data.train_subset=60",
            "seed=0,1",
            "selection.report_strengths=true",
            "evaluation.epochs=1",
            "logger=wandb",
            "logger.wandb.offline=true",
            f"logs={tmp_path_factory.mktemp('sweep')}",
        )


@pytest.fixture(scope="module")
def told(jobs: list[Run]) -> list[Told]:
    return [Told(job) for job in jobs]


@pytest.fixture(scope="module")
def definition() -> dict[str, Any]:
    return json.loads(define("p", "", describe_spaces(["s2"])).to_json())


def test_every_panel_and_column_finds_what_it_asks_for(told: list[Told], definition: dict[str, Any]) -> None:
    """A line needs its key and its x-axis in one epoch; bars, points and columns the summary; media their kind."""
    wanted = [asked(panel) for panel in panels(definition)]
    lines = {pair for one in wanted for pair in one.together}
    assert len(lines) == 2 * 28 + 2 * (4 + 2 + 1) + 4
    columns = [column.partition(":") for runs in run_sets(definition) for column in runs["runFeed"]["columnOrder"]]
    numbers = {key for one in wanted for key in one.summary}
    assert numbers >= {"result/test_accuracy", "paper/test_accuracy"}
    media = {key: "images/separated" for one in wanted for key in one.pictures}
    media |= {key: "table-file" for one in wanted for key in one.tables}
    assert media.keys() >= {"figures/cells", "figures/search_alpha_map", "tables/decisions"}
    for job in told:
        assert [pair for pair in lines if not any({*pair} <= epoch.keys() for epoch in job.history)] == []
        assert [key for key in numbers if not isinstance(job.summary.get(key), int | float)] == []
        kinds = {key: value for epoch in job.history for key, value in epoch.items()}
        assert {key: kinds.get(f"{key}._type") for key in media} == media
        assert {name for section, _, name in columns if section == "summary"} <= job.summary.keys()
    assert {name for section, _, name in columns if section == "config"} == {"seed.value"}


def test_the_seeds_of_a_sweep_are_one_group_in_every_set_of_runs(told: list[Told], definition: dict[str, Any]) -> None:
    for runs in run_sets(definition):
        keys = [key["name"] for key in runs["grouping"] if key["section"] == "config"]
        groups = [tuple(_value(one.config, key) for key in keys) for one in told]
        assert groups == [("s2", "darts", "perturb", "retrain_tiny", "digits")] * 2
        for condition in runs["filters"]["filters"]:
            assert condition["key"]["section"] == "config"
            assert {condition["value"]} == {_value(one.config, condition["key"]["name"]) for one in told}
    assert [one.config["seed"] for one in told] == [0, 1]
    assert len({one.run.run_group for one in told}) == 1


def _value(config: dict[str, Any], key: str) -> Any:
    """Return the config's value under a key of W&B's, which has "value" after its first part."""
    first, value, *rest = key.split(".")
    assert value == "value" and ".".join([first, *rest]) in GROUPING
    found = config[first]
    for part in rest:
        found = found[part]
    return found


def test_the_paper_stands_beside_the_result_in_percent_and_not_in_summary_json(
    jobs: list[Run], told: list[Told]
) -> None:
    for job, one in zip(jobs, told, strict=True):
        accuracy = 100 * job.summary["evaluation.test_accuracy"]
        assert one.summary["result/test_accuracy"] == pytest.approx(accuracy)
        assert one.summary["paper/test_accuracy"] == 97.0
        assert one.summary["paper/of"] == "made up"
        assert one.summary["paper/lead"] == pytest.approx(accuracy - 97.0)
        assert [key for key in job.summary if "/" in key] == []
