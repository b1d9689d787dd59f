"""What the selections of several runs have in common: operations, agreement, skips and accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from math import ceil
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr

from archselect.analysis.base import AnalysisContext, Measurer, Table, Tables
from archselect.analysis.selection_curve import LINES
from archselect.analysis.stats import edge_name, percent
from archselect.figures.style import WIDTH, add_legend, cell_title, fitting, new_figure, parts, styled
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.stage import StageResult
from archselect.results.summaries import RunResult

DROPPED = "dropped"
"""What an edge has that does not feed its node."""

Edges = Mapping[tuple[str, str], str]
"""(cell, edge) to operation, or `DROPPED`."""


@dataclass(frozen=True)
class Outcome:
    """What one run chose.

    Attributes:
        label: The selection, and before it what else differs between the runs, such as the search.
        supernet: Digest of the search stage: runs with the same one selected from the same supernet.
        genotype: The architecture as text.
        edges: What every edge has.
        result: The run's result.
    """

    label: str
    supernet: str
    genotype: str
    edges: Edges
    result: RunResult

    @property
    def skips(self) -> int:
        """How many edges have `skip_connect`."""
        return list(self.edges.values()).count("skip_connect")

    @property
    def judged(self) -> str:
        """How the accuracy was measured: accuracies are comparable where this is the same."""
        return f"{self.result.choices.evaluation} on {self.result.choices.data}"


def outcomes(runs: Sequence[FinishedRun]) -> list[Outcome]:
    """Return what each run chose; a result that is there twice, because a command was typed again, counts once."""
    results = [RunResult.from_summary(run.summary, run.folder) for run in runs]
    varying = [name for name in ("search", "data", "evaluation") if len({_of(one, name) for one in results}) > 1]
    found: dict[tuple[str, str], Outcome] = {}
    for run, result in zip(runs, results, strict=True):
        label = ", ".join(_of(result, name) for name in (*varying, "selection"))
        supernet = run.stage("search").folder.key.digest
        outcome = Outcome(label, supernet, str(run.genotype), edges_of(run.genotype, run.space), result)
        found.setdefault((label, result.folder), outcome)
    return sorted(found.values(), key=lambda outcome: (outcome.label, outcome.result.seed))


def edges_of(genotype: Genotype, space: Mapping[str, Mapping[str, Mapping[str, Sequence[Sequence[int]]]]]) -> Edges:
    """Return what every edge of a space has in an architecture.

    Args:
        genotype: The architecture.
        space: As `SearchSpace.describe` returns it.
    """
    chosen = {(cell.name, source, target): operation for cell in genotype for source, target, operation in cell.edges}
    return {
        (name, edge_name(edge)): chosen.get((name, edge[0], edge[1]), DROPPED)
        for name, cell in space["cells"].items()
        for edge in cell["edges"]
    }


def _of(result: RunResult, name: str) -> str:
    return str(getattr(result.choices, name))


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

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """See `Analysis.prepare`: nothing."""
        return {}

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
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


Rows = Sequence[Mapping[str, Any]]

# Lengths in inches.
_BOX, _ROW = 0.24, 0.15  # of a heat map: the narrowest box that holds "100", and its height
_NAMES, _CELL = 1.05, 0.3  # of the operations below a line of heat maps; of a cell's title
_BELOW, _LETTER = 1.7, 0.075  # of the agreement: without, and for each letter of, the names below it
_MAP = "Blues"


@styled
def draw_seeds(frequencies: Rows, agreement: Rows, accuracy: Rows) -> Figure:
    """Draw a heat map per selection and cell type; of several runs, the agreement, and accuracy against skips too.

    Args:
        frequencies: selection, cell, edge, operation, share of the runs, runs.
        agreement: one, other, share of the edges (None: no such pair of runs).
        accuracy: selection, skips, accuracy in percent or None, judged.
    """
    labels = list(dict.fromkeys(row["selection"] for row in frequencies))
    cells = list(dict.fromkeys(row["cell"] for row in frequencies))
    most = max(len(_distinct(frequencies, cell, "operation")) for cell in cells)
    per_row = min(len(labels), max(1, int((WIDTH - 0.7) / (_BOX * most + 0.1))))
    lines = ceil(len(labels) / per_row)
    heights = [_CELL + lines * (_NAMES + _ROW * max(3, len(_distinct(frequencies, cell, "edge")))) for cell in cells]
    several = len(accuracy) > 1
    below = [max(_BELOW, 1.0 + 0.16 * len(labels)) + _LETTER * max(map(len, labels))] if several else []
    title = f"What {len(accuracy)} runs chose (% of a selection's runs)" if several else "What one run chose"
    width = WIDTH if several else min(WIDTH, max(3.2, 1.2 + 0.45 * most))
    figure, body = new_figure(title, 0.4 + sum(heights) + sum(below), width)
    titles = [*(f"{cell_title(cell)}: edges (source,target)" for cell in cells), *([""] if several else [])]
    for part, cell in zip(found := parts(body, titles, [*heights, *below]), cells, strict=False):
        _draw_cell(part, [row for row in frequencies if row["cell"] == cell], labels, (lines, per_row), several)
    if several:
        left, right = found[-1].subplots(1, 2)
        _draw_agreement(left, agreement, labels)
        _draw_accuracy(right, accuracy, labels)
        if right.lines:
            add_legend(found[-1], right.lines)
    return figure


def _distinct(rows: Rows, cell: str, column: str) -> list[str]:
    return list(dict.fromkeys(row[column] for row in rows if row["cell"] == cell))


def _draw_cell(figure: SubFigure, rows: Rows, labels: Sequence[str], shape: tuple[int, int], several: bool) -> None:
    """Draw a map per selection, with a box per edge and operation; what an edge does not offer stays grey."""
    operations = list(dict.fromkeys(row["operation"] for row in rows))
    edges = list(dict.fromkeys(row["edge"] for row in rows))
    panels = figure.subplots(*shape, sharey=True, squeeze=False)
    for axes, label in zip(panels.ravel(), labels, strict=False):
        own = [row for row in rows if row["selection"] == label]
        shares = np.full((len(edges), len(operations)), np.nan)
        for row in own:
            shares[edges.index(row["edge"]), operations.index(row["operation"])] = 100 * row["share"]
        _draw_boxes(axes, shares, 6, numbers=several)
        heading = f"{label} (n = {own[0]['runs']})" if several else label
        axes.set_title(heading, fontsize=fitting(heading, 0.8 * WIDTH / shape[1]))
        axes.set_xticks(range(len(operations)), operations, rotation=90)
        axes.set_yticks(range(len(edges)), edges)
    for axes in panels.ravel()[len(labels) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("edge")


def _draw_boxes(axes: Axes, percents: Any, size: float, numbers: bool = True) -> None:
    axes.set_facecolor("0.9")
    axes.imshow(percents, cmap=_MAP, vmin=0, vmax=100, aspect="auto")
    for (y, x), value in np.ndenumerate(percents):
        if numbers and value > 0:
            colour = "white" if value > 60 else "0.1"
            axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=size, color=colour)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _draw_agreement(axes: Axes, rows: Rows, labels: Sequence[str]) -> None:
    shares = np.full((len(labels), len(labels)), np.nan)
    for row in rows:
        at = labels.index(row["one"]), labels.index(row["other"])
        shares[at] = shares[at[::-1]] = np.nan if row["share"] is None else 100 * row["share"]
    _draw_boxes(axes, shares, 7)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_title("Edges with the same operation (%)", fontweight="bold", pad=16)
    note = "off the diagonal: runs from one supernet; on it: different ones"
    axes.annotate(note, (0, 1), (0, 4), "axes fraction", "offset points", fontsize=6.5, color="0.3")


def _draw_accuracy(axes: Axes, rows: Rows, labels: Sequence[str]) -> None:
    axes.set_title("Accuracy against skips", fontweight="bold", pad=16)
    known = [row for row in rows if row["accuracy"] is not None]
    if not known:
        axes.text(0.5, 0.5, "nothing was evaluated", ha="center", va="center", color="0.4", transform=axes.transAxes)
    for index, label in enumerate(labels):
        colour, _, marker = LINES[index % len(LINES)]
        own = [row for row in known if row["selection"] == label]
        if own:
            skips, accuracies = [row["skips"] for row in own], [row["accuracy"] for row in own]
            face = colour if index < len(LINES) else "none"  # so that no two look alike
            axes.plot(skips, accuracies, marker, color=colour, mfc=face, markersize=5.5, alpha=0.8, label=label)
    axes.set(xlabel="skip connections in the architecture", ylabel="test accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.08)
