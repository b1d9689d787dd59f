"""The paper's claims, each with its rule, and the verdicts as a section of a Markdown file.

    python -m archselect.analysis.claims logs/paper/runs --into RESULTS.md --pictures docs/paper

What stands between the section's two marks is replaced; the rest of the file stays as it is. A verdict is `reproduced`,
`not reproduced`, or `undecided` where the numbers allow neither. A few runs of one setting are a small sample, so a
claim about accuracies has to hold for every seed to count.
"""

import argparse
import csv
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.markup import escape
from scipy.stats import binomtest

from archselect.analysis.base import Table, check_accuracy
from archselect.analysis.discretization_accuracy import GROUND_TRUTH
from archselect.analysis.shuffle import kept
from archselect.analysis.skip_dominance import correlation
from archselect.analysis.stats import SKIP, edges_of, mean, picked, rows_by
from archselect.pipeline.finished_run import FinishedRun, open_run
from archselect.results.formatting import markdown_table
from archselect.results.summaries import RunResult
from archselect.safe_io.files import JSON_BYTES, PICTURE_BYTES, checked, read_text
from archselect.store import write_text
from archselect.store.redact_paths import find_runs

FEWEST = 4  # edges that a verdict on single edges rests on
LIKELY = 0.05  # below this probability chance is no explanation
_BOTH = ("alpha", "strength")


@dataclass(frozen=True)
class Evidence:
    """The runs below a folder such as `logs/paper/runs`, one per set of choices and seed."""

    folder: Path

    @cached_property
    def runs(self) -> Mapping[tuple[str, str, str, int], FinishedRun]:
        """(space, search, selection, seed) -> the run, in this order."""
        found: dict[tuple[str, str, str, int], FinishedRun] = {}
        for path in find_runs(self.folder):
            run = open_run(path)
            check_accuracy(
                "python -m archselect.analysis.claims", "judges what the paper claims of classification", [run]
            )
            space, search, selection = (str(run.summary[name]) for name in ("search_space", "search", "selection"))
            key = (space, search, selection, int(run.summary["seed"]))
            if key in found:
                raise ValueError(
                    f"{self.folder} holds two runs of {', '.join(map(str, key))}: {found[key].folder} and {path}. "
                    "Name a folder with the runs of one setting."
                )
            found[key] = run
        return dict(sorted(found.items()))

    def accuracy(self, space: str, search: str, selection: str) -> dict[int, float]:
        """Return the test accuracy in percent of every seed: retrained, or on CIFAR-10 in the table."""
        return {
            seed: accuracy
            for (*choices, seed), run in self.runs.items()
            if choices == [space, search, selection]
            and (accuracy := RunResult.from_summary(run.summary, run.folder).value) is not None
        }

    def table(self, space: str, analysis: str) -> Table:
        """Return the main table of an analysis, where it was made, of all supernets that `darts` trained, by `seed`."""
        return [
            {name: _value(value) for name, value in row.items()} | {"seed": seed}
            for seed, folder in self._folders(space, analysis).items()
            for row in csv.DictReader(read_text(folder / f"{analysis}.csv", folder, JSON_BYTES).splitlines())
        ]

    def picture(self, space: str, analysis: str) -> Path | None:
        """Return the picture of an analysis, of the first seed that has it."""
        folder = next(iter(self._folders(space, analysis).values()), None)
        return folder and checked(folder / f"{analysis}.png", folder, PICTURE_BYTES)

    def _folders(self, space: str, analysis: str) -> dict[int, Path]:
        made: dict[int, Path] = {}
        for (*choices, _, seed), run in self.runs.items():
            folder = run.folder / "analyses" / analysis
            if choices == [space, "darts"] and (folder / f"{analysis}.png").exists():
                made.setdefault(seed, folder)
        return made

    def validation_images(self, space: str) -> int:
        """Return how many images the supernets of a space are validated on: those that train `alpha`."""
        parts = next(run.parts for (of, *_), run in self.runs.items() if of == space)
        return round(len(parts.data.train.labels) * (1 - parts.search.weight_share))

    def sizes(self) -> str:
        """Return in words what was run."""
        groups: dict[str, list[str]] = {}
        for *choices, seed in self.runs:
            groups.setdefault(", ".join(choices), []).append(str(seed))
        return "; ".join(f"{name} (seeds {', '.join(seeds)})" for name, seeds in groups.items())


