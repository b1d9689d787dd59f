"""What finished runs came to: summaries read, repeats dropped, gathered over seeds, beside the paper's numbers."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple, TypeVar

import yaml

from archselect.genotype import Genotype
from archselect.results.costs import COSTS, costs_in, device_of
from archselect.results.metric import ACCURACY, CLASSIFICATION, Metric, checked_name
from archselect.safe_io.files import read_json

STAGES = ("search", "selection", "evaluation")
UNBALANCED = 1.5
"""From this ratio of the largest to the smallest class on, balanced accuracy says something that accuracy does not."""
FEW_CLASSES = 10
"""So many classes are listed one by one; of more, only those that are recognised worst."""

T = TypeVar("T")


class Choices(NamedTuple):
    """What the runs of one row have in common: names of files under `configs/`."""

    search_space: str
    search: str
    selection: str
    evaluation: str
    data: str


@dataclass(frozen=True)
class PaperNumber:
    """A test accuracy that the paper reports, in percent; spread and best seed where it has them."""

    accuracy: float
    std: float | None
    best: float | None
    of: str  # what the number is, e.g. "mean of 4 seeds" or "best of 4 seeds"

    def __str__(self) -> str:
        std = "" if self.std is None else f" ± {self.std:.2f}"
        best = "" if self.best is None else f", best {self.best:.2f}"
        return f"{self.accuracy:.2f}{std} ({self.of}{best})"


def paper_number(choices: Choices, looked_up: bool = False) -> PaperNumber | None:
    """Return what the paper reports for these choices under its full protocol, where it reports anything.

    What was looked up in NAS-Bench-201 is its protocol `table`, whatever the choice is called.
    """
    return _paper_numbers().get(choices._replace(evaluation="table") if looked_up else choices)


@cache
def _paper_numbers() -> dict[Choices, PaperNumber]:
    numbers = {}
    for block in yaml.safe_load(files("archselect.results").joinpath("paper.yaml").read_text(encoding="utf-8")):
        of_errors = "error" in block
        for pair, reported in block["error" if of_errors else "accuracy"].items():
            number, std, best = [*(reported if isinstance(reported, list) else [reported]), None, None][:3]
            accuracy, best = (round(100 - x, 2) if of_errors and x is not None else x for x in (number, best))
            search, selection = pair.split("+")
            choices = Choices(block["search_space"], search, selection, block["evaluation"], block["data"])
            numbers[choices] = PaperNumber(accuracy, std, best, block["of"])
    return numbers


@dataclass(frozen=True)
class RunResult:
    """What one run came to.

    Attributes:
        value: The metric of its task on the test images, as it is shown: an accuracy in percent. `None`: nothing was
            evaluated.
        folder: Of the stage that holds the result: the evaluation, or the selection where nothing was evaluated.
        balanced_accuracy: The mean over the classes, in percent.
        unbalanced: Whether it says what the accuracy does not: some classes have far fewer images than others.
        rank: Place among all `of` architectures of the NAS-Bench-201 table, 1 = best, where one was looked up.
        costs: Of the architecture, those of `COSTS` that are known, by their keys.
        device: That latencies were measured on, where the summary says so.
        disturbed: Whether other processes had part of the processor meanwhile.
        seconds: Per stage, what it took when it was computed.
        runs: The run folders that hold this result; several where a command was typed again.
    """

    choices: Choices
    task: str
    metric: Metric
    seed: int
    folder: str
    value: float | None
    balanced_accuracy: float | None
    unbalanced: bool
    rank: int | None
    of: int | None
    costs: Mapping[str, float]
    device: str | None
    disturbed: bool
    skip_share: float
    seconds: Mapping[str, float]
    runs: tuple[Path, ...]

    @classmethod
    def from_summary(cls, summary: Mapping[str, Any], run: Path = Path()) -> "RunResult":
        """Read the parsed summary.json of the folder `run`; a `ValueError` says what it lacks."""
        lacking = [key for key in (*Choices._fields, "seed", "genotype", "stages") if key not in summary]
        if lacking:
            raise ValueError(f"it lacks {', '.join(lacking)}")
        for key in ("params", "evaluation.rank", "evaluation.of"):
            if not isinstance(summary.get(key), int | None):
                raise ValueError(f"{key} is a whole number, not {summary[key]!r}")
        stages = {name: summary["stages"][name] for name in STAGES if name in summary["stages"]}
        last = stages.get("evaluation", stages.get("selection"))
        if last is None:
            raise ValueError("neither a selection nor an evaluation is among its stages")
        metric = Metric.of(summary)
        value = _value(summary, metric)
        if "evaluation" in stages and value is None:
            test = metric.key("evaluation.test")
            raise ValueError(f"it has an evaluation but neither {test} nor evaluation.rank")
        choices, genotype = named_choices(summary), Genotype.from_text(summary["genotype"])
        if summary["selection"] is None:  # it was given its genotype and is named by it, for it searched nothing
            choices = choices._replace(search="–", selection=genotype.label)
        balanced = summary.get("evaluation.test_balanced_accuracy")
        counts = [summary.get(f"evaluation.{part}_images_per_class") or [] for part in ("train", "test")]
        return cls(
            choices=choices,
            task=checked_name("task", summary.get("task", CLASSIFICATION)),
            metric=metric,
            seed=int(summary["seed"]),
            folder=str(last["folder"]),
            value=value,
            balanced_accuracy=None if balanced is None else 100 * float(balanced),
            unbalanced=balanced is not None and any(map(is_unbalanced, counts)),
            rank=summary.get("evaluation.rank"),
            of=summary.get("evaluation.of"),
            costs=costs_in(summary),
            device=device_of(summary),
            disturbed=summary.get("costs.disturbed") is True,
            skip_share=skip_share(genotype),
            seconds={name: float(stage["seconds"]) for name, stage in stages.items()},
            runs=(run,),
        )


def named_choices(record: Mapping[str, Any]) -> Choices:
    """Return the choices that a record names.

    Raises:
        KeyError: One is not there.
        ValueError: One is no name: a terminal would obey some characters.
    """
    choices = Choices(*(str(record[field]) for field in Choices._fields))
    for field, name in choices._asdict().items():
        checked_name(field, name)
    return choices


def skip_share(genotype: Genotype) -> float:
    """Return which share of the edges of an architecture are skip connections."""
    operations = [operation for cell in genotype for node in cell.nodes for operation, _ in node]
    return operations.count("skip_connect") / len(operations)


def _value(summary: Mapping[str, Any], metric: Metric) -> float | None:
    """The test metric as it is shown: from the table, where one was asked, on the row's data or else on CIFAR-10."""
    if "evaluation.rank" in summary:
        own = f"evaluation.{summary['data']}_test"
        return float(summary[own if own in summary else "evaluation.cifar10_test"])
    key = metric.key("evaluation.test")
    if key not in summary:
        return None
    value = float(summary[key])
    if metric.is_share and not 0 <= value <= 1:
        raise ValueError(f"{key} is a fraction between 0 and 1, not {value}")
    return metric.factor * value


