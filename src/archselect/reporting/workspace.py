"""What the dashboard command saves: a workspace and a report for the runs of a W&B project, of the same panels."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from wandb.errors import Error
from wandb_workspaces import expr
from yaml import YAMLError

from archselect.reporting.panels import GROUPING, LEAD, MOST_LINES, PAPER, SPACE, alpha_keys, chapters, test_key
from archselect.results.costs import MACS, PARAMETERS
from archselect.results.formatting import cost_key
from archselect.results.metric import ACCURACY, Metric
from archselect.search_spaces import SearchSpace, instantiate_space
from archselect.tasks import Task

CONFIGS = Path(__file__).parents[3] / "configs"
"""The folder of this repository."""

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
    return {space.name: space.describe() for space in _made("search_space", instantiate_space, SearchSpace, names, own)}


def describe_metrics(names: Sequence[str], own: Path | None = None) -> list[Metric]:
    """Return the metrics of tasks, each once; arguments and errors are those of `describe_spaces`."""
    tasks = _made("task", partial(instantiate, _convert_="all"), Task, names, own)
    return list(dict.fromkeys(Metric(task.metric, task.mode) for task in tasks))


def _made(
    group: str, make: Callable[[DictConfig], Any], kind: type[Any], names: Sequence[str] | None, own: Path | None
) -> list[Any]:
    """Return what files of a config group describe, those with these names or all."""
    what, folders = group.replace("_", " "), [CONFIGS] if own is None else [CONFIGS, own]
    if own is not None and not any((own / one).is_dir() for one in ("search_space", "task")):
        raise ValueError(f"--config-dir must be a folder with search_space/*.yaml or task/*.yaml in it; {own} is not.")
    files = {file.stem: file for folder in folders for file in sorted((folder / group).glob("*.yaml"))}
    if not files:
        raise ValueError(
            f"There is no {what} in {CONFIGS}; archselect is installed from its repository, where the configs "
            "are: pip install -e ."
        )
    for name in names or ():
        if name not in files:
            raise ValueError(
                f"There is no {what} {name!r}; there are {', '.join(sorted(files))}. {what.capitalize()}s of your own "
                "lie in a folder that --config-dir names."
            )
    return [_instance(files[name], make, kind) for name in names or files]


def _instance(file: Path, make: Callable[[DictConfig], Any], kind: type[Any]) -> Any:
    group = file.parent.name
    what = group.replace("_", " ")
    try:
        config = OmegaConf.load(file)
        made = make(config) if isinstance(config, DictConfig) else None
    except (InstantiationException, OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{file} does not describe a {what}: {error.__cause__ or error}") from error
    if not isinstance(made, kind):
        raise ValueError(
            f"{file} does not describe a {what}: _target_ must name one, as in configs/{file.parent.name}."
        )
    return made


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


def define(project: str, entity: str, spaces: Spaces, metrics: Sequence[Metric] = (ACCURACY,)) -> Definition:
    """Return the dashboard of a project on these search spaces; `entity` is empty while it is not known."""
    return Definition(_workspace(project, entity, spaces, metrics), _report(project, entity, spaces, metrics))


def _columns(metrics: Sequence[Metric]) -> list[str]:
    """Return the columns of a table of runs."""
    papers = [PAPER, LEAD] if ACCURACY in metrics else []
    costs = [cost_key(cost) for cost in (PARAMETERS, MACS)]
    shown = [f"summary:{key}" for key in (*map(test_key, metrics), *papers, *costs)]
    return [*shown, "config:seed.value", *["summary:paper/of"] * bool(papers)]


def _workspace(project: str, entity: str, spaces: Spaces, metrics: Sequence[Metric]) -> ws.Workspace:
    """Everything, the groups of runs as lines and bars."""
    shown = chapters(alpha_keys(spaces.values()), with_details=True, metrics=metrics)
    sections = [
        ws.Section(
            name=title,
            panels=panels,
            is_open=number < 2,
            layout_settings=ws.SectionLayoutSettings(columns=columns, rows=2),
        )
        for number, (title, panels, columns) in enumerate(shown)
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="archselect",
        sections=sections,
        settings=ws.WorkspaceSettings(max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Config(key) for key in GROUPING], pinned_columns=_columns(metrics)
        ),
    )


def _report(project: str, entity: str, spaces: Spaces, metrics: Sequence[Metric]) -> wr.Report:
    """A part for each search space, with the runs on it."""
    words = (
        "Lines and bars are means, with standard deviation, over the runs that agree in space, search, selection, "
        "evaluation, data and task: over the seeds, as long as no other option differs. "
        "The paper is Wang et al., ICLR 2021 (arXiv 2108.04392); its numbers hold for its full protocol, so runs on a "
        "smaller scale are not comparable."
    )
    blocks: list[Any] = [wr.TableOfContents(), wr.P(text=words)]
    for name, space in spaces.items():
        blocks.append(wr.H1(text=f"Search space {name}"))
        for title, panels, _ in chapters(alpha_keys([space]), with_details=False, metrics=metrics):
            blocks += [wr.H2(text=title), wr.PanelGrid(runsets=[_runs(name, metrics)], panels=panels)]
    return wr.Report(
        entity=entity,
        project=project,
        title="Search, selection and evaluation",
        description="Written by python -m archselect.reporting.dashboard.",
        blocks=blocks,
        width="fluid",
    )


def _runs(space: str, metrics: Sequence[Metric]) -> wr.Runset:
    """The runs on a space, of the report's own project: no look-up of the project is needed to write it down."""
    groupby = [f"config.{key}" for key in GROUPING]
    filters: Any = expr.And(expr.Config(SPACE) == space)
    return wr.Runset(name=space, filters=filters, groupby=groupby, pinned_columns=_columns(metrics))


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
