"""What the selections of several runs have in common: operations, agreement, skips and accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from typing import Any, ClassVar

from matplotlib.figure import Figure
from scipy.stats import spearmanr

from archselect.analysis.analysis import Table, Tables
from archselect.analysis.bench import Bench
from archselect.analysis.outcomes import DROPPED, Outcome, outcomes
from archselect.analysis.subject import Subject
from archselect.analysis.words import percent
from archselect.figures.seeds import draw_seeds
from archselect.runs import FinishedRun
from archselect.stages.job import Finished

ONE_SUPERNET, OTHER_SUPERNETS = "one supernet", "different supernets"


@dataclass(frozen=True)
class Seeds:
    """Compare what several runs in one search space chose.

    Attributes:
        name: Shown in folders and reports.
    """

    name: str = "seeds"
    several: ClassVar[bool] = True
    version: ClassVar[int] = 2

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        spaces = {run.parts.space.name: run for run in runs}
        if len(spaces) > 1:
            raise ValueError(
                f"analysis={self.name} compares runs in one search space, and these are in {' and '.join(spaces)} "
                f"(such as {' and '.join(str(run.folder) for run in list(spaces.values())[:2])}). Name a folder that "
                "holds runs in one."
            )
        other = next((run for run in runs if run.space != runs[0].space), None)
        if other is not None:
            raise ValueError(
                f"analysis={self.name} compares runs that choose among the same operations, and {other.folder} has "
                f"others than {runs[0].folder}. Name a folder that holds runs with the same search_space.operations."
            )

    def prepare(self, subject: Subject) -> Mapping[str, Finished]:
        """See `Analysis.prepare`: nothing."""
        return {}

    def measure(self, bench: Bench, prepared: Mapping[str, Finished]) -> Tables:
        """Return how often edges got operations, how far selections agree, and a row per run."""
        found = outcomes(bench.subject.runs)
        return {
            "accuracy": [_row(outcome) for outcome in found],
            "frequencies": frequencies(found, bench.subject.run.space),
            "agreement": agreement(found),
        }

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        return draw_seeds(tables["frequencies"], tables["agreement"], tables["accuracy"])

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        rows = tables["accuracy"]
        words = []
        for label in dict.fromkeys(row["selection"] for row in rows):
            own = [row for row in rows if row["selection"] == label]
            skips = sum(row["skips"] for row in own) / len(own)
            seeds = {row["seed"] for row in own}
            mixed = " (a seed occurs more than once: they differ in other options)" if len(seeds) < len(own) else ""
            words.append(f"{label}: {len(own)} run{'s' * (len(own) > 1)}{mixed}, {skips:.1f} skips on average.")
        for row in tables["agreement"]:
            if row["share"] is not None:
                who = row["one"] + (
                    f" and {row['other']} agree" if row["one"] != row["other"] else " agrees with itself"
                )
                pairs = f"{row['pairs']} pair{'s' * (row['pairs'] > 1)} of runs from {row['given']}"
                words.append(f"{who} on {percent(row['share'], 0)} of the edges ({pairs}).")
        return " ".join([*words, *_skips_and_accuracy(rows)])


def frequencies(found: Sequence[Outcome], space: Mapping[str, Any]) -> Table:
    """Return per selection, edge and operation (or `DROPPED`, where it may be) the share of runs that chose it."""
    rows = []
    may_drop = any(DROPPED in outcome.edges.values() for outcome in found)
    for label in dict.fromkeys(outcome.label for outcome in found):
        own = [outcome for outcome in found if outcome.label == label]
        candidates = [names for cell in space["cells"].values() for names in cell["operations"]]
        for (cell, edge), names in zip(own[0].edges, candidates, strict=True):
            for operation in [*names, *([DROPPED] if may_drop else [])]:
                count = sum(outcome.edges[cell, edge] == operation for outcome in own)
                where = {"selection": label, "cell": cell, "edge": edge, "operation": operation}
                rows.append({**where, "share": count / len(own), "runs": len(own)})
    return rows


def agreement(found: Sequence[Outcome]) -> Table:
    """Return of each pair of selections on which share of the edges their runs have the same, in the mean over pairs.

    Two selections are compared on the same supernet. A selection is compared with itself on different supernets, which
    says how much of what it chooses the seed decides.
    """
    rows = []
    for one, other in combinations_with_replacement(dict.fromkeys(outcome.label for outcome in found), 2):
        shares = [
            sum(first.edges[edge] == second.edges[edge] for edge in first.edges) / len(first.edges)
            for first, second in combinations(found, 2)
            if {first.label, second.label} == {one, other} and (first.supernet == second.supernet) == (one != other)
        ]
        share = sum(shares) / len(shares) if shares else None
        given = OTHER_SUPERNETS if one == other else ONE_SUPERNET
        rows.append({"one": one, "other": other, "given": given, "share": share, "pairs": len(shares)})
    return rows


def _row(outcome: Outcome) -> dict[str, Any]:
    result = outcome.result
    return {
        "selection": outcome.label,
        "seed": result.seed,
        "supernet": outcome.supernet,
        "skips": outcome.skips,
        "accuracy": result.accuracy,
        "judged": None if result.accuracy is None else outcome.judged,
        "genotype": outcome.genotype,
    }


def _skips_and_accuracy(rows: Table) -> list[str]:
    """Return Spearman's correlation of skips and accuracy, for each way to judge."""
    words = []
    for judged in dict.fromkeys(row["judged"] for row in rows if row["judged"] is not None):
        own = [(row["skips"], row["accuracy"]) for row in rows if row["judged"] == judged]
        skips, accuracies = zip(*own, strict=True)
        defined = len(own) > 2 and len(set(skips)) > 1 and len(set(accuracies)) > 1
        rank = f"{spearmanr(skips, accuracies).statistic:+.2f}" if defined else "not defined"
        words.append(
            f"Spearman's correlation of the number of skips with test accuracy ({judged}) is {rank}, n = {len(own)}."
        )
    if not words:
        words.append("No run evaluated what it chose, so nothing is said of accuracy.")
    return words
