"""What the project computes, to the bit, before and after a change that is to change nothing.

    python -m tests.golden record before.txt     half an hour on two cores
    python -m tests.golden record after.txt
    python -m tests.golden compare before.txt after.txt

Every search with every selection in S2 and NAS-Bench-201, one run each in the other spaces, retrainings, a look-up,
protocols, fixed architectures, every analysis, at the smallest size. A record has for each run its genotype, every
decision with its scores, the metrics of every epoch, and a digest of the weights; it says nothing of names of files and
parameters, so both may change. It is for one machine: another one rounds otherwise.
"""

import argparse
import csv
import hashlib
import json
import multiprocessing
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tests.analysis import made_table
from tests.command import CONFIGS, Run, analyze, train

from archselect.selection.proxies import PROXIES

TIMES = ("seconds", "images_per_second", "peak_memory_gb")
"""What differs from time to time."""

SHORTER = {
    "discretization": ["selection.training.epochs=1"],
    "shapley": ["selection.permutations=2"],
    "sampling": ["selection.samples=10"],
}


def commands(table: Path) -> Iterator[list[str]]:
    """Yield the overrides of every run."""
    for space, search, selection in product(("s2", "nasbench201"), _choices("search"), _choices("selection")):
        shorter = SHORTER.get(selection, [])
        yield ["experiment=grid_tiny", f"search_space={space}", f"search={search}", f"selection={selection}", *shorter]
    for part in _choices("search/part"):
        yield ["experiment=grid_tiny", f"search/part=[{part}]", "selection=magnitude"]
    for proxy in PROXIES:
        yield ["experiment=grid_tiny", "selection=zero_cost", f"selection.proxy={proxy}"]
    for scoring in _choices("selection/scoring"):
        yield ["experiment=grid_tiny", f"selection/scoring={scoring}"]
    for search in ("darts", "gdas", "sdarts_adv"):
        yield ["experiment=grid_tiny", f"search={search}", "protocol=authors", "selection=magnitude"]
    for space in ("darts", "s1", "s2", "s3", "s4", "nasbench201"):
        yield ["experiment=tiny", f"search_space={space}", "search.snapshots=1"]
    yield ["experiment=tiny", "search_space=nasbench201", "evaluation=nasbench201", f"evaluation.table={table}"]
    for genotype in ("DARTS_V2", "DARTS_PT"):
        yield ["experiment=tiny", "search_space=darts", f"genotype={genotype}"]


