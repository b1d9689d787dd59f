"""What finished runs came to: summaries read, repeats dropped, gathered over seeds, beside the paper's numbers.

RunResult    one run, read from its summary.json
collect      every result under a folder, once
Row, rows    mean and spread of the runs that differ in nothing but the seed
paper_number the paper's number beside a result; the content is in `paper.yaml`
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import yaml

from archselect.genotype import Genotype
from archselect.safe_io.files import read_json


@dataclass(frozen=True)
class PaperNumber:
    """A test accuracy that the paper reports, in percent.

    Attributes:
        accuracy: The number itself.
        std: Standard deviation over the seeds, where the paper has it.
        best: The best seed, where the paper has it beside the mean.
        of: What the number is, e.g. "mean of 4 seeds" or "best of 4 seeds".
    """

    accuracy: float
    std: float | None
    best: float | None
    of: str

    def __str__(self) -> str:
        spread = "" if self.std is None else f" ± {self.std:.2f}"
        best = "" if self.best is None else f", best {self.best:.2f}"
        return f"{self.accuracy:.2f}{spread} ({self.of}{best})"


def paper_number(search_space: str, search: str, selection: str, evaluation: str, data: str) -> PaperNumber | None:
    """Return what the paper reports for these choices under its full protocol, or `None`.

    Args:
        search_space: As the others, the name of a file under `configs/`.
        search: How the supernet was trained.
        selection: How the architecture was read off it.
        evaluation: The retraining recipe, or "table" for a look-up in NAS-Bench-201.
        data: What the architecture was tested on.
    """
    return _numbers().get((search_space, search, selection, evaluation, data))


@cache
def _numbers() -> dict[tuple[str, str, str, str, str], PaperNumber]:
    blocks = yaml.safe_load(files("archselect.results").joinpath("paper.yaml").read_text(encoding="utf-8"))
    numbers = {}
    for block in blocks:
        errors = "error" in block
        for choices, value in block["error" if errors else "accuracy"].items():
            search, selection = choices.split("+")
            mean, std, best = [*(value if isinstance(value, list) else [value]), None, None][:3]
            numbers[block["search_space"], search, selection, block["evaluation"], block["data"]] = PaperNumber(
                accuracy=_accuracy_in(mean, errors),
                std=std,
                best=None if best is None else _accuracy_in(best, errors),
                of=block["of"],
            )
    return numbers


def _accuracy_in(value: float, is_error: bool) -> float:
    return round(100 - value, 2) if is_error else value


STAGES = ("search", "selection", "evaluation")
TABLE = "table"  # the paper's protocol of what is looked up in NAS-Bench-201, whatever the option is called

MAXIMUM_NAME = 200

UNBALANCED = 1.5
"""From this ratio of the largest to the smallest class on, balanced accuracy says something that accuracy does not."""


class Choices(NamedTuple):
    """What the runs of one row have in common."""

    search_space: str
    search: str
    selection: str
    evaluation: str
    data: str


@dataclass(frozen=True)
class RunResult:
    """What one run came to.

    Attributes:
        folder: Of the stage that holds the result: the evaluation, or the selection where nothing was evaluated.
        accuracy: Test accuracy in percent; `None` where nothing was evaluated.
        balanced_accuracy: The mean over the classes, in percent; `None` where it is not known.
        unbalanced: Whether it says what the accuracy does not: some classes have far fewer images than others.
        rank: Place among all architectures of the NAS-Bench-201 table, 1 = best; `None` where nothing was looked up.
        parameters: Of the evaluated network.
        skip_share: Share of the architecture's edges that are skip connections.
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
        last = next((stages[name] for name in ("evaluation", "selection") if name in stages), None)
        if last is None:
            raise ValueError("neither a selection nor an evaluation is among its stages")
        accuracy = _accuracy(summary)
        if "evaluation" in stages and accuracy is None:
            raise ValueError("it has an evaluation but neither evaluation.test_accuracy nor evaluation.rank")
        balanced_accuracy, unbalanced = _balanced(summary)
        return cls(
            choices=_choices(summary),
            seed=int(summary["seed"]),
            folder=str(last["folder"]),
            accuracy=accuracy,
            balanced_accuracy=balanced_accuracy,
            unbalanced=unbalanced,
            rank=summary.get("evaluation.rank"),
            of=summary.get("evaluation.of"),
            parameters=summary.get("params"),
            skip_share=skip_share(Genotype.from_text(summary["genotype"])),
            seconds={name: float(stage["seconds"]) for name, stage in stages.items()},
            runs=(run,),
        )


def _choices(summary: Mapping[str, Any]) -> Choices:
    """The choices of a run; one that was given its genotype is named by it, for it searched nothing."""
    names = {name: named(summary[name], name) for name in Choices._fields}
    if summary["selection"] is None:
        names |= {"search": "–", "selection": Genotype.from_text(summary["genotype"]).label}
    return Choices(**names)


def named(value: object, what: str) -> str:
    """Return a name as text, or raise a ValueError: a terminal obeys control characters."""
    if not (text := str(value)).isprintable() or len(text) > MAXIMUM_NAME:
        raise ValueError(f"{what} is no name of at most {MAXIMUM_NAME:,} printable characters")
    return text


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


def _balanced(summary: Mapping[str, Any]) -> tuple[float | None, bool]:
    """The balanced test accuracy in percent, and whether the sizes of the classes differ so that it says something."""
    fraction = summary.get("evaluation.test_balanced_accuracy")
    if fraction is None:
        return None, False
    counts = [summary.get(f"evaluation.{part}_images_per_class") or [] for part in ("train", "test")]
    return 100 * float(fraction), any(is_unbalanced([int(count) for count in own]) for own in counts)


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
    for path in paths:
        try:
            result = RunResult.from_summary(read_json(path, path.parent), path.parent)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            warn(f"Left out {path}, which is no summary of a run: {reason(error)}.")
            continue
        key = (result.choices, result.seed, result.folder)
        results[key] = replace(results[key], runs=(*results[key].runs, path.parent)) if key in results else result
    if not results:
        found = f"none of the {len(paths)} summary.json could be read" if paths else "there is no summary.json"
        raise FileNotFoundError(
            f"No finished run under {folder}: {found}. A run writes its summary.json when it ends; "
            "start one with python train.py, or name the folder that holds the runs."
        )
    return list(results.values())


def reason(error: Exception) -> str:
    """Return what is wrong with a record, without a full stop."""
    if isinstance(error, KeyError):
        return f"it lacks {error.args[0]}"
    return str(error).rstrip(".")


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
        """Mean of the balanced accuracies."""
        return mean_of([result.balanced_accuracy for result in self.results if result.balanced_accuracy is not None])

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
        return mean_of([result.parameters for result in self.results if result.parameters is not None])

    @property
    def skip_share(self) -> float:
        """Mean over the runs."""
        return fmean(result.skip_share for result in self.results)

    def seconds(self, stage: str) -> float | None:
        """Mean over the runs that have the stage."""
        return mean_of([result.seconds[stage] for result in self.results if stage in result.seconds])

    @property
    def paper(self) -> PaperNumber | None:
        choices = self.choices._replace(evaluation=TABLE) if self.ranks else self.choices
        return paper_number(**choices._asdict())


def rows(results: Iterable[RunResult]) -> list[Row]:
    """Group `results` by their choices, in alphabetical order."""
    groups: dict[Choices, list[RunResult]] = {}
    for result in results:
        groups.setdefault(result.choices, []).append(result)
    return [Row(choices, tuple(groups[choices])) for choices in sorted(groups)]


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean, or `None` of nothing."""
    return fmean(values) if values else None
