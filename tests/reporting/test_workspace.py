"""The definition is one that the library takes back, and asks for what runs tell W&B."""

import csv
import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from matplotlib.figure import Figure
from PIL import Image
from tests.command import CONFIGS, Run, sweep, tiny
from tests.wandb_file import Told
from wandb_workspaces.reports.v2 import internal as report_models
from wandb_workspaces.reports.v2.interface import UnknownBlock
from wandb_workspaces.workspaces import internal as workspace_models

from archselect.reporting.html.run_view import FIGURES
from archselect.reporting.panels import GROUPING, alpha_keys
from archselect.reporting.workspace import define, describe_spaces
from archselect.results.metric import Metric
from archselect.results.summaries import PaperNumber

SPACES = describe_spaces(None)


def asked(panel: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return what a panel asks for: pairs of keys that one epoch logged together, or keys of the summary or media."""
    config = panel["config"]
    match panel["viewType"]:
        case "Run History Line Plot":
            return "lines", [(config["xAxis"], key) for key in config["metrics"]]
        case "Bar Chart":
            return "summary", config["metrics"]
        case "Scatter Plot":
            return "summary", [config[axis].removeprefix("summary:") for axis in ("xAxis", "yAxis")]
        case "Media Browser":
            return "pictures", config["mediaKeys"]
        case "Weave":
            return "tables", [config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]]
    raise AssertionError(panel["viewType"])


def panels(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for section in definition["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]:
        yield from section["panels"]
    for grid in grids(definition):
        yield from grid["panelBankSectionConfig"]["panels"]


def grids(definition: dict[str, Any]) -> list[dict[str, Any]]:
    blocks = definition["report"]["spec"]["blocks"]
    return [block["metadata"] for block in blocks if block["type"] == "panel-grid"]


def run_sets(definition: dict[str, Any]) -> list[dict[str, Any]]:
    sets = list(definition["workspace"]["spec"]["section"]["runSets"])
    return sets + [one for grid in grids(definition) for one in grid["runSets"]]


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    return json.loads(define("p", "e", SPACES).to_json())


def test_the_library_takes_the_definition_back(written: dict[str, Any]) -> None:
    workspace = ws.Workspace._from_model(workspace_models.View.model_validate(written["workspace"]))
    kinds = {type(panel) for section in workspace.sections for panel in section.panels}
    assert kinds == {wr.LinePlot, wr.BarPlot, wr.ScatterPlot, wr.MediaBrowser, wr.WeavePanelSummaryTable}
    report = wr.Report._from_model(report_models.ReportViewspec.model_validate(written["report"]))
    assert not [block for block in report.blocks if isinstance(block, UnknownBlock)]


def test_curves_show_the_mean_and_the_standard_deviation_of_a_group(written: dict[str, Any]) -> None:
    lines = [panel["config"] for panel in panels(written) if asked(panel)[0] == "lines"]
    assert {(line["groupAgg"], line["groupArea"]) for line in lines} == {("mean", "stddev")}
    sections = written["workspace"]["spec"]["section"]
    assert sections["settings"]["useRunsTableGroupingInPanels"]
    names = [key["name"] for key in sections["runSets"][0]["grouping"]]
    assert names[:3] == ["search_space.value.name", "search.value.name", "selection.value.name"]


def test_the_report_has_a_part_for_each_configured_space_with_its_runs_alone(written: dict[str, Any]) -> None:
    names = sorted(file.stem for file in (CONFIGS / "search_space").glob("*.yaml"))
    filters = [one for grid in grids(written) for one in grid["runSets"][0]["filters"]["filters"]]
    assert sorted({one["value"] for one in filters}) == names
    assert {one["op"] for one in filters} == {"="} and len(filters) == len(grids(written))


def test_panels_of_the_report_do_not_lie_on_each_other(written: dict[str, Any]) -> None:
    for grid in grids(written):
        taken: set[tuple[int, int]] = set()
        for panel in grid["panelBankSectionConfig"]["panels"]:
            place = panel["layout"]
            cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
            assert not taken & cells and all(0 <= x < 24 for x, _ in cells)
            taken |= cells


def test_runs_of_another_task_are_shown_in_its_metric_and_against_every_cost() -> None:
    error = Metric("mean_absolute_error", "min")
    spaces = {"nasbench201": SPACES["nasbench201"]}
    written = json.loads(define("p", "e", spaces, [error]).to_json())
    keys = {key for panel in panels(written) for key in asked(panel)[1]}
    assert {"result/test_mean_absolute_error", "cost/latency_ms_batch64", "search/val_mean_absolute_error"} <= {
        one if isinstance(one, str) else one[1] for one in keys
    }
    assert "accuracy" not in json.dumps([panel["config"] for panel in panels(written)]) and "paper/" not in str(keys)
    points = [
        panel["config"] for panel in panels(written) if str(panel["config"].get("xAxis")).startswith("summary:cost")
    ]
    assert len(points) == 2 * 5  # of the workspace and of the report
    assert all(one["showMinYAxisLine"] and not one.get("showMaxYAxisLine") and one["xAxisLogScale"] for one in points)


def test_an_edge_has_one_panel_with_the_operations_of_all_spaces() -> None:
    cells = alpha_keys(SPACES[name] for name in ("s2", "s4", "nasbench201"))
    assert {cell: len(edges) for cell, edges in cells.items()} == {"normal": 14, "reduction": 14, "cell": 6}
    assert cells["normal"]["0-2"] == [
        f"search/alpha/normal/0-2/{name}" for name in ("skip_connect", "sep_conv_3x3", "noise")
    ]


# --- What a sweep over two seeds told W&B. ---


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Run]]:
    number = PaperNumber(accuracy=97.0, std=None, best=None, of="made up")
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch("archselect.results.formatting.paper_number", return_value=number),
    ):
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        # The names of pictures matter here.
        patch.setattr(Figure, "savefig", lambda figure, path, **_: Image.new("RGB", (8, 8)).save(path))
        choices = ["seed=0,1", "selection.report_strengths=true", "evaluation.epochs=1", "logger=wandb"]
        logs = f"logs={tmp_path_factory.mktemp('sweep')}"
        yield sweep(*tiny("nasbench201", "darts", "perturb"), *choices, "logger.wandb.offline=true", logs)


@pytest.fixture(scope="module")
def told(jobs: list[Run]) -> list[Told]:
    return [Told(job) for job in jobs]


@pytest.fixture(scope="module")
def definition() -> dict[str, Any]:
    return json.loads(define("p", "", {"nasbench201": SPACES["nasbench201"]}).to_json())


def test_every_panel_and_column_finds_what_it_asks_for(told: list[Told], definition: dict[str, Any]) -> None:
    """A line needs its key and its x-axis in one epoch; bars, points and columns the summary; media their kind."""
    wanted: dict[str, set[Any]] = {"lines": set(), "summary": set(), "pictures": set(), "tables": set()}
    for panel in panels(definition):
        kind, keys = asked(panel)
        wanted[kind] |= set(keys)
    lines, numbers, pictures, tables = wanted.values()
    assert len(lines) == 6 * 5 + 2 * (4 + 1 + 1) + 4  # alpha; two stages of the supernet; retraining
    columns = [column.partition(":") for runs in run_sets(definition) for column in runs["runFeed"]["columnOrder"]]
    assert numbers >= {"result/test_accuracy", "paper/test_accuracy"}
    assert pictures >= {"figures/cells", "figures/search_alpha_map"} and "tables/decisions" in tables
    assert {key.removeprefix("figures/") for key in pictures} <= FIGURES.keys()
    pictures.remove("figures/topology_strengths")  # in this space all in-edges stay
    media = dict.fromkeys(pictures, "images/separated") | dict.fromkeys(tables, "table-file")
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
        groups = [tuple(value(one.config, key) for key in keys) for one in told]
        assert (
            groups == [("nasbench201", "darts", "perturb", "retrain_tiny_nasbench201", "digits", "classification")] * 2
        )
        for condition in runs["filters"]["filters"]:
            assert condition["key"]["section"] == "config"
            assert {condition["value"]} == {value(one.config, condition["key"]["name"]) for one in told}


def value(config: dict[str, Any], key: str) -> Any:
    """Return the config's value under a key of W&B's, which has "value" after its first part."""
    group, value, name = key.split(".")
    assert value == "value" and f"{group}.{name}" in GROUPING
    return config[group][name]


def test_every_job_is_a_run_of_its_own_with_the_numbers_of_metrics_csv_and_the_papers(
    jobs: list[Run], told: list[Told]
) -> None:
    assert len({one.run.run_id for one in told}) == 2 and [one.config["seed"] for one in told] == [0, 1]
    assert [one.run.display_name for one in told] == [f"nasbench201-darts-perturb-digits-seed{seed}" for seed in (0, 1)]
    groups = {(one.run.run_group, one.run.project) for one in told}
    assert groups == {("nasbench201-darts-perturb-digits", "archselect")}
    for one, job in zip(told, jobs, strict=True):
        assert one.exit_code == 0
        with (job.folder / "csv" / "metrics.csv").open() as file:
            table = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
        epochs = [numbers for numbers in one.history if any(key.endswith("/train_loss") for key in numbers)]
        assert len(table) == len(epochs) == 2 + 6 + 1
        for row, numbers in zip(table, epochs, strict=True):
            assert {key for key in numbers if not key.startswith("_")} == {*row} - {"step"} | {"trainer/global_step"}
            assert numbers["trainer/global_step"] == row["step"]
            assert all(numbers[key] == pytest.approx(value) for key, value in row.items() if key != "step")
        for key in ("genotype", "evaluation.test_accuracy", "search.val_accuracy"):
            assert one.summary[key] == job.summary[key]
        accuracy = 100 * job.summary["evaluation.test_accuracy"]
        assert one.summary["result/test_accuracy"] == pytest.approx(accuracy)
        assert (one.summary["paper/test_accuracy"], one.summary["paper/of"]) == (97.0, "made up")
        assert one.summary["paper/lead"] == pytest.approx(accuracy - 97.0)
        assert [key for key in job.summary if "/" in key] == []