def is_unbalanced(counts: Sequence[int]) -> bool:
    """Return whether classes with so many images each are of very different sizes; those without any do not count."""
    there = [count for count in counts if count]
    return bool(there) and max(there) >= UNBALANCED * min(there)


def collect(folder: str | Path, warn: Callable[[str], None]) -> list[RunResult]:
    """Return every result under `folder` once; `warn` is told of each summary that cannot be read.

    Two runs hold the same result when task, choices, seed and result folder are the same: the second was there already.

    Raises:
        FileNotFoundError: There is no such folder, or no readable summary.json under it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Name the one that holds the runs, e.g. logs.")
    paths = sorted(folder.rglob("summary.json"))
    results: dict[tuple[str, Metric, Choices, int, str], RunResult] = {}
    for result in read_each(paths, RunResult.from_summary, "is no summary of a run", warn):
        key = (result.task, result.metric, result.choices, result.seed, result.folder)
        results[key] = replace(results[key], runs=results[key].runs + result.runs) if key in results else result
    if not results:
        found = f"none of the {len(paths)} summary.json could be read" if paths else "there is no summary.json"
        raise FileNotFoundError(
            f"No finished run under {folder}: {found}. A run writes its summary.json when it ends; "
            "start one with python train.py, or name the folder that holds the runs."
        )
    return list(results.values())


def read_each(
    paths: Iterable[Path], read: Callable[[Any, Path], T], otherwise: str, warn: Callable[[str], None]
) -> Iterator[T]:
    """Yield what `read` makes of the content and the folder of each JSON file.

    `warn` is told of each file that it makes nothing of: which `otherwise`.
    """
    for path in paths:
        try:
            yield read(read_json(path, path.parent), path.parent)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"it lacks {error.args[0]}" if isinstance(error, KeyError) else str(error).rstrip(".")
            warn(f"Left out {path}, which {otherwise}: {reason}.")


class Row:
    """The results of one task and set of choices over their seeds; each mean is over those that have the number."""

    def __init__(self, task: str, metric: Metric, choices: Choices, results: Sequence[RunResult]) -> None:
        values = [one.value for one in results if one.value is not None]
        self.task, self.metric, self.choices = task, metric, choices
        self.results = results
        self.seeds = sorted(one.seed for one in results)
        self.mixes_settings = len(set(self.seeds)) < len(self.seeds)  # more than the seed differs between these runs
        self.mean = _mean(values)
        finite = all(map(math.isfinite, values))  # an error may be none, after a divergence
        self.std = stdev(values) if finite and len(values) > 1 else None  # of the sample
        self.best = metric.best(values)
        self.balanced_accuracy = _mean(one.balanced_accuracy for one in results)
        self.unbalanced = any(one.unbalanced for one in results)
        self.ranks = [one.rank for one in results if one.rank is not None]
        self.of = next((one.of for one in results if one.of is not None), None)
        self.costs = {cost.key: _mean(one.costs.get(cost.key) for one in results) for cost in COSTS}
        self.skip_share = fmean(one.skip_share for one in results)
        self.seconds = {stage: _mean(one.seconds.get(stage) for one in results) for stage in STAGES}
        self.paper = paper_number(choices, looked_up=bool(self.ranks)) if metric == ACCURACY else None


def rows(results: Iterable[RunResult]) -> list[Row]:
    """Group results by task and choices: classification first, then the other tasks, each in alphabetical order."""
    groups: dict[tuple[str, Metric, Choices], list[RunResult]] = {}
    for result in results:
        groups.setdefault((result.task, result.metric, result.choices), []).append(result)

    def place(group: tuple[str, Metric, Choices]) -> Any:
        task, metric, choices = group
        return task != CLASSIFICATION, task, metric.name, metric.mode, choices

    return [Row(*group, groups[group]) for group in sorted(groups, key=place)]


def by_task(report: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Return what is told in one metric together, under a title."""
    groups: dict[tuple[str, Metric], list[Row]] = {}
    for row in report:
        groups.setdefault((row.task, row.metric), []).append(row)
    return [(f"Task {task}: {metric.words}, {metric.better} is better", own) for (task, metric), own in groups.items()]


def _mean(values: Iterable[float | None]) -> float | None:
    return fmean(known) if (known := [value for value in values if value is not None]) else None
