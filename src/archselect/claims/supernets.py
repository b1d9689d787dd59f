"""The paper's claims about supernets (1 to 4), each with its rule."""

from archselect.analysis.discretization_accuracy import TRUTH
from archselect.analysis.operation_strength import picked
from archselect.analysis.shuffle import kept
from archselect.analysis.skip_dominance import correlation
from archselect.claims.evidence import Evidence
from archselect.claims.verdict import (
    Judged,
    Verdict,
    all_or_none,
    beats,
    by_seed,
    every_edge,
    mean,
    missing,
    standard_error,
)

FEWEST = 4
"""Edges that a verdict on single edges rests on, at least."""

SKIP = "skip_connect"


def magnitude_is_not_strength(evidence: Evidence) -> Judged:
    """Claim 1. Reproduced: where one operation is clearly better, the larger `alpha` names it no better than chance.

    An edge counts where the best and the worst operation differ by more than two binomial standard errors of the
    accuracy. Not reproduced: `alpha` does better than chance, by a binomial test.
    """
    claim = "The order of alpha is not the order of the operations' strengths (Fig. 1)"
    pictures = (("s2", "discretization_accuracy"),)
    table = evidence.table("s2", "discretization_accuracy")
    if table is None:
        return missing(1, claim, pictures)
    images = evidence.validation_images("s2")
    edges = every_edge(table)
    gaps = [max(row[TRUTH] for row in edge) - min(row[TRUTH] for row in edge) for edge in edges]
    clear = [edge for edge, gap in zip(edges, gaps, strict=True) if gap > 2 * standard_error(edge, images)]
    numbers = (
        f"{len(edges)} random edges; the best and the worst operation differ by {100 * mean(gaps):.1f} points on "
        f"average, and on {len(clear)} edges by more than two standard errors."
    )
    if len(clear) < FEWEST:
        return Judged(1, claim, "undecided", f"{numbers} These are too few to judge by.", pictures)
    hits = {name: sum(picked(edge, name) == picked(edge, TRUTH) for edge in clear) for name in ("alpha", "strength")}
    numbers += (
        f" Of these, the largest alpha names the best operation on {hits['alpha']}, perturbation on {hits['strength']}."
    )
    chance = mean([1 / len(edge) for edge in clear])
    verdict: Verdict = "undecided"
    if hits["alpha"] <= chance * len(clear):
        verdict = "reproduced"
    elif beats(chance, hits["alpha"], len(clear)):
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
        return missing(2, claim, pictures)
    words: list[str] = []
    holds: list[bool] = []
    for seed, own in by_seed(operations).items():
        edges = every_edge(own)
        by = {name: sum(picked(edge, name) == SKIP for edge in edges) for name in ("alpha", "strength")}
        course = by_seed(epochs)[seed]
        rank, lead = correlation(course) or 0.0, course[-1]["lead"]
        words.append(
            f"Seed {seed}: magnitude picks skip_connect on {by['alpha']} of {len(edges)} edges, perturbation on "
            f"{by['strength']}; the lead of skips ends at {lead:+.3f} and correlates with the accuracy by {rank:+.2f}."
        )
        holds += [by["alpha"] > len(edges) / 2 and by["alpha"] > by["strength"], rank > 0 and lead > 0]
    return Judged(2, claim, all_or_none(holds), " ".join(words), pictures)


def skips_are_close(evidence: Evidence) -> Judged:
    """Claim 3. Reproduced: skips are nearer to `m*` than convolutions on more edges than chance would have it.

    And `alpha` prefers what the closed form prefers more often than chance. Not reproduced: skips are nearer on at most
    half of the edges.
    """
    claim = "Skips have a large alpha because they are close to the optimal feature map (Prop. 1)"
    pictures = (("s2", "optimal_alpha"),)
    table = evidence.table("s2", "optimal_alpha")
    if table is None:
        return missing(3, claim, pictures)
    edges = every_edge(table)
    close = sum(picked(edge, "optimal") == SKIP for edge in edges)
    agree = sum(picked(edge, "optimal") == picked(edge, "learned") for edge in edges)
    correlated = mean([row["residual_correlation"] for row in table])
    numbers = (
        f"skip_connect is closest to m* on {close} of {len(edges)} edges; the learned alpha prefers what the closed "
        f"form prefers on {agree}. The residuals correlate by {correlated:+.2f}, where the closed form assumes 0."
    )
    verdict: Verdict = "undecided"
    if close <= len(edges) / 2:
        verdict = "not reproduced"
    elif beats(0.5, close, len(edges)) and beats(0.5, agree, len(edges)):
        verdict = "reproduced"
    return Judged(3, claim, verdict, numbers, pictures)


def supernets_unroll(evidence: Evidence) -> Judged:
    """Claim 4. Reproduced: shuffled, a VGG keeps less than a quarter of what it has above chance, the others over half.

    Not reproduced: the supernet keeps no more than the VGG. Undecided also where a network barely beats chance before.
    """
    claim = "A supernet, like a ResNet and unlike a VGG, bears that its parts change places (Table 1)"
    pictures = (("s2", "shuffle"),)
    table = evidence.table("s2", "shuffle")
    if table is None:
        return missing(4, claim, pictures)
    left = {}
    words = []
    for network in dict.fromkeys(row["network"] for row in table):
        rows = [row for row in table if row["network"] == network]
        left[network] = kept(rows)
        after = 100 * mean([row["after"] for row in rows])
        words.append(f"{network} {100 * mean([row['before'] for row in rows]):.1f} % before, {after:.1f} % after")
    numbers = f"Test accuracy: {'; '.join(words)} (mean of {len(table) // len(left)} draws)."
    verdict: Verdict = "undecided"
    vgg, resnet, supernet = (left[network] for network in ("vgg", "resnet", "supernet"))
    if vgg is not None and resnet is not None and supernet is not None:
        if vgg < 0.25 and min(resnet, supernet) > 0.5:
            verdict = "reproduced"
        elif supernet <= vgg:
            verdict = "not reproduced"
    return Judged(4, claim, verdict, numbers, pictures)
