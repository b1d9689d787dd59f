"""A dashboard of W&B, defined in code: `python -m archselect.reporting.dashboard` saves it, or writes it down."""

import argparse
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from wandb.errors import Error
from wandb_workspaces import expr
from yaml import YAMLError

from archselect.reporting import panels as chapters
from archselect.reporting.panels import GROUPING, LEAD, MOST_LINES, PAPER, SPACE, TEST_ACCURACY, Chapter, alpha_keys
from archselect.search_spaces import SearchSpace

CONFIGS = Path(__file__).parents[3] / "configs"
"""The folder of this repository."""


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
    folders = [CONFIGS, *([] if own is None else [own])]
    files = {file.stem: file for folder in folders for file in sorted((folder / "search_space").glob("*.yaml"))}
    if not files:
        raise ValueError(
            f"There is no search space in {CONFIGS}; archselect is installed from its repository, where the configs "
            "are: pip install -e ."
        )
    unknown = [name for name in names or () if name not in files]
    if unknown:
        raise ValueError(
            f"There is no search space {unknown[0]!r}; there are {', '.join(sorted(files))}. Spaces of your own lie in "
            "a folder that --config-dir names."
        )
    found = [_space(files[name]) for name in names or files]
    return {space.name: space.describe() for space in found}


def _space(file: Path) -> SearchSpace:
    try:
        space = instantiate(OmegaConf.load(file), _convert_="all")
    except (InstantiationException, OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{file} does not describe a search space: {error.__cause__ or error}") from error
    if not isinstance(space, SearchSpace):
        raise ValueError(
            f"{file} does not describe a search space: _target_ must name one, as in configs/search_space."
        )
    return space


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
        description="Written by python -m archselect.reporting.dashboard.",
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


TIMEOUT = 30
"""Seconds that W&B is given to answer."""


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
        own = wandb.Api(timeout=TIMEOUT).default_entity
    except Error as error:
        raise NoAccountError(f"Weights & Biases cannot be used: {str(error).rstrip('.')}") from error
    if entity is None and own is None:
        raise NoAccountError("the account has no default entity: name one with --entity")
    return entity if entity is not None else str(own)


def save(definition: Definition) -> tuple[str, str]:
    """Save workspace and report; return their addresses.

    Raises:
        ValueError: W&B refused.
    """
    with _refusals():
        definition.report.save()  # makes the project if there is none yet
        definition.workspace.save()
        return str(definition.workspace.url), str(definition.report.url)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the library hands on whatever its transport raised
        raise ValueError(f"Weights & Biases refused the dashboard: {error}") from error


MISSING = "The dashboard needs the library wandb-workspaces: pip install -e '.[dashboard]'."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False)
    try:
        _run(options, Console(highlight=False))
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("wandb_workspaces"):
            raise
        errors.print(MISSING, style="red", markup=False)
        return 1
    except (ValueError, OSError) as error:
        errors.print(escape(str(error)), style="red")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m archselect.reporting.dashboard",
        description="Save a workspace and a report on the runs of a W&B project, or write their definition.",
    )
    parser.add_argument("--project", required=True, help="the W&B project, e.g. archselect")
    parser.add_argument("--entity", help="the user or team that it belongs to (default: that of the account)")
    parser.add_argument("--space", nargs="+", metavar="NAME", help="the search spaces to show (default: all)")
    parser.add_argument("--config-dir", type=Path, help="a folder of your own configs, as for train.py")
    parser.add_argument(
        "--offline", action="store_true", help="write the definition, whether there is an account or not"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("dashboard.json"), help="where it is written (default: %(default)s)"
    )
    return parser


def _run(options: argparse.Namespace, console: Console) -> None:
    for option in ("project", "entity"):
        value = getattr(options, option)
        if value is not None and (not value.strip() or "/" in value):
            raise ValueError(f"--{option} must be a name without a slash; got {value!r}.")
    spaces = describe_spaces(options.space, options.config_dir)

    try:
        if options.offline:
            raise NoAccountError("--offline was given")
        entity = find_entity(options.entity)
    except NoAccountError as reason:
        options.output.write_text(define(options.project, options.entity or "", spaces).to_json(), encoding="utf-8")
        console.print(_how_to_apply(options, str(reason)), markup=False, soft_wrap=True)
        return
    workspace, report = save(define(options.project, entity, spaces))
    console.print(f"Workspace: {workspace}\nReport: {report}", markup=False, soft_wrap=True)


def _how_to_apply(options: argparse.Namespace, reason: str) -> str:
    command = ["python", "-m", "archselect.reporting.dashboard", "--project", options.project]
    command += ["--entity", options.entity] if options.entity else []
    command += ["--space", *options.space] if options.space else []
    command += ["--config-dir", str(options.config_dir)] if options.config_dir else []
    return (
        f"Not saved in Weights & Biases, because {reason}. The definition of workspace and report is in "
        f"{options.output}.\nTo apply it: `wandb login`, then, with a network, `{shlex.join(command)}`, which makes "
        "the same definition and saves it."
    )


if __name__ == "__main__":
    raise SystemExit(main())
