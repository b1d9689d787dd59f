"""The paper's six claims, judged by what was measured.

A verdict is `reproduced`, `not reproduced`, or `undecided` where the numbers allow neither; each function says its
rule. A few runs of one setting are a small sample, so a claim about accuracies has to hold for every seed to count.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from scipy.stats import binomtest

from archselect.analysis.analysis import Table
from archselect.analysis.discretization_accuracy import TRUTH
from archselect.analysis.operation_strength import picked
from archselect.analysis.skip_dominance import correlation
from archselect.claims.evidence import Evidence, differences, listed

Verdict = Literal["reproduced", "not reproduced", "undecided"]
Pictures = tuple[tuple[str, str], ...]
"""(space, analysis) of each."""

LIKELY = 0.05
"""Below this probability chance is no explanation."""

FEWEST = 4
"""Edges that a verdict on single edges rests on, at least."""

SKIP = "skip_connect"


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


def magnitude_is_not_strength(evidence: Evidence) -> Judged:
    """Claim 1. Reproduced: where one operation is clearly better, the larger `alpha` names it no better than chance.

    An edge counts where the best and the worst operation differ by more than two binomial standard errors of the
    accuracy. Not reproduced: `alpha` does better than chance, by a binomial test.
    """
    claim = "The order of alpha is not the order of the operations' strengths (Fig. 1)"
    pictures = (("s2", "discretization_accuracy"),)
    table = evidence.table("s2", "discretization_accuracy")
    if table is None:
        return _missing(1, claim, pictures)
    images = evidence.validation_images("s2")
    edges = _edges(table)
    gaps = [max(row[TRUTH] for row in edge) - min(row[TRUTH] for row in edge) for edge in edges]
    clear = [edge for edge, gap in zip(edges, gaps, strict=True) if gap > 2 * _standard_error(edge, images)]
    numbers = (
        f"{len(edges)} random edges; the best and the worst operation differ by {100 * _mean(gaps):.1f} points on "
        f"average, and on {len(clear)} edges by more than two standard errors."
    )
    if len(clear) < FEWEST:
        return Judged(1, claim, "undecided", f"{numbers} These are too few to judge by.", pictures)
    hits = {name: sum(picked(edge, name) == picked(edge, TRUTH) for edge in clear) for name in ("alpha", "strength")}
    numbers += (
        f" Of these, the largest alpha names the best operation on {hits['alpha']}, perturbation on {hits['strength']}."
    )
    chance = _mean([1 / len(edge) for edge in clear])
    verdict: Verdict = "undecided"
    if hits["alpha"] <= chance * len(clear):
        verdict = "reproduced"
    elif _beats(chance, hits["alpha"], len(clear)):
        verdict = "not reproduced"
    return Judged(1, claim, verdict, numbers, pictures)


def skips_dominate(evidence: Evidence) -> Judged:
    """Claim 2. Reproduced: with every seed magnitude picks skips on more than half of the edges, perturbation on fewer.

    And the lead of skips is positive at the end and grows with the accuracy. Not reproduced: neither, with no seed.
    """
    claim = "Skip connections dominate alpha, the more the better the supernet; by strength they do not (Figs. 2, 3)"
    pictures = (("s2", "operation_strength"), ("s2", "skip_dominance"))
    operations, epochs = evidence.table("s2", "operation_strength"), evidence.table("s2", "skip_dominance")
    if operations is None or epochs is None:
        return _missing(2, claim, pictures)
    words: list[str] = []
    holds: list[bool] = []
    for seed, own in _by_seed(operations).items():
        edges = _edges(own)
        by = {name: sum(picked(edge, name) == SKIP for edge in edges) for name in ("alpha", "strength")}
        course = _by_seed(epochs)[seed]
        rank, lead = correlation(course) or 0.0, course[-1]["lead"]
        words.append(
            f"Seed {seed}: magnitude picks skip_connect on {by['alpha']} of {len(edges)} edges, perturbation on "
            f"{by['strength']}; the lead of skips ends at {lead:+.3f} and correlates with the accuracy by {rank:+.2f}."
        )
        holds += [by["alpha"] > len(edges) / 2 and by["alpha"] > by["strength"], rank > 0 and lead > 0]
    return Judged(2, claim, _all_or_none(holds), " ".join(words), pictures)


def skips_are_close(evidence: Evidence) -> Judged:
    """Claim 3. Reproduced: skips are nearer to `m*` than convolutions on more edges than chance would have it.

    And `alpha` prefers what the closed form prefers more often than chance. Not reproduced: skips are nearer on at most
    half of the edges.
    """
    claim = "Skips have a large alpha because they are close to the optimal feature map (Prop. 1)"
    pictures = (("s2", "optimal_alpha"),)
    table = evidence.table("s2", "optimal_alpha")
    if table is None:
        return _missing(3, claim, pictures)
    edges = _edges(table)
    close = sum(picked(edge, "optimal") == SKIP for edge in edges)
    agree = sum(picked(edge, "optimal") == picked(edge, "learned") for edge in edges)
    correlated = _mean([row["residual_correlation"] for row in table])
    numbers = (
        f"skip_connect is closest to m* on {close} of {len(edges)} edges; the learned alpha prefers what the closed "
        f"form prefers on {agree}. The residuals correlate by {correlated:+.2f}, where the closed form assumes 0."
    )
    verdict: Verdict = "undecided"
    if close <= len(edges) / 2:
        verdict = "not reproduced"
    elif _beats(0.5, close, len(edges)) and _beats(0.5, agree, len(edges)):
        verdict = "reproduced"
    return Judged(3, claim, verdict, numbers, pictures)


def perturbation_repairs(evidence: Evidence) -> Judged:
    """Claim 5. Reproduced: with every seed, in both spaces, perturbation's architecture is better than magnitude's.

    Not reproduced: with no seed. The accuracy on NAS-Bench-201 is the benchmark's own.
    """
    claim = "From one supernet, perturbation selects better architectures than magnitude (Alg. 1, Tables 2, 3)"
    pictures = (("s2", "cells"), ("nasbench201", "trajectory"))
    words: list[str] = []
    holds: list[bool] = []
    for space in ("s2", "nasbench201"):
        ours, theirs = (evidence.accuracy(space, "darts", name) for name in ("perturb", "magnitude"))
        holds += [gap > 0 for gap in differences(ours, theirs)]
        words.append(f"{space}: perturb {listed(ours)} %, magnitude {listed(theirs)} %")
    if not holds:
        return _missing(5, claim, pictures)
    return Judged(5, claim, _all_or_none(holds), "; ".join(words) + " (by seed).", pictures)


def alpha_is_not_needed(evidence: Evidence) -> Judged:
    """Claim 6. Reproduced: with every seed, perturbation on a fixed alpha is better than magnitude on a trained one.

    And in the course of the selection the supernet is better with perturbation than with PT-Mag. Not reproduced: none
    of that, with no seed.
    """
    claim = "It works without training alpha; PT-Mag, tuned alike, does worse (Table 4, Fig. 6)"
    pictures = (("s2", "selection_curve"),)
    words: list[str] = []
    holds: list[bool] = []
    for space in ("s2", "nasbench201"):
        ours, theirs = (
            evidence.accuracy(space, "fixed_alpha", "perturb"),
            evidence.accuracy(space, "darts", "magnitude"),
        )
        holds += [gap > 0 for gap in differences(ours, theirs)]
        words.append(f"{space}: fixed alpha and perturb {listed(ours)} %, magnitude {listed(theirs)} % (by seed)")
    for seed, own in _by_seed(evidence.table("s2", "selection_curve") or []).items():
        names = dict.fromkeys(row["selection"] for row in own)
        means = {name: _mean([row["val_accuracy"] for row in own if row["selection"] == name]) for name in names}
        holds.append(means["perturb"] > means["perturb_magnitude"])
        through = ", ".join(f"{name} {100 * value:.1f} %" for name, value in means.items())
        words.append(f"validation accuracy through the selection, seed {seed}: {through}")
    if not holds:
        return _missing(6, claim, pictures)
    return Judged(6, claim, _all_or_none(holds), "; ".join(words) + ".", pictures)


def _edges(table: Table) -> list[Table]:
    """Return the rows of every edge of every seed."""
    return [list(rows) for _, rows in groupby(table, key=lambda row: (row["seed"], row["cell"], row["edge"]))]


def _by_seed(table: Table) -> Mapping[int, Table]:
    return {seed: list(rows) for seed, rows in groupby(table, key=lambda row: row["seed"])}


def _standard_error(edge: Table, images: int) -> float:
    """Return the standard error of the difference of two accuracies of an edge, each on so many images."""
    level = _mean([row[TRUTH] for row in edge])
    return float((2 * level * (1 - level) / images) ** 0.5)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _all_or_none(holds: Sequence[bool]) -> Verdict:
    if all(holds):
        return "reproduced"
    return "undecided" if any(holds) else "not reproduced"


def _beats(chance: float, hits: int, of: int) -> bool:
    return bool(binomtest(hits, of, chance, alternative="greater").pvalue < LIKELY)


def _missing(number: int, claim: str, pictures: Pictures) -> Judged:
    needed = " and ".join(f"analysis={analysis} in {space}" for space, analysis in pictures)
    return Judged(number, claim, "undecided", f"Not measured: the runs for it, or {needed}, are not there.", ())


CLAIMS: tuple[Callable[[Evidence], Judged], ...] = (
    magnitude_is_not_strength,
    skips_dominate,
    skips_are_close,
    perturbation_repairs,
    alpha_is_not_needed,
)
