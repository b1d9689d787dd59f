"""`python train.py --help`: every choice of every config group with the first line of its YAML file, and options."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

GROUPS = {
    "train": {
        "search_space": "What is searched: the operations of every edge, and the size of the networks.",
        "search": "How the supernet is trained.",
        "search/part": "Parts that are added to any search: search/part=[entropy,drop_path].",
        "protocol": "Lengths and constants: one protocol for all methods, or each at its authors'.",
        "selection": "How an architecture is read off the supernet.",
        "selection/scoring": "How candidates are scored.",
        "selection/limit": "What the network may cost at most: selection.limit.macs=30e6.",
        "evaluation": "How the architecture is judged.",
        "data": "The images.",
        "task": "What the networks are trained for: the loss, and the metric that everything is judged by.",
        "trainer": "Where it is computed.",
        "logger": "Who is told of it.",
        "experiment": "Several choices and options under one name.",
        "hparams_search": "Searches over options by Optuna, with -m.",
        "hydra/launcher": "Where the jobs of a sweep run, with -m.",
    },
    "analyze": {"analysis": "What is measured on finished runs."},
    "predict": {},
    "export": {},
}
"""The config groups of each command, in the order in which a user meets them, and what they decide."""

EXAMPLES = {
    "train": {
        "python train.py experiment=quickstart": "two minutes on a CPU",
        "python train.py search_space=s2 selection=perturb": "the paper's protocol on CIFAR-10",
        "python train.py search_space=s2 selection=perturb search.epochs=25 --cfg job": "what comes of options",
        "python train.py -m search_space=s1,s2 selection=magnitude,perturb seed=0,1": "a sweep; then the report:",
        "python -m archselect.reporting logs": "tables over seeds",
    },
    "analyze": {
        "python analyze.py analysis=operation_strength run=logs/runs/NAME/DATE": "a figure of the paper",
        "python analyze.py -m analysis=cells,skip_dominance run=logs/runs/NAME/DATE": "two analyses",
        "python analyze.py analysis=seeds run=logs/sweeps/DATE": "of several runs",
    },
    "predict": {
        "python predict.py run=logs/runs/NAME/DATE images=FOLDER": "predictions.csv",
        "python predict.py run=logs/runs/NAME/DATE images=FOLDER labels=FILE.csv": "and mistakes.png",
        "python predict.py run=logs/runs/NAME/DATE images=test trainer=cpu": "the run's own test images",
    },
    "export": {
        "python export.py run=logs/runs/NAME/DATE format=onnx": "network.onnx, network.md, network.json",
        "python export.py run=logs/runs/NAME/DATE format=torch_export image_size=fixed": "for PyTorch",
        "python export.py -m run=logs/runs/NAME/DATE format=onnx,safetensors": "two files",
    },
}


def header(file: Path) -> list[str]:
    """Return the comment that a YAML file opens with: an entry per sentence, or command."""
    parts: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").strip()
        if text.startswith("@package"):
            continue
        if parts and not parts[-1].endswith(".") and not text.startswith("python "):
            parts[-1] += f" {text}"
        else:
            parts.append(text)
    return parts


def options(file: Path) -> dict[str, str]:
    """Return what the config of a command says of its own options, each in a line `OPTION: VALUE # WHAT IT IS`."""
    lines = re.findall(r"^(\w+): +([^#\n]+?) +# (.+)$", file.read_text(encoding="utf-8"), re.M)
    return {f"{name}={value}": meaning for name, value, meaning in lines if name != "trainer"}


def show_help(console: Console, command: str, folders: Sequence[Path]) -> None:
    """Print what a command can be given.

    Args:
        console: Where.
        command: `train`, or another that `GROUPS` has.
        folders: Of configs: the package's, and those that `--config-dir` names.
    """
    typed = "GROUP=CHOICE ... OPTION=VALUE ...[/]   one choice per group, any option"
    console.print(f"[bold]python {command}.py {typed if GROUPS[command] else 'OPTION=VALUE ...[/]'}\n")
    for group, line in GROUPS[command].items():
        console.print(f"[bold]{group}[/]  [dim]{escape(line)}[/]", highlight=False)
        table = Table(box=None, show_header=False)
        table.add_column(style="cyan", no_wrap=True, min_width=18)
        for file in (file for folder in folders for file in sorted((folder / group).glob("*.yaml"))):
            opening = (header(file) or [""])[0]
            table.add_row(file.stem, escape(re.sub(r"(?<=[\w)`]{2}\.) (?=[A-Z]).*", "", opening)))
        console.print(table, "")
    console.print("[bold]Options[/]  [dim]and their defaults; ??? has to be given.[/]", highlight=False)
    table = Table(box=None, show_header=False)
    table.add_column(style="cyan", no_wrap=True, min_width=18)
    for option, meaning in options(folders[0] / f"{command}.yaml").items():
        table.add_row(escape(option), escape(meaning))
    console.print(table, "")
    console.print("[bold]Examples[/]")
    for typed, meaning in EXAMPLES[command].items():
        console.print(f"  {typed}   [dim]# {meaning}[/]", soft_wrap=True, highlight=False)
    console.print(f"\nAll options and their values: python {command}.py ... --cfg job. Flags of Hydra: --hydra-help.")
