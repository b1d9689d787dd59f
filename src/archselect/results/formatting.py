"""How a result reads: columns, cells and notes of the tables, and one run beside the paper's number."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from archselect.results.summaries import STAGES, Row, RunResult

BALANCED = "balanced %"


def headings(report: Sequence[Row]) -> list[str]:
    """Return the columns of `report`; ranks and balanced accuracies are one where a row has any that say something."""
    rank = ["mean rank (best)"] if any(row.ranks for row in report) else []
    choices = ("search space", "search", "selection", "evaluation", "data")
    balanced = [BALANCED] if any(row.unbalanced for row in report) else []
    numbers = ("n (seeds)", "test accuracy %", "best of n %", *balanced, *rank, "params M", "skips %")
    return [*choices, *numbers, "time: search + selection + evaluation", "paper %"]


def cells(row: Row, report: Sequence[Row]) -> list[str]:
    """Return what `row` shows in the columns of `headings(report)`."""
    rank = f"{fmean(row.ranks):.1f} ({min(row.ranks)}) of {row.of}" if row.ranks else "–"
    return [
        *row.choices,
        f"{len(row.results)} ({','.join(map(str, row.seeds))}){star(row)}",
        spread(row),
        "–" if row.best is None else f"{row.best:.2f}",
        *([balanced(row)] if any(other.unbalanced for other in report) else []),
        *([rank] if any(other.ranks for other in report) else []),
        millions(row),
        f"{100 * row.skip_share:.0f}",
        " + ".join(duration(row.seconds(stage)) for stage in STAGES),
        str(row.paper or "–"),
    ]


def star(row: Row) -> str:
    """Return the mark of a row that mixes settings."""
    return "*" if row.mixes_settings else ""


def spread(row: Row) -> str:
    """Return mean and standard deviation of the test accuracy, in percent."""
    if row.mean is None:
        return "–"
    return f"{row.mean:.2f}" if row.std is None else f"{row.mean:.2f} ± {row.std:.2f}"


def balanced(row: Row) -> str:
    """Return the mean of the balanced test accuracy, in percent."""
    return "–" if row.balanced_mean is None else f"{row.balanced_mean:.2f}"


def millions(row: Row) -> str:
    """Return the number of parameters in millions."""
    return "–" if row.parameters is None else f"{row.parameters / 1e6:.2f}"


def duration(seconds: float | None) -> str:
    """Return a time at a glance."""
    if seconds is None:
        return "–"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 99.5 * 3600 else f"{seconds / 3600:,.0f} h"


def footnotes(report: Sequence[Row]) -> list[str]:
    """Return what the columns of `report` mean, and what is not comparable."""
    notes = ["n: number of results; ±: sample standard deviation over them; best of n: the luckiest of them."]
    if any(row.mixes_settings for row in report):
        notes.append(
            "*: a seed occurs more than once, so this row averages runs of different settings (epochs, sizes, ...); "
            "report the folders of one setting alone."
        )
    if any(row.unbalanced for row in report):
        notes.append(
            "balanced: test accuracy of each class, mean over the classes; the accuracy beside it is mostly that of "
            "the classes with most images."
        )
    if any(row.ranks for row in report):
        notes.append(
            "rank: place of the cell by CIFAR-10 test accuracy in NAS-Bench-201 (1 = best); the accuracy beside it is "
            "the table's on the row's data, or on CIFAR-10 where the table lacks them."
        )
    if any(row.paper for row in report):
        notes.append(
            "paper: Wang et al., ICLR 2021 (arXiv 2108.04392), as test accuracy, under its full protocol of search and "
            "retraining. Runs on a smaller scale (fewer epochs or images, a smaller network) are not comparable."
        )
    return notes


def comparison(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run came to and what the paper has for its choices; accuracies in percent.

    Args:
        summary: Of the run, as in summary.json.

    Returns:
        `result/skip_share`, `result/test_accuracy` where something was evaluated, and where the paper has a number
        `paper/test_accuracy`, `paper/of` (what that number is) and `paper/lead` (the run's accuracy less the paper's).
    """
    if not {"selection", "evaluation"} & set(summary["stages"]):
        return {}
    result = RunResult.from_summary(summary)
    found: dict[str, Any] = {"result/skip_share": result.skip_share}
    if result.accuracy is not None:
        found["result/test_accuracy"] = result.accuracy
        paper = Row(result.choices, (result,)).paper
        if paper is not None:
            found |= {"paper/test_accuracy": paper.accuracy, "paper/of": paper.of}
            found["paper/lead"] = result.accuracy - paper.accuracy
    return found
