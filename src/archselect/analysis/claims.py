"""The paper's claims, each with its rule, and the verdicts as a section of a Markdown file.

    python -m archselect.analysis.claims logs/paper/runs --into RESULTS.md --pictures docs/paper

What stands between the section's two marks is replaced; the rest of the file stays as it is.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from archselect.analysis.discretization_accuracy import TRUTH
from archselect.analysis.evidence import (
    ClaimResult,
    Evidence,
    Verdict,
    all_or_none,
    beats,
    by_seed,
    differences,
    every_edge,
    listed,
    mean,
    missing,
    standard_error,
)
from archselect.analysis.operation_strength import picked
from archselect.analysis.shuffle import kept
from archselect.analysis.skip_dominance import correlation
from archselect.store import atomic_write

FEWEST = 4
"""Edges that a verdict on single edges rests on, at least."""

SKIP = "skip_connect"


def magnitude_is_not_strength(evidence: Evidence) -> ClaimResult:
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
        return ClaimResult(1, claim, "undecided", f"{numbers} These are too few to judge by.", pictures)
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
    return ClaimResult(1, claim, verdict, numbers, pictures)


def skips_dominate(evidence: Evidence) -> ClaimResult:
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
    return ClaimResult(2, claim, all_or_none(holds), " ".join(words), pictures)


def skips_are_close(evidence: Evidence) -> ClaimResult:
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
    return ClaimResult(3, claim, verdict, numbers, pictures)


def supernets_unroll(evidence: Evidence) -> ClaimResult:
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
    return ClaimResult(4, claim, verdict, numbers, pictures)


def perturbation_repairs(evidence: Evidence) -> ClaimResult:
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
        return missing(5, claim, pictures)
    return ClaimResult(5, claim, all_or_none(holds), "; ".join(words) + " (by seed).", pictures)


def alpha_is_not_needed(evidence: Evidence) -> ClaimResult:
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
    for seed, own in by_seed(evidence.table("s2", "selection_curve") or []).items():
        names = dict.fromkeys(row["selection"] for row in own)
        means = {name: mean([row["val_accuracy"] for row in own if row["selection"] == name]) for name in names}
        holds.append(means["perturb"] > means["perturb_magnitude"])
        through = ", ".join(f"{name} {100 * value:.1f} %" for name, value in means.items())
        words.append(f"validation accuracy through the selection, seed {seed}: {through}")
    if not holds:
        return missing(6, claim, pictures)
    return ClaimResult(6, claim, all_or_none(holds), "; ".join(words) + ".", pictures)


CLAIMS: tuple[Callable[[Evidence], ClaimResult], ...] = (
    magnitude_is_not_strength,
    skips_dominate,
    skips_are_close,
    supernets_unroll,
    perturbation_repairs,
    alpha_is_not_needed,
)

BEGIN, END = "<!-- claims: begin -->", "<!-- claims: end -->"


def section(judged: Sequence[ClaimResult], evidence: Evidence, pictures: Path, beside: Path) -> str:
    """Return the section, and copy the pictures that it shows.

    Args:
        judged: The verdicts.
        evidence: What they rest on.
        pictures: The folder that the pictures go to.
        beside: The folder that the section's links start from.
    """
    lines = ["| | claim | verdict | numbers |", "|---|---|---|---|"]
    lines += [f"| {one.number} | {one.claim} | **{one.verdict}** | {one.numbers} |" for one in judged]
    lines += ["", f"Runs: {evidence.sizes()}.", ""]
    shown: dict[tuple[str, str], int] = {}
    for one in judged:
        for place in one.pictures:
            shown.setdefault(place, one.number)
    for (space, analysis), number in shown.items():
        picture = evidence.picture(space, analysis)
        if picture is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            copy = pictures / f"{space}_{analysis}.png"
            shutil.copyfile(picture, copy)
            lines += [f"![Claim {number}: analysis {analysis} in {space}]({os.path.relpath(copy, beside)})", ""]
    return "\n".join(lines)


def replaced(text: str, new: str) -> str:
    """Return a text with what stands between the marks replaced.

    Raises:
        ValueError: The text has not exactly one pair of marks.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(
            f"The file must have the marks {BEGIN} and {END} once, in this order, where the section belongs."
        )
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n\n{new.strip()}\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.analysis.claims",
        description="Judge the paper's claims by finished runs and their analyses.",
    )
    parser.add_argument("folder", type=Path, help="holds the runs, one per setting and seed, e.g. logs/paper/runs")
    parser.add_argument("--into", type=Path, help="a Markdown file with the section's two marks")
    parser.add_argument("--pictures", type=Path, default=Path("docs/paper"), help="where pictures go (%(default)s)")
    options = parser.parse_args(arguments)
    console, errors = Console(highlight=False), Console(stderr=True)
    try:
        evidence = Evidence(options.folder)
        judged = [judge(evidence) for judge in CLAIMS]
        for one in judged:
            console.print(f"{one.number}. {escape(one.claim)}: [bold]{one.verdict}[/]. {escape(one.numbers)}")
        if options.into is not None:
            text = options.into.read_text(encoding="utf-8")
            replaced(text, "")  # before any picture is copied
            new = replaced(text, section(judged, evidence, options.pictures, options.into.parent))
            with atomic_write(options.into) as file:
                file.write(new.encode())
            console.print(f"Written: {options.into}", markup=False)
    except (OSError, ValueError) as error:
        errors.print(escape(str(error)), style="red")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
