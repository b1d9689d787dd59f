"""The definition is one that the library takes back, and shows what its search spaces have."""

import json
from typing import Any

import pytest
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from tests.command import CONFIGS
from tests.reporting.panels import asked, grids, panels
from wandb_workspaces.reports.v2 import internal as report_models
from wandb_workspaces.reports.v2.interface import UnknownBlock
from wandb_workspaces.workspaces import internal as workspace_models

from archselect.reporting.panels import alpha_keys
from archselect.reporting.workspace import define, describe_spaces

SPACES = describe_spaces(None)


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    return json.loads(define("p", "e", SPACES).to_json())


def test_the_library_reads_the_workspace_and_writes_the_same(written: dict[str, Any]) -> None:
    model = workspace_models.View.model_validate(written["workspace"])
    assert dumped(model) == written["workspace"]
    workspace = ws.Workspace._from_model(model)
    assert placeless(dumped(workspace._to_model())) == placeless(written["workspace"])
    kinds = {type(panel) for section in workspace.sections for panel in section.panels}
    assert kinds == {wr.LinePlot, wr.BarPlot, wr.ScatterPlot, wr.MediaBrowser, wr.WeavePanelSummaryTable}


def test_the_library_reads_the_report_and_writes_the_same(written: dict[str, Any]) -> None:
    model = report_models.ReportViewspec.model_validate(written["report"])
    report = wr.Report._from_model(model)
    blocks = placeless(dumped(report._to_model()))["spec"]["blocks"]
    assert blocks == placeless(written["report"])["spec"]["blocks"]
    assert not [block for block in report.blocks if isinstance(block, UnknownBlock)]


def dumped(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def placeless(definition: Any) -> Any:
    """Return a definition without the places of its tables, which the library forgets as it reads them."""
    if isinstance(definition, dict):
        table = definition.get("viewType") == "Weave"
        return {key: placeless(value) for key, value in definition.items() if not (table and key == "layout")}
    return [placeless(one) for one in definition] if isinstance(definition, list) else definition


def test_curves_show_the_mean_and_the_standard_deviation_of_a_group(written: dict[str, Any]) -> None:
    lines = [panel["config"] for panel in panels(written) if asked(panel).together]
    assert {(line["groupAgg"], line["groupArea"]) for line in lines} == {("mean", "stddev")}
    sections = written["workspace"]["spec"]["section"]
    assert sections["settings"]["useRunsTableGroupingInPanels"]
    assert [key["name"] for key in sections["runSets"][0]["grouping"]][:3] == [
        "search_space.value.name",
        "search.value.name",
        "selection.value.name",
    ]


def test_the_report_has_a_part_for_each_configured_space_with_its_runs_alone(written: dict[str, Any]) -> None:
    names = sorted(file.stem for file in (CONFIGS / "search_space").glob("*.yaml"))
    shown = [[condition["value"] for condition in grid["runSets"][0]["filters"]["filters"]] for grid in grids(written)]
    assert sorted({name for (name,) in shown}) == names
    assert {(one["op"]) for grid in grids(written) for one in grid["runSets"][0]["filters"]["filters"]} == {"="}


def test_panels_of_the_report_do_not_lie_on_each_other(written: dict[str, Any]) -> None:
    for grid in grids(written):
        taken: set[tuple[int, int]] = set()
        for panel in grid["panelBankSectionConfig"]["panels"]:
            place = panel["layout"]
            cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
            assert not taken & cells and all(0 <= x < 24 for x, _ in cells)
            taken |= cells


def test_an_edge_has_one_panel_with_the_operations_of_all_spaces() -> None:
    cells = alpha_keys(SPACES[name] for name in ("s2", "s4", "nasbench201"))
    assert {cell: len(edges) for cell, edges in cells.items()} == {"normal": 14, "reduction": 14, "cell": 6}
    assert cells["normal"]["0-2"] == [
        f"search/alpha/normal/0-2/{name}" for name in ("skip_connect", "sep_conv_3x3", "noise")
    ]
