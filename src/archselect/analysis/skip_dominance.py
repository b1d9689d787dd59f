"""How far skip connections lead in `softmax(alpha)` as the supernet gets better (DARTS-PT, Fig. 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.figure import Figure
from scipy.stats import spearmanr

from archselect.analysis.analysis import Tables
from archselect.analysis.bench import Bench
from archselect.analysis.edges import is_convolution
from archselect.analysis.subject import Subject
from archselect.analysis.words import percent
from archselect.figures.skip_dominance import draw_skip_dominance
from archselect.runs import FinishedRun
from archselect.stages.job import Finished

SKIP = "skip_connect"


@dataclass(frozen=True)
class SkipDominance:
    """After every epoch, the mean of `softmax(alpha)_skip - softmax(alpha)_conv` over the edges that have both.

    Where an edge has several convolutions, the mean of theirs is taken. Edges that the search decided are left out from
    then on.

    Attributes:
        name: Shown in folders and reports.
    """

    name: str = "skip_dominance"
    several: ClassVar[bool] = False
    version: ClassVar[int] = 2

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        run = runs[0]
        if not any(_has_both(edge) for cell in run.space["cells"].values() for edge in cell["operations"]):
            raise ValueError(
                "analysis=skip_dominance compares skip_connect with the convolutions of an edge, but search space "
                f"{run.parts.space.name!r} has no edge with both. Name a run in another space."
            )

    def prepare(self, subject: Subject) -> Mapping[str, Finished]:
        """See `Analysis.prepare`: nothing."""
        return {}

    def measure(self, bench: Bench, prepared: Mapping[str, Finished]) -> Tables:
        """Return a row per epoch."""
        run = bench.subject.run
        rows = []
        for record in run.history("search"):
            lead = {
                cell: skip_lead(record["alpha"][cell], about["operations"])
                for cell, about in run.space["cells"].items()
            }
            every = [one for leads in lead.values() for one in leads]
            if every:
                own = {f"lead_{cell}": _mean(leads) for cell, leads in lead.items() if len(lead) > 1}
                accuracy = record["metrics"]["val_accuracy"]
                rows.append({"epoch": record["epoch"] + 1, "val_accuracy": accuracy, "lead": _mean(every), **own})
        return {"epochs": rows}

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        return draw_skip_dominance(tables["epochs"])

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        rows = tables["epochs"]
        first, last = rows[0], rows[-1]
        highest = max(rows, key=lambda row: row["val_accuracy"])
        then, now, best = (percent(row["val_accuracy"]) for row in (first, last, highest))
        words = (
            f"From epoch {first['epoch']} to {last['epoch']} the supernet's validation accuracy went from {then} "
            f"to {now} (best {best}), and the mean lead of skip_connect over the convolutions in "
            f"softmax(alpha) from {first['lead']:+.4f} to {last['lead']:+.4f}."
        )
        rank = correlation(rows)
        if rank is None:
            return words
        return (
            f"{words} Spearman's correlation of the two over the {len(rows)} epochs is {rank:+.2f}. The paper sees the "
            "lead grow as the supernet gets better. (Both also grow with time, so a correlation alone is no cause.)"
        )


def skip_lead(weights: Sequence[Sequence[float]], operations: Sequence[Sequence[str]]) -> list[float]:
    """Return, of each undecided edge that has both, the weight of `skip_connect` less the mean of its convolutions.

    Args:
        weights: Mixture weights of a cell type, a row per edge.
        operations: The candidates of every edge.
    """
    leads = []
    for row, names in zip(weights, operations, strict=True):
        undecided = sum(weight > 0 for weight in row) > 1
        if _has_both(names) and undecided:
            convolutions = [weight for name, weight in zip(names, row, strict=False) if is_convolution(name)]
            leads.append(row[names.index(SKIP)] - _mean(convolutions))
    return leads


def correlation(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return Spearman's correlation of lead and accuracy; None where it is not defined."""
    columns = [[row[name] for row in rows] for name in ("val_accuracy", "lead")]
    if len(rows) < 3 or any(len(set(column)) < 2 for column in columns):
        return None
    return float(spearmanr(*columns).statistic)


def _has_both(names: Sequence[str]) -> bool:
    return SKIP in names and any(is_convolution(name) for name in names)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
