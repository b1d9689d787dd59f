"""The workspace and the report: what they show and how they gather the runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from archselect.dashboard import chapters
from archselect.dashboard.chapters import MOST_LINES, Chapter
from archselect.dashboard.keys import GROUPING, LEAD, PAPER, SPACE, TEST_ACCURACY, alpha_keys

NAME = "archselect"
COLUMNS = [*(f"summary:{key}" for key in (TEST_ACCURACY, PAPER, LEAD)), "config:seed.value", "summary:paper/of"]
Spaces = Mapping[str, Mapping[str, Any]]
"""Per name of a search space its description, `SearchSpace.describe()`."""


@dataclass(frozen=True)
class Definition:
    """A dashboard as objects of the library wandb-workspaces, ready to be saved."""

    workspace: ws.Workspace
    report: wr.Report

    def to_json(self) -> str:
        """Return both as the library would send them."""
        models = {"workspace": self.workspace._to_model(), "report": self.report._to_model()}
        parts = {
            name: model.model_dump(mode="json", by_alias=True, exclude_none=True) for name, model in models.items()
        }
        return json.dumps({"wandb-workspaces": version("wandb-workspaces"), **parts}, indent=2) + "\n"


def define(project: str, entity: str, spaces: Spaces) -> Definition:
    """Return the dashboard of a project.

    Args:
        project: Of W&B.
        entity: The user or team that the project belongs to; empty while that is not known.
        spaces: The search spaces that it shows.
    """
    return Definition(workspace(project, entity, spaces), report(project, entity, spaces))


def workspace(project: str, entity: str, spaces: Spaces) -> ws.Workspace:
    """Return the workspace: everything, the groups of runs as lines and bars."""
    cells = alpha_keys(spaces.values())
    parts = [
        chapters.results(),
        *_curves(list(cells)),
        chapters.alpha_maps(),
        *(chapters.alpha_lines(cell, cells) for cell in cells),
        chapters.cells_found(),
        chapters.decisions(),
        chapters.strengths(),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[_section(part, is_open=number < 2) for number, part in enumerate(parts)],
        settings=ws.WorkspaceSettings(max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(groupby=[expr.Config(key) for key in GROUPING], pinned_columns=list(COLUMNS)),
    )


def report(project: str, entity: str, spaces: Spaces) -> wr.Report:
    """Return the report: a part for each search space, with the runs on it."""
    words = (
        "Lines and bars are means, with standard deviation, over the runs that agree in space, search, selection, "
        "evaluation and data: over the seeds, as long as no other option differs. "
        "The paper is Wang et al., ICLR 2021 (arXiv 2108.04392); its numbers hold for its full protocol, so runs on a "
        "smaller scale are not comparable."
    )
    blocks: list[Any] = [wr.TableOfContents(), wr.P(text=words)]
    for name, space in spaces.items():
        runs = expr.And(expr.Config(SPACE) == name)
        blocks.append(wr.H1(text=f"Search space {name}"))
        for part in _of_a_space(space):
            blocks += [wr.H2(text=part.title), wr.PanelGrid(runsets=[_runs(name, runs)], panels=list(part.panels))]
    return wr.Report(
        entity=entity,
        project=project,
        title="Search, selection and evaluation",
        description="Written by python -m archselect.dashboard.",
        blocks=blocks,
        width="fluid",
    )


def _of_a_space(space: Mapping[str, Any]) -> Sequence[Chapter]:
    found = [chapters.cells_found(), chapters.decisions()]
    return [chapters.results(), *_curves(list(alpha_keys([space]))), chapters.alpha_maps(), *found]


def _curves(cells: Sequence[str]) -> list[Chapter]:
    return [
        chapters.supernet_curves("search", "Search", cells),
        chapters.supernet_curves("selection", "Selection: tuning between the decisions", cells),
        chapters.retraining_curves(),
    ]


def _section(chapter: Chapter, is_open: bool) -> ws.Section:
    return ws.Section(
        name=chapter.title,
        panels=list(chapter.panels),
        is_open=is_open,
        layout_settings=ws.SectionLayoutSettings(columns=chapter.columns, rows=2),
    )


def _runs(name: str, filters: Any) -> wr.Runset:
    """The runs of the report's own project, so that no look-up of the project is needed to write it down."""
    groupby = [f"config.{key}" for key in GROUPING]
    return wr.Runset(name=name, filters=filters, groupby=groupby, pinned_columns=list(COLUMNS))
