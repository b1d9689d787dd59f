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

from archselect.analysis.base import Analysis, Measurer, Table, Tables
from archselect.analysis.stats import SKIP, distinct, mean, percent, plural, spearman
from archselect.figures.style import (
    WIDTH,
    Rows,
    add_legend,
    cell_title,
    edge_name,
    fitting_size,
    new_figure,
    parts,
    selection_styles,
    styled,
)
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.stage import StageResult
from archselect.results.summaries import RunResult

DROPPED = "dropped"
"""What an edge has that does not feed its node."""

Edges = Mapping[tuple[str, str], str]
"""(cell, edge) to operation, or `DROPPED`."""

ONE_SUPERNET, OTHER_SUPERNETS = "one supernet", "different supernets"


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
    def row(self) -> dict[str, Any]:
        """What the table of runs says of it; accuracies are comparable where `judged` is the same."""
        choices, accuracy = self.result.choices, self.result.accuracy
        return {
            "selection": self.label,
            "seed": self.result.seed,
            "supernet": self.supernet,
            "skips": list(self.edges.values()).count(SKIP),
            "accuracy": accuracy,
            "judged": None if accuracy is None else f"{choices.evaluation} on {choices.data}",
            "genotype": self.genotype,
        }


@dataclass(frozen=True)
class Seeds(Analysis):
    """Compare what several runs in one search space chose."""

    name: str = "seeds"
    multi_run: ClassVar[bool] = True

    def check(self, runs: Sequence[FinishedRun]) -> None:
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

    def measure(self, measurer: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return how often edges got operations, how far selections agree, and a row per run."""
        found = outcomes(measurer.context.runs)
        return {
            "accuracy": [outcome.row for outcome in found],
            "frequencies": frequencies(found, measurer.run.space),
            "agreement": agreement(found),
        }

    @styled
    def draw(self, tables: Tables) -> Figure:
        """Draw a heat map per selection and cell type; of several runs, the agreement, and accuracy against skips."""
        rows, accuracy = tables["frequencies"], tables["accuracy"]
        labels, cells = distinct(rows, "selection"), distinct(rows, "cell")
        by_cell = {cell: [row for row in rows if row["cell"] == cell] for cell in cells}
        most = max(len(distinct(own, "operation")) for own in by_cell.values())
        columns = min(len(labels), max(1, int((WIDTH - 0.7) / (0.24 * most + 0.1))))  # "100" fits into 0.24 inches
        lines = ceil(len(labels) / columns)
        heights = [0.3 + lines * (1.05 + 0.15 * max(3, len(distinct(own, "edge")))) for own in by_cell.values()]
        titles = [f"{cell_title(cell)}: edges (source,target)" for cell in cells]
        title, width = "What one run chose", min(WIDTH, max(3.2, 1.2 + 0.45 * most))
        if several := len(accuracy) > 1:
            title, width = f"What {len(accuracy)} runs chose (% of a selection's runs)", WIDTH
            heights.append(max(1.7, 1.0 + 0.16 * len(labels)) + 0.075 * max(map(len, labels)))
            titles.append("")
        figure, body = new_figure(title, 0.4 + sum(heights), width)
        bodies = parts(body, titles, heights)
        for part, own in zip(bodies, by_cell.values(), strict=False):
            _draw_cell(part, own, labels, (lines, columns), numbers=several)
        if several:
            left, right = bodies[-1].subplots(1, 2)
            _draw_agreement(left, tables["agreement"], labels)
            _draw_accuracy(right, accuracy, labels)
            if right.lines:
                add_legend(bodies[-1], right.lines)
        return figure

    def summary(self, tables: Tables) -> str:
        rows = tables["accuracy"]
        words = []
        for label in distinct(rows, "selection"):
            own = [row for row in rows if row["selection"] == label]
            repeated = len(distinct(own, "seed")) < len(own)
            mixed = " (a seed occurs more than once: they differ in other options)" if repeated else ""
            skips = mean(row["skips"] for row in own)
            words.append(f"{label}: {plural(len(own), 'run')}{mixed}, {skips:.1f} skips on average.")
        for row in tables["agreement"]:
            if row["share"] is not None:
                one, other = row["one"], row["other"]
                who = f"{one} agrees with itself" if one == other else f"{one} and {other} agree"
                pairs = f"{plural(row['pairs'], 'pair')} of runs from {row['given']}"
                words.append(f"{who} on {percent(row['share'], 0)} of the edges ({pairs}).")
        for judged in distinct((row for row in rows if row["judged"] is not None), "judged"):
            own = [row for row in rows if row["judged"] == judged]
            rank = spearman([row["skips"] for row in own], [row["accuracy"] for row in own])
            words.append(
                f"Spearman's correlation of the number of skips with test accuracy ({judged}) is "
                f"{'not defined' if rank is None else format(rank, '+.2f')}, n = {len(own)}."
            )
        if all(row["judged"] is None for row in rows):
            words.append("No run evaluated what it chose, so nothing is said of accuracy.")
        return " ".join(words)


def outcomes(runs: Sequence[FinishedRun]) -> list[Outcome]:
    """Return what each run chose; a result that is there twice, because a command was typed again, counts once."""
    results = [RunResult.from_summary(run.summary, run.folder) for run in runs]
    choices = [result.choices._asdict() for result in results]
    varying = [name for name in ("search", "data", "evaluation") if len({one[name] for one in choices}) > 1]
    found: dict[tuple[str, str], Outcome] = {}
    for run, result, chosen in zip(runs, results, choices, strict=True):
        label = ", ".join(str(chosen[name]) for name in (*varying, "selection"))
        supernet = run.stage("search").folder.key.digest
        outcome = Outcome(label, supernet, str(run.genotype), edges_of(run.genotype, run.space), result)
        found.setdefault((label, result.folder), outcome)
    return sorted(found.values(), key=lambda outcome: (outcome.label, outcome.result.seed))


def edges_of(genotype: Genotype, space: Mapping[str, Any]) -> Edges:
    """Return what every edge of a space, described by `SearchSpace.describe`, has in an architecture."""
    chosen = {(cell.name, source, target): operation for cell in genotype for source, target, operation in cell.edges}
    return {
        (name, edge_name(edge)): chosen.get((name, edge[0], edge[1]), DROPPED)
        for name, cell in space["cells"].items()
        for edge in cell["edges"]
    }


def frequencies(found: Sequence[Outcome], space: Mapping[str, Any]) -> Table:
    """Return per selection, edge and operation (or `DROPPED`, where it may be) the share of runs that chose it."""
    rows = []
    dropped = [DROPPED] if any(DROPPED in outcome.edges.values() for outcome in found) else []
    candidates = [names for cell in space["cells"].values() for names in cell["operations"]]
    for label in dict.fromkeys(outcome.label for outcome in found):
        own = [outcome for outcome in found if outcome.label == label]
        for (cell, edge), names in zip(own[0].edges, candidates, strict=True):
            for operation in [*names, *dropped]:
                share = sum(outcome.edges[cell, edge] == operation for outcome in own) / len(own)
                where = {"selection": label, "cell": cell, "edge": edge, "operation": operation}
                rows.append({**where, "share": share, "runs": len(own)})
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
        given = OTHER_SUPERNETS if one == other else ONE_SUPERNET
        share = mean(shares) if shares else None
        rows.append({"one": one, "other": other, "given": given, "share": share, "pairs": len(shares)})
    return rows


def _draw_cell(figure: SubFigure, rows: Rows, labels: Sequence[str], shape: tuple[int, int], numbers: bool) -> None:
    """Draw a map per selection, with a box per edge and operation; what an edge does not offer stays grey."""
    operations, edges = distinct(rows, "operation"), distinct(rows, "edge")
    panels = figure.subplots(*shape, sharey=True, squeeze=False)
    for axes, label in zip(panels.ravel(), labels, strict=False):
        own = [row for row in rows if row["selection"] == label]
        shares = np.full((len(edges), len(operations)), np.nan)
        for row in own:
            shares[edges.index(row["edge"]), operations.index(row["operation"])] = 100 * row["share"]
        _draw_boxes(axes, shares, 6, numbers)
        heading = f"{label} (n = {own[0]['runs']})" if numbers else label
        axes.set_title(heading, fontsize=fitting_size(heading, 0.8 * WIDTH / shape[1]))
        axes.set_xticks(range(len(operations)), operations, rotation=90)
        axes.set_yticks(range(len(edges)), edges)
    for axes in panels.ravel()[len(labels) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("edge")


def _draw_boxes(axes: Axes, percents: Any, size: float, numbers: bool = True) -> None:
    axes.set_facecolor("0.9")
    axes.imshow(percents, cmap="Blues", vmin=0, vmax=100, aspect="auto")
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
    seen: set[Any] = set()
    for label, style in selection_styles(labels).items():
        own = [row for row in known if row["selection"] == label]
        face = "none" if style in seen else style.colour  # so that no two look alike
        seen.add(style)
        if own:
            skips, accuracies = [row["skips"] for row in own], [row["accuracy"] for row in own]
            look: dict[str, Any] = {"color": style.colour, "mfc": face, "markersize": 5.5, "alpha": 0.8}
            axes.plot(skips, accuracies, style.marker, label=label, **look)
    axes.set(xlabel="skip connections in the architecture", ylabel="test accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(0.08)
