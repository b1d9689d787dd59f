"""How a result reads: columns and notes of the tables, and one run beside the paper's number."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import fmean
from typing import Any

from archselect.results.costs import COSTS, LATENCY_1, LATENCY_64, MACS, PARAMETERS, PEAK, Cost
from archselect.results.metric import ACCURACY, Metric
from archselect.results.summaries import STAGES, Choices, Row, RunResult, paper_number


@dataclass(frozen=True)
class Column:
    """A column of the report's table: what it shows of a row, and what it sorts it by (`None`: there is nothing)."""

    title: str
    text: Callable[[Row], str]
    key: Callable[[Row], Any]
    numeric: bool = True


def columns(report: Sequence[Row], all_costs: bool = False) -> list[Column]:
    """Return the columns of `report`, whose rows share a metric.

    Ranks, balanced accuracies, the paper's numbers of other metrics than accuracy, and costs are columns where a row
    has any that say something; `all_costs`: not parameters and multiply-accumulates only.
    """
    metric = metric_of(report)
    names = {field: attrgetter(f"choices.{field}") for field in Choices._fields}
    balanced = Column("balanced %", lambda row: number(row.balanced_accuracy), attrgetter("balanced_accuracy"))
    rank = Column("mean rank (best)", _rank, lambda row: fmean(row.ranks) if row.ranks else None)
    paper = Column("paper %", lambda row: str(row.paper or "–"), lambda row: row.paper and row.paper.accuracy)
    found = [
        *(Column(field.replace("_", " "), name, name, numeric=False) for field, name in names.items()),
        Column("n (seeds)", _seeds, lambda row: len(row.results)),
        Column(f"test {metric.column}", spread, attrgetter("mean")),
        Column(f"best of n{metric.percent}", lambda row: metric.number(row.best), attrgetter("best")),
        balanced,
        rank,
        Column(PARAMETERS.column, millions, lambda row: row.costs["params"]),
        *(_cost_column(cost) for cost in known_costs(report, all_costs) if cost is not PARAMETERS),
        Column("skips %", lambda row: f"{100 * row.skip_share:.0f}", attrgetter("skip_share")),
        Column(f"time: {' + '.join(STAGES)}", _durations, _seconds),
        paper,
    ]
    silent = {
        balanced: not any(row.unbalanced for row in report),
        rank: not any(row.ranks for row in report),
        paper: metric != ACCURACY,
    }
    return [column for column in found if not silent.get(column)]


def metric_of(report: Sequence[Row]) -> Metric:
    """Return the metric that all rows share."""
    return report[0].metric


def known_costs(report: Sequence[Row], all_costs: bool) -> list[Cost]:
    """Return the costs that any row knows; without `all_costs` parameters and multiply-accumulates at most."""
    shown = COSTS if all_costs else (PARAMETERS, MACS)
    return [cost for cost in shown if any(row.costs[cost.key] is not None for row in report)]


def _cost_column(cost: Cost) -> Column:
    return Column(cost.column, lambda row: cost.number(row.costs[cost.key]), lambda row: row.costs[cost.key])


def _seeds(row: Row) -> str:
    return f"{len(row.results)} ({','.join(map(str, row.seeds))}){'*' * row.mixes_settings}"


def _rank(row: Row) -> str:
    return f"{fmean(row.ranks):.1f} ({min(row.ranks)}) of {row.of}" if row.ranks else "–"


def _durations(row: Row) -> str:
    return " + ".join(map(duration, row.seconds.values()))


def _seconds(row: Row) -> float | None:
    known = [seconds for seconds in row.seconds.values() if seconds is not None]
    return sum(known) if known else None


def number(value: float | None) -> str:
    """Return a percentage or a number of millions."""
    return "–" if value is None else f"{value:.2f}"


def spread(row: Row) -> str:
    """Return mean and standard deviation of the test metric, as they are shown."""
    if row.mean is None or row.std is None:
        return row.metric.number(row.mean)
    return row.metric.spread(row.mean, row.std)


def millions(row: Row) -> str:
    """Return the number of parameters in millions."""
    parameters = row.costs["params"]
    return number(parameters and parameters / 1e6)


