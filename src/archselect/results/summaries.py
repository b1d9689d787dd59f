"""What finished runs came to: summaries read, repeats dropped, gathered over seeds, beside the paper's numbers.

paper_number the number that the paper reports for some choices; the content is in `paper.yaml`
RunResult    one run, read from its summary.json
collect      every result under a folder, once
Row, rows    mean and spread of the runs that differ in nothing but the seed
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple, TypeVar

import yaml

from archselect.genotype import Genotype
from archselect.safe_io.files import read_json

STAGES = ("search", "selection", "evaluation")
MAXIMUM_NAME = 200
UNBALANCED = 1.5
"""From this ratio of the largest to the smallest class on, balanced accuracy says something that accuracy does not."""

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
    """A test accuracy that the paper reports, in percent.

    Attributes:
        std: Standard deviation over the seeds, where the paper has it.
        best: The best seed, where the paper has it beside the mean.
        of: What the number is, e.g. "mean of 4 seeds" or "best of 4 seeds".
    """

    accuracy: float
    std: float | None
    best: float | None
    of: str

    def __str__(self) -> str:
        std = "" if self.std is None else f" ± {self.std:.2f}"
        best = "" if self.best is None else f", best {self.best:.2f}"
        return f"{self.accuracy:.2f}{std} ({self.of}{best})"


def paper_number(choices: Choices) -> PaperNumber | None:
    """Return what the paper reports for these choices under its full protocol, where it reports anything."""
    return _paper_numbers().get(choices)


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
        folder: Of the stage that holds the result: the evaluation, or the selection where nothing was evaluated.
        accuracy: Test accuracy in percent; `None` where nothing was evaluated.
        balanced_accuracy: The mean over the classes, in percent.
        unbalanced: Whether it says what the accuracy does not: some classes have far fewer images than others.
        rank: Place among all architectures of the NAS-Bench-201 table, 1 = best, where one was looked up.
        of: How many architectures that table has.
        seconds: Per stage, what it took when it was computed.
        runs: The run folders that hold this result; several where a command was typed again.
    """

    choices: Choices
    seed: int
    folder: str
    accuracy: float | None
    balanced_accuracy: float | None
    unbalanced: bool
    rank: int | None
    of: int | None
    parameters: int | None
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
        accuracy = _accuracy(summary)
        if "evaluation" in stages and accuracy is None:
            raise ValueError("it has an evaluation but neither evaluation.test_accuracy nor evaluation.rank")
        choices, genotype = named_choices(summary), Genotype.from_text(summary["genotype"])
        if summary["selection"] is None:  # it was given its genotype and is named by it, for it searched nothing
            choices = choices._replace(search="–", selection=genotype.label)
        balanced = summary.get("evaluation.test_balanced_accuracy")
        counts = [summary.get(f"evaluation.{part}_images_per_class") or [] for part in ("train", "test")]
        return cls(
            choices=choices,
            seed=int(summary["seed"]),
            folder=str(last["folder"]),
            accuracy=accuracy,
            balanced_accuracy=None if balanced is None else 100 * float(balanced),
            unbalanced=balanced is not None and any(map(is_unbalanced, counts)),
            rank=summary.get("evaluation.rank"),
            of=summary.get("evaluation.of"),
            parameters=summary.get("params"),
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
        if not name.isprintable() or len(name) > MAXIMUM_NAME:
            raise ValueError(f"{field} is no name of at most {MAXIMUM_NAME:,} printable characters")
    return choices


def skip_share(genotype: Genotype) -> float:
    """Return which share of the edges of an architecture are skip connections."""
    operations = [operation for cell in genotype for node in cell.nodes for operation, _ in node]
    return operations.count("skip_connect") / len(operations)


def _accuracy(summary: Mapping[str, Any]) -> float | None:
    """Test accuracy in percent: from the table, where one was asked, on the row's data or else on CIFAR-10."""
    if "evaluation.rank" in summary:
        own = f"evaluation.{summary['data']}_test"
        return float(summary[own if own in summary else "evaluation.cifar10_test"])
    if "evaluation.test_accuracy" not in summary:
        return None
    fraction = float(summary["evaluation.test_accuracy"])
    if not 0 <= fraction <= 1:
        raise ValueError(f"evaluation.test_accuracy is a fraction between 0 and 1, not {fraction}")
    return 100 * fraction


def is_unbalanced(counts: Sequence[int]) -> bool:
    """Return whether classes with so many images each are of very different sizes; those without any do not count."""
    there = [count for count in counts if count]
    return bool(there) and max(there) >= UNBALANCED * min(there)


def collect(folder: str | Path, warn: Callable[[str], None]) -> list[RunResult]:
    """Return every result under `folder` once; `warn` is told of each summary that cannot be read.

    Two runs hold the same result when choices, seed and result folder are the same: the second was there already.

    Raises:
        FileNotFoundError: There is no such folder, or no readable summary.json under it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Name the one that holds the runs, e.g. logs.")
    paths = sorted(folder.rglob("summary.json"))
    results: dict[tuple[Choices, int, str], RunResult] = {}
    for result in read_each(paths, RunResult.from_summary, "is no summary of a run", warn):
        key = (result.choices, result.seed, result.folder)
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


@dataclass(frozen=True)
class Row:
    """The results of one set of choices over their seeds."""

    choices: Choices
    results: tuple[RunResult, ...]

    @property
    def seeds(self) -> list[int]:
        return sorted(result.seed for result in self.results)

    @property
    def mixes_settings(self) -> bool:
        """Whether a seed occurs more than once: then more than the seed differs between these runs."""
        return len(set(self.seeds)) < len(self.seeds)

    @property
    def accuracies(self) -> list[float]:
        return [result.accuracy for result in self.results if result.accuracy is not None]

    @property
    def mean(self) -> float | None:
        return mean_of(self.accuracies)

    @property
    def std(self) -> float | None:
        """Sample standard deviation, from two results on."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def best(self) -> float | None:
        return max(self.accuracies, default=None)

    @property
    def balanced_mean(self) -> float | None:
        return mean_of(result.balanced_accuracy for result in self.results)

    @property
    def unbalanced(self) -> bool:
        """Whether the balanced accuracy says what the accuracy does not."""
        return any(result.unbalanced for result in self.results)

    @property
    def ranks(self) -> list[int]:
        return [result.rank for result in self.results if result.rank is not None]

    @property
    def of(self) -> int | None:
        return next((result.of for result in self.results if result.of is not None), None)

    @property
    def parameters(self) -> float | None:
        return mean_of(result.parameters for result in self.results)

    @property
    def skip_share(self) -> float:
        return fmean(result.skip_share for result in self.results)

    def seconds(self, stage: str) -> float | None:
        """Mean over the runs that have the stage."""
        return mean_of(result.seconds.get(stage) for result in self.results)

    @property
    def paper(self) -> PaperNumber | None:
        """The paper's number; that of its protocol `table` for what was looked up, whatever the option is called."""
        return paper_number(self.choices._replace(evaluation="table") if self.ranks else self.choices)


def rows(results: Iterable[RunResult]) -> list[Row]:
    """Group `results` by their choices, in alphabetical order."""
    groups: dict[Choices, list[RunResult]] = {}
    for result in results:
        groups.setdefault(result.choices, []).append(result)
    return [Row(choices, tuple(groups[choices])) for choices in sorted(groups)]


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of those that are known, or `None` of none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