def analyses(table: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the overrides of every analysis, and those of the run that it looks at."""
    for analysis in _choices("analysis"):
        space = "nasbench201" if analysis == "true_strength" else "s2"
        of_run = ["experiment=tiny", f"search_space={space}", "search.snapshots=1"]
        yield [f"analysis={analysis}", *([f"table={table}"] if space == "nasbench201" else [])], of_run


def record(command: Sequence[str], logs: str) -> list[str]:
    """Return what a run comes to, line by line; of one that is refused, why."""
    try:
        with mock.patch("archselect.pipeline.run.draw_figures", return_value=[]):
            run = train(*command, logs)
    except SystemExit:
        return ["refused"]
    lines = [f"genotype {run.summary['genotype']}"]
    for kind in run.reused():
        folder = run.stage(kind)
        lines += [f"{kind} {line}" for line in _stage(run, kind, folder)]
    return lines


def _stage(run: Run, kind: str, folder: Path) -> Iterator[str]:
    for epoch in run.history(kind):
        yield f"epoch {_plain(epoch)}"
    for decision in _lines(folder / "decisions.jsonl"):
        yield f"decision {_plain(decision)}"
    for trial in _lines(folder / "trials.jsonl"):
        yield f"trial {_plain(trial)}"
    yield f"result {_plain(json.loads((folder / 'result.json').read_text()))}"
    for file in sorted(folder.rglob("*.pt")):
        yield f"weights {file.stem.split('-')[-1]} {_digest(file)}"


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _plain(record: Mapping[str, Any]) -> str:
    return json.dumps(_without_times(record), sort_keys=True)


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(part) for name, part in value.items() if name not in TIMES}
    return value


def _digest(file: Path) -> str:
    """Return a digest of the tensors in a file, whatever their names and order."""
    tensors = [value for value in _leaves(torch.load(file, weights_only=True)) if isinstance(value, torch.Tensor)]
    each = sorted(hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest() for tensor in tensors)
    return hashlib.sha256("".join(each).encode()).hexdigest()[:16]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)
    else:
        yield value


def _analysis(overrides: Sequence[str], of: Sequence[str], logs: str) -> list[str]:
    run = train(*of, logs)
    looked_at = run.folder
    if overrides == ["analysis=seeds"]:
        looked_at = Path(logs.removeprefix("logs=")) / "several"
        for number, other in enumerate((run, train(*of, "selection=magnitude", logs))):
            shutil.copytree(other.folder, looked_at / str(number), symlinks=True)
    folder = analyze(*overrides, f"run={looked_at}")
    lines = [f"reading {line}" for line in (folder / "reading.md").read_text().splitlines()]
    for file in sorted(folder.glob("*.csv")):
        with file.open() as rows:
            lines += [f"{file.stem} {' | '.join(row)}" for row in csv.reader(rows)]
    return lines


def _choices(group: str) -> list[str]:
    return sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))


def _work(task: tuple[str, list[str], list[str], str]) -> tuple[str, list[str]]:
    kind, overrides, of, logs = task
    torch.set_num_threads(1)
    sys.stdout = open("/dev/null", "w")  # noqa: SIM115
    found = record(overrides, logs) if kind == "run" else _analysis(overrides, of, logs)
    return f"{' '.join(overrides)}", found


def write(file: Path, only: str = "") -> None:
    """Make every run and analysis whose overrides have `only` in them, and write the record."""
    with tempfile.TemporaryDirectory() as folder:
        table, logs = made_table.written(Path(folder)), f"logs={folder}/logs"
        tasks = [("run", command, list[str](), logs) for command in commands(table)]
        tasks += [("analysis", overrides, of, logs) for overrides, of in analyses(table)]
        tasks = [task for task in tasks if only in " ".join(task[1])]
        with multiprocessing.get_context("forkserver").Pool(2) as pool, file.open("w") as out:
            for number, (name, lines) in enumerate(pool.imap(_work, tasks, chunksize=1), start=1):
                sys.stderr.write(f"{number}/{len(tasks)} {name}\n")
                text = "\n".join(f"    {line}" for line in lines)
                text = re.sub(r"\b[0-9a-f]{12}\b", "STAGE", text.replace(folder, "FOLDER"))
                out.write(f"{name}\n{text}\n".replace(folder, "FOLDER"))
                out.flush()


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=("record", "compare"))
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--only", default="", help="only the runs whose overrides have this in them")
    options = parser.parse_args()
    if options.do == "record":
        write(options.files[0], options.only)
        return 0
    before, after = (_commands(file, options.only) for file in options.files)
    missing = [command for command in before if command not in after]
    different = [command for command, lines in after.items() if lines != before.get(command)]
    for command in different[:20]:
        changes = list(unified_diff(before.get(command, []), after[command], lineterm="", n=0))[2:]
        sys.stdout.write(f"{command}\n" + "".join(f"    {line[:200]}\n" for line in changes[:10]))
    sys.stdout.write(f"{len(after)} commands, {len(different)} different, {len(missing)} missing.\n")
    return 1 if different or missing else 0


def _commands(file: Path, only: str) -> dict[str, list[str]]:
    """Return the lines of each command in a record whose overrides have `only` in them."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in file.read_text().splitlines():
        if line.startswith("    "):
            lines.append(line.strip())
        else:
            lines = found.setdefault(line, [])
    return {command: lines for command, lines in found.items() if only in command}


if __name__ == "__main__":
    sys.exit(main())
