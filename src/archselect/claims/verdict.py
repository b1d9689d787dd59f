"""What a verdict is, and what verdicts are counted from.

A verdict is `reproduced`, `not reproduced`, or `undecided` where the numbers allow neither. A few runs of one setting
are a small sample, so a claim about accuracies has to hold for every seed to count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from scipy.stats import binomtest

from archselect.analysis.analysis import Table
from archselect.analysis.discretization_accuracy import TRUTH

Verdict = Literal["reproduced", "not reproduced", "undecided"]
Pictures = tuple[tuple[str, str], ...]
"""(space, analysis) of each."""

LIKELY = 0.05
"""Below this probability chance is no explanation."""


@dataclass(frozen=True)
class Judged:
    """A claim and what became of it.

    Attributes:
        number: As in the paper's order.
        claim: In a sentence.
        verdict: See above.
        numbers: What it rests on, in sentences.
        pictures: Of the analyses that show it.
    """

    number: int
    claim: str
    verdict: Verdict
    numbers: str
    pictures: Pictures


def every_edge(table: Table) -> list[Table]:
    """Return the rows of every edge of every seed."""
    return [list(rows) for _, rows in groupby(table, key=lambda row: (row["seed"], row["cell"], row["edge"]))]


def by_seed(table: Table) -> Mapping[int, Table]:
    """Return the rows of every seed."""
    return {seed: list(rows) for seed, rows in groupby(table, key=lambda row: row["seed"])}


def standard_error(edge: Table, images: int) -> float:
    """Return the standard error of the difference of two accuracies of an edge, each on so many images."""
    level = mean([row[TRUTH] for row in edge])
    return float((2 * level * (1 - level) / images) ** 0.5)


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def all_or_none(holds: Sequence[bool]) -> Verdict:
    """Return the verdict on a claim that holds everywhere, nowhere, or here and there."""
    if all(holds):
        return "reproduced"
    return "undecided" if any(holds) else "not reproduced"


def beats(chance: float, hits: int, of: int) -> bool:
    """Return whether there are more hits than chance would have it, by a binomial test."""
    return bool(binomtest(hits, of, chance, alternative="greater").pvalue < LIKELY)


def missing(number: int, claim: str, pictures: Pictures) -> Judged:
    """Return the verdict on a claim for which something was not measured."""
    needed = " and ".join(f"analysis={analysis} in {space}" for space, analysis in pictures)
    return Judged(number, claim, "undecided", f"Not measured: the runs for it, or {needed}, are not there.", ())
