"""What the dashboard command saves: a workspace and a report for the runs of a W&B project, of the same panels."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from wandb.errors import Error
from wandb_workspaces import expr
from yaml import YAMLError

from archselect.reporting.panels import GROUPING, LEAD, MOST_LINES, PAPER, SPACE, TEST_ACCURACY, alpha_keys, chapters
from archselect.search_spaces import SearchSpace, instantiate_space

CONFIGS = Path(__file__).parents[3] / "configs"
"""The folder of this repository."""

COLUMNS = [*(f"summary:{key}" for key in (TEST_ACCURACY, PAPER, LEAD)), "config:seed.value", "summary:paper/of"]
TIMEOUT = 30
"""Seconds that W&B is given to answer."""

Spaces = Mapping[str, Mapping[str, Any]]
"""Per name of a search space its description, `SearchSpace.describe()`."""


def describe_spaces(names: Sequence[str] | None, own: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return the descriptions of search spaces, `SearchSpace.describe()`, by name.

    Args:
        names: Of files in `search_space/`; `None`: all.
        own: A folder of configs beside this repository's, as `--config-dir` of `train.py`.

    Raises:
        ValueError: There is no such space or folder, or a file does not describe a space.
    """
    if own is not None and not (own / "search_space").is_dir():
        raise ValueError(f"--config-dir must be a folder with search_space/*.yaml in it; {own} is not.")
    folders = [CONFIGS] if own is None else [CONFIGS, own]
    files = {file.stem: file for folder in folders for file in sorted((folder / "search_space").glob("*.yaml"))}
    if not files:
        raise ValueError(
            f"There is no search space in {CONFIGS}; archselect is installed from its repository, where the configs "
            "are: pip install -e ."
        )
    for name in names or ():
        if name not in files:
            raise ValueError(
                f"There is no search space {name!r}; there are {', '.join(sorted(files))}. Spaces of your own lie in a "
                "folder that --config-dir names."
            )
    found = [_space(files[name]) for name in names or files]
    return {space.name: space.describe() for space in found}


def _space(file: Path) -> SearchSpace:
    try:
        config = OmegaConf.load(file)
        space = instantiate_space(config) if isinstance(config, DictConfig) else None
    except (InstantiationException, OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{file} does not describe a search space: {error.__cause__ or error}") from error
    if not isinstance(space, SearchSpace):
        raise ValueError(
            f"{file} does not describe a search space: _target_ must name one, as in configs/search_space."
        )
    return space


class Definition(NamedTuple):
    """A dashboard as objects of the library wandb-workspaces, ready to be saved."""

    workspace: ws.Workspace
    report: wr.Report

    def to_json(self) -> str:
        """Return both as the library would send them."""
        parts = {
            name: part._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, part in self._asdict().items()
        }
        return json.dumps({"wandb-workspaces": version("wandb-workspaces"), **parts}, indent=2) + "\n"


def define(project: str, entity: str, spaces: Spaces) -> Definition:
    """Return the dashboard of a project on these search spaces; `entity` is empty while it is not known."""
    return Definition(_workspace(project, entity, spaces), _report(project, entity, spaces))


def _workspace(project: str, entity: str, spaces: Spaces) -> ws.Workspace:
    """Everything, the groups of runs as lines and bars."""
    sections = [
        ws.Section(
            name=title,
            panels=panels,
            is_open=number < 2,
            layout_settings=ws.SectionLayoutSettings(columns=columns, rows=2),
        )
        for number, (title, panels, columns) in enumerate(chapters(alpha_keys(spaces.values()), with_details=True))
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="archselect",
        sections=sections,
        settings=ws.WorkspaceSettings(max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(groupby=[expr.Config(key) for key in GROUPING], pinned_columns=list(COLUMNS)),
    )


def _report(project: str, entity: str, spaces: Spaces) -> wr.Report:
    """A part for each search space, with the runs on it."""
    words = (
        "Lines and bars are means, with standard deviation, over the runs that agree in space, search, selection, "
        "evaluation and data: over the seeds, as long as no other option differs. "
        "The paper is Wang et al., ICLR 2021 (arXiv 2108.04392); its numbers hold for its full protocol, so runs on a "
        "smaller scale are not comparable."
    )
    blocks: list[Any] = [wr.TableOfContents(), wr.P(text=words)]
    for name, space in spaces.items():
        blocks.append(wr.H1(text=f"Search space {name}"))
        for title, panels, _ in chapters(alpha_keys([space]), with_details=False):
            blocks += [wr.H2(text=title), wr.PanelGrid(runsets=[_runs(name)], panels=panels)]
    return wr.Report(
        entity=entity,
        project=project,
        title="Search, selection and evaluation",
        description="Written by python -m archselect.reporting.dashboard.",
        blocks=blocks,
        width="fluid",
    )


def _runs(space: str) -> wr.Runset:
    """The runs on a space, of the report's own project: no look-up of the project is needed to write it down."""
    groupby = [f"config.{key}" for key in GROUPING]
    filters: Any = expr.And(expr.Config(SPACE) == space)
    return wr.Runset(name=space, filters=filters, groupby=groupby, pinned_columns=list(COLUMNS))


class NoAccountError(Exception):
    """There is no account to save in; the message says why."""


def find_entity(entity: str | None) -> str:
    """Return the user or team to save for: `entity`, or that of the account.

    Raises:
        NoAccountError: W&B is offline, nobody is logged in, or W&B cannot be reached or does not accept the key.
    """
    if wandb.setup().settings.mode in ("offline", "disabled", "dryrun"):
        raise NoAccountError("Weights & Biases is offline here (WANDB_MODE or `wandb offline`)")
    try:
        if not wandb.login(prompt=False):
            raise NoAccountError("nobody is logged in to Weights & Biases here")
        own = wandb.Api(timeout=TIMEOUT).default_entity  # with an entity too: it asks whether the key is accepted
    except Error as error:
        raise NoAccountError(f"Weights & Biases cannot be used: {str(error).rstrip('.')}") from error
    if entity is None and own is None:
        raise NoAccountError("the account has no default entity: name one with --entity")
    return entity or str(own)


def save(definition: Definition) -> tuple[str, str]:
    """Save workspace and report; return their addresses.

    Raises:
        ValueError: W&B refused.
    """
    try:
        definition.report.save()  # makes the project if there is none yet
        definition.workspace.save()
        return str(definition.workspace.url), str(definition.report.url)
    except Exception as error:  # the library hands on whatever its transport raised
        raise ValueError(f"Weights & Biases refused the dashboard: {error}") from error