def _value(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text or None


Verdict = Literal["reproduced", "not reproduced", "undecided"]
Rule = Callable[[Evidence], tuple[Verdict, str] | None]
"""Returns the verdict and the numbers that it rests on, in sentences; None where something was not measured."""


class ClaimResult(NamedTuple):
    """A claim in a sentence and what became of it; (space, analysis) of the pictures that show it."""

    claim: str
    verdict: Verdict
    numbers: str
    pictures: Sequence[tuple[str, str]]


CLAIMS: list[Callable[[Evidence], ClaimResult]] = []
"""What judges each, in the paper's order."""


def claim(text: str, *pictures: tuple[str, str]) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a rule the judge of the next claim."""

    def register(rule: Rule) -> Rule:
        def judge(evidence: Evidence) -> ClaimResult:
            if (found := rule(evidence)) is not None:
                return ClaimResult(text, *found, pictures)
            needed = " and ".join(f"analysis={analysis} in {space}" for space, analysis in pictures)
            words = f"Not measured: the runs for it, or {needed}, are not there."
            return ClaimResult(text, "undecided", words, ())

        CLAIMS.append(judge)
        return rule

    return register


@claim("The order of alpha is not the order of the operations' strengths (Fig. 1)", ("s2", "discretization_accuracy"))
def magnitude_is_not_strength(evidence: Evidence) -> tuple[Verdict, str] | None:
    """Reproduced: where one operation is clearly better, the larger `alpha` names it no better than chance.

    An edge counts where the best and the worst operation differ by more than two binomial standard errors of the
    accuracy. Not reproduced: `alpha` does better than chance, by a binomial test.
    """
    if not (edges := edges_of(evidence.table("s2", "discretization_accuracy"))):
        return None
    accuracies = [[row[GROUND_TRUTH] for row in edge] for edge in edges]
    gaps = [max(own) - min(own) for own in accuracies]
    images = evidence.validation_images("s2")
    errors = [(2 * mean(own) * (1 - mean(own)) / images) ** 0.5 for own in accuracies]  # of a difference
    clear = [edge for edge, gap, error in zip(edges, gaps, errors, strict=True) if gap > 2 * error]
    numbers = (
        f"{len(edges)} random edges; the best and the worst operation differ by {100 * mean(gaps):.1f} points on "
        f"average, and on {len(clear)} edges by more than two standard errors."
    )
    if len(clear) < FEWEST:
        return "undecided", f"{numbers} These are too few to judge by."
    alpha, strength = (sum(picked(edge, name) == picked(edge, GROUND_TRUTH) for edge in clear) for name in _BOTH)
    numbers += f" Of these, the largest alpha names the best operation on {alpha}, perturbation on {strength}."
    chance = mean(1 / len(edge) for edge in clear)
    if alpha <= chance * len(clear):
        return "reproduced", numbers
    return "not reproduced" if _beats(chance, alpha, len(clear)) else "undecided", numbers


@claim(
    "Skip connections dominate alpha, the more the better the supernet; by strength they do not (Figs. 2, 3)",
    ("s2", "operation_strength"),
    ("s2", "skip_dominance"),
)
def skips_dominate(evidence: Evidence) -> tuple[Verdict, str] | None:
    """Reproduced: with every seed magnitude picks skips on more than half of the edges, perturbation on fewer.

    And the lead of skips is positive at the end and grows with the accuracy. Not reproduced: neither, with no seed.
    """
    operations, epochs = (evidence.table("s2", name) for name in ("operation_strength", "skip_dominance"))
    if not operations or not epochs:
        return None
    courses = dict(rows_by(epochs, "seed"))
    words: list[str] = []
    holds: list[bool] = []
    for seed, own in rows_by(operations, "seed"):
        edges = edges_of(own)
        alpha, strength = (sum(picked(edge, name) == SKIP for edge in edges) for name in _BOTH)
        rank, lead = correlation(courses[seed]) or 0.0, courses[seed][-1]["lead"]
        words.append(
            f"Seed {seed}: magnitude picks skip_connect on {alpha} of {len(edges)} edges, perturbation on "
            f"{strength}; the lead of skips ends at {lead:+.3f} and correlates with the accuracy by {rank:+.2f}."
        )
        holds += [alpha > len(edges) / 2 and alpha > strength, rank > 0 and lead > 0]
    return _all_or_none(holds), " ".join(words)


@claim("Skips have a large alpha because they are close to the optimal feature map (Prop. 1)", ("s2", "optimal_alpha"))
def skips_are_close(evidence: Evidence) -> tuple[Verdict, str] | None:
    """Reproduced: skips are nearer to `m*` than convolutions on more edges than chance would have it.

    And `alpha` prefers what the closed form prefers more often than chance. Not reproduced: skips are nearer on at most
    half of the edges.
    """
    if not (edges := edges_of(evidence.table("s2", "optimal_alpha"))):
        return None
    close = sum(picked(edge, "optimal") == SKIP for edge in edges)
    agree = sum(picked(edge, "optimal") == picked(edge, "learned") for edge in edges)
    correlated = mean(row["residual_correlation"] for edge in edges for row in edge)
    numbers = (
        f"skip_connect is closest to m* on {close} of {len(edges)} edges; the learned alpha prefers what the closed "
        f"form prefers on {agree}. The residuals correlate by {correlated:+.2f}, where the closed form assumes 0."
    )
    if close <= len(edges) / 2:
        return "not reproduced", numbers
    likely = _beats(0.5, close, len(edges)) and _beats(0.5, agree, len(edges))
    return "reproduced" if likely else "undecided", numbers


@claim("A supernet, like a ResNet and unlike a VGG, bears that its parts change places (Table 1)", ("s2", "shuffle"))
def supernets_unroll(evidence: Evidence) -> tuple[Verdict, str] | None:
    """Reproduced: shuffled, a VGG keeps less than a quarter of what it has above chance, the others over half.

    Not reproduced: the supernet keeps no more than the VGG. Undecided also where a network barely beats chance before.
    """
    if not (table := evidence.table("s2", "shuffle")):
        return None
    draws = dict(rows_by(table, "network"))
    words = []
    for network, rows in draws.items():
        before, after = (100 * mean(row[name] for row in rows) for name in ("before", "after"))
        words.append(f"{network} {before:.1f} % before, {after:.1f} % after")
    numbers = f"Test accuracy: {'; '.join(words)} (mean of {len(table) // len(draws)} draws)."
    vgg, resnet, supernet = (kept(draws[network]) for network in ("vgg", "resnet", "supernet"))
    if vgg is None or resnet is None or supernet is None:
        return "undecided", numbers
    if vgg < 0.25 and min(resnet, supernet) > 0.5:
        return "reproduced", numbers
    return "not reproduced" if supernet <= vgg else "undecided", numbers


@claim(
    "From one supernet, perturbation selects better architectures than magnitude (Alg. 1, Tables 2, 3)",
    ("s2", "cells"),
    ("nasbench201", "trajectory"),
)
def perturbation_repairs(evidence: Evidence) -> tuple[Verdict, str] | None:
    """Reproduced: with every seed, in both spaces, perturbation's architecture is better than magnitude's.

    Not reproduced: with no seed. The accuracy on NAS-Bench-201 is the benchmark's own.
    """
    words, holds = _beside_magnitude(evidence, "darts", "perturb")
    return (_all_or_none(holds), "; ".join(words) + " (by seed).") if holds else None


@claim("It works without training alpha; PT-Mag, tuned alike, does worse (Table 4, Fig. 6)", ("s2", "selection_curve"))
def alpha_is_not_needed(evidence: Evidence) -> tuple[Verdict, str] | None:
    """Reproduced: with every seed, perturbation on a fixed alpha is better than magnitude on a trained one.

    And in the course of the selection the supernet is better with perturbation than with PT-Mag. Not reproduced: none
    of that, with no seed.
    """
    words, holds = _beside_magnitude(evidence, "fixed_alpha", "fixed alpha and perturb")
    words = [f"{one} (by seed)" for one in words]
    for seed, own in rows_by(evidence.table("s2", "selection_curve"), "seed"):
        means = {name: mean(row["val_accuracy"] for row in rows) for name, rows in rows_by(own, "selection")}
        holds.append(means["perturb"] > means["perturb_magnitude"])
        through = ", ".join(f"{name} {100 * value:.1f} %" for name, value in means.items())
        words.append(f"validation accuracy through the selection, seed {seed}: {through}")
    return (_all_or_none(holds), "; ".join(words) + ".") if holds else None


def _beats(chance: float, hits: int, of: int) -> bool:
    """Return whether there are more hits than chance would have it, by a binomial test."""
    return bool(binomtest(hits, of, chance, alternative="greater").pvalue < LIKELY)


def _all_or_none(holds: Sequence[bool]) -> Verdict:
    """Return the verdict on a claim that holds everywhere, nowhere, or here and there."""
    return "reproduced" if all(holds) else "undecided" if any(holds) else "not reproduced"


def _beside_magnitude(evidence: Evidence, search: str, name: str) -> tuple[list[str], list[bool]]:
    """Return the accuracies of perturbation and of magnitude in words, and of each seed whether the first is larger."""
    words: list[str] = []
    holds: list[bool] = []
    for space in ("s2", "nasbench201"):
        both = evidence.accuracy(space, search, "perturb"), evidence.accuracy(space, "darts", "magnitude")
        ours, theirs = (" / ".join(f"{value:.2f}" for value in one.values()) for one in both)
        words.append(f"{space}: {name} {ours} %, magnitude {theirs} %")
        holds += [both[0][seed] > both[1][seed] for seed in both[0].keys() & both[1].keys()]
    return words, holds


BEGIN, END = "<!-- claims: begin -->", "<!-- claims: end -->"


def section(results: Sequence[ClaimResult], evidence: Evidence, pictures: Path, beside: Path) -> str:
    """Return the section, whose links start from the folder `beside`, and copy the pictures that it shows."""
    rows, links = [], []
    for number, one in enumerate(results, start=1):
        rows.append((number, one.claim, f"**{one.verdict}**", one.numbers))
        for space, analysis in one.pictures:
            if (picture := evidence.picture(space, analysis)) is not None:
                pictures.mkdir(parents=True, exist_ok=True)
                copy = shutil.copyfile(picture, pictures / f"{space}_{analysis}.png")
                links.append(f"![Claim {number}: analysis {analysis} in {space}]({os.path.relpath(copy, beside)})")
    table = markdown_table(("", "claim", "verdict", "numbers"), rows)
    return "\n\n".join([table, f"Runs: {evidence.sizes()}.", *links])


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
        results = [judge(evidence) for judge in CLAIMS]
        for number, one in enumerate(results, start=1):
            console.print(f"{number}. {escape(one.claim)}: [bold]{one.verdict}[/]. {escape(one.numbers)}")
        if options.into is not None:
            text = options.into.read_text(encoding="utf-8")
            replaced(text, "")  # before any picture is copied
            new = replaced(text, section(results, evidence, options.pictures, options.into.parent))
            write_text(options.into, new)
            console.print(f"Written: {options.into}", markup=False, soft_wrap=True)
    except (OSError, ValueError) as error:
        errors.print(escape(str(error)), style="red")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