def size(count: int) -> str:
    """Return a number of bytes at a glance."""
    return f"{count / 1e9:,.1f} GB" if count >= 0.95e9 else f"{count / 1e6:,.1f} MB"


def duration(seconds: float | None) -> str:
    """Return a time at a glance."""
    if seconds is None:
        return "–"
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 99.5 * 3600 else f"{seconds / 3600:,.0f} h"


def footnotes(report: Sequence[Row], all_costs: bool = False) -> list[str]:
    """Return what the columns of `report` mean, and what is not comparable."""
    costs, timed = known_costs(report, all_costs), {LATENCY_1, LATENCY_64}
    notes = {
        "n: number of results; ±: sample standard deviation over them; best of n: the luckiest of them.": True,
        "*: a seed occurs more than once, so this row averages runs of different settings (epochs, sizes, ...); "
        "report the folders of one setting alone.": any(row.mixes_settings for row in report),
        "balanced: test accuracy of each class, mean over the classes; the accuracy beside it is mostly that of "
        "the classes with most images.": any(row.unbalanced for row in report),
        "rank: place of the cell by CIFAR-10 test accuracy in NAS-Bench-201 (1 = best); the accuracy beside it is "
        "the table's on the row's data, or on CIFAR-10 where the table lacks them.": any(row.ranks for row in report),
        "paper: Wang et al., ICLR 2021 (arXiv 2108.04392), as test accuracy, under its full protocol of search and "
        "retraining. Runs on a smaller scale (fewer epochs or images, a smaller network) are not comparable.": any(
            row.paper for row in report
        ),
        "MACs: multiply-accumulates for one image, in millions.": MACS in costs,
        "peak: the most memory that activations take at a time, for one image.": PEAK in costs,
        f"ms of 1, of 64: latency, the median of batches of so many images{_devices(report)}.": timed & {*costs},
    }
    return [note for note, applies in notes.items() if applies]


def _devices(report: Sequence[Row]) -> str:
    """Return on what latencies were measured, where any run says so."""
    devices = dict.fromkeys(one.device for row in report for one in row.results if one.device)
    several = "; those of different devices are not comparable" if len(devices) > 1 else ""
    if any(one.disturbed for row in report for one in row.results):
        several += "; other processes disturbed some, which are too long"
    return f", on {' and on '.join(devices)}{several}" if devices else ""


def markdown_table(titles: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown whose cells are text: none ends its column or is HTML or a link; `None` is empty."""
    return "\n".join(f"| {' | '.join(map(markdown_text, line))} |" for line in (titles, ["---"] * len(titles), *lines))


def markdown_text(value: object) -> str:
    """Return a value so that Markdown takes it for neither a table nor HTML nor a link."""
    text = "" if value is None else str(value)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("[", "&#91;")


def cost_key(cost: Cost) -> str:
    """Return the key under which loggers are told a cost."""
    return f"cost/{cost.key}"


def comparison(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run came to and what the paper has for its choices; accuracies in percent.

    Args:
        summary: Of the run, as in summary.json.

    Returns:
        `result/skip_share`, `result/test_METRIC` where something was evaluated, and where the paper has a number
        `paper/test_accuracy`, `paper/of` (what that number is) and `paper/lead` (the run's accuracy less the paper's);
        `cost/NAME`, what the network costs, under names without a dot.
    """
    if not {"selection", "evaluation"} & set(summary["stages"]):
        return {}
    result = RunResult.from_summary(summary)
    found: dict[str, Any] = {"result/skip_share": result.skip_share}
    found |= {cost_key(cost): summary[key] for cost in COSTS if (key := f"costs.{cost.key}") in summary}
    if result.value is not None:
        found[f"result/{result.metric.key('test')}"] = result.value
        paper = paper_number(result.choices, looked_up=result.rank is not None) if result.metric == ACCURACY else None
        if paper is not None:
            lead = result.value - paper.accuracy
            found |= {"paper/test_accuracy": paper.accuracy, "paper/of": paper.of, "paper/lead": lead}
    return found
