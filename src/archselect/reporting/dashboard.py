"""A dashboard of W&B, defined in code: `python -m archselect.reporting.dashboard` saves it, or writes it down.

This is the command, which needs no library until it runs; what is saved is in `workspace.py`.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.reporting.dashboard",
        description="Save a workspace and a report on the runs of a W&B project, or write their definition.",
    )
    parser.add_argument("--project", required=True, help="the W&B project, e.g. archselect")
    parser.add_argument("--entity", help="the user or team that it belongs to (default: that of the account)")
    parser.add_argument("--space", nargs="+", metavar="NAME", help="the search spaces to show (default: all)")
    tasks = "the tasks of the runs, in whose metrics results are shown (default: classification)"
    parser.add_argument("--task", nargs="+", metavar="NAME", default=["classification"], help=tasks)
    parser.add_argument("--config-dir", type=Path, help="a folder of your own configs, as for train.py")
    offline = "write the definition, whether there is an account or not"
    parser.add_argument("--offline", action="store_true", help=offline)
    output = "where it is written (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("dashboard.json"), help=output)
    options = parser.parse_args(arguments)
    try:
        Console(highlight=False).print(_run(options), markup=False, soft_wrap=True)
        return 0
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("wandb_workspaces"):
            raise
        refusal = "The dashboard needs the library wandb-workspaces: pip install -e '.[dashboard]'."
    except (ValueError, OSError) as error:
        refusal = str(error)
    Console(stderr=True, highlight=False).print(refusal, style="red", markup=False)
    return 1


def _run(options: argparse.Namespace) -> str:
    """Save the dashboard or write its definition; return what became of it."""
    for option in ("project", "entity"):
        value = getattr(options, option)
        if value is not None and (not value.strip() or "/" in value):
            raise ValueError(f"--{option} must be a name without a slash; got {value!r}.")

    from archselect.reporting.workspace import (
        NoAccountError,
        define,
        describe_metrics,
        describe_spaces,
        find_entity,
        save,
    )

    spaces = describe_spaces(options.space, options.config_dir)
    metrics = describe_metrics(options.task, options.config_dir)
    try:
        if options.offline:
            raise NoAccountError("--offline was given")
        entity = find_entity(options.entity)
    except NoAccountError as reason:
        definition = define(options.project, options.entity or "", spaces, metrics)
        options.output.write_text(definition.to_json(), encoding="utf-8")
        command = ["python", "-m", "archselect.reporting.dashboard", "--project", options.project]
        command += ["--entity", options.entity] if options.entity else []
        command += ["--space", *options.space] if options.space else []
        command += ["--task", *options.task] if options.task != ["classification"] else []
        command += ["--config-dir", str(options.config_dir)] if options.config_dir else []
        return (
            f"Not saved in Weights & Biases, because {reason}. The definition of workspace and report is in "
            f"{options.output}.\nTo apply it: `wandb login`, then, with a network, `{shlex.join(command)}`, which "
            "makes the same definition and saves it."
        )
    workspace, report = save(define(options.project, entity, spaces, metrics))
    return f"Workspace: {workspace}\nReport: {report}"


if __name__ == "__main__":
    raise SystemExit(main())
