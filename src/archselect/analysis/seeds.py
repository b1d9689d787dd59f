"""What the selections of several runs have in common: operations, agreement, skips and results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement
from math import ceil
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from pandas import DataFrame

from archselect.analysis.base import (
    Analysis,
    Measurer,
    Prepared,
    Table,
    Tables,
    check_same_metric,
    check_same_operations,
    metric_of,
)
from archselect.analysis.stats import SKIP, distinct, mean, mean_defined, percent, plural, rows_by, spearman
from archselect.figures import style
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun
from archselect.results.metric import ACCURACY, Metric
from archselect.results.summaries import RunResult

DROPPED = "dropped"
"""What an edge has that does not feed its node."""


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
        check_same_operations(self.name, runs)
        check_same_metric(self.name, runs)

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return how often edges got operations, how far selections agree, and a row per run."""
        found = outcomes(measurer.context.runs, measurer.metric)
        rows = [{name: value for name, value in outcome.items() if name != "edges"} for outcome in found]
        return {
            measurer.metric.name: rows,
            "frequencies": frequencies(found, measurer.run.space),
            "agreement": agreement(found),
        }

    @style.styled
    def draw(self, tables: Tables) -> Figure:
        """Draw a heat map per selection and cell type; of several runs, the agreement, and the metric against skips."""
        metric = metric_of(tables)
        rows, results = tables["frequencies"], tables[metric.name]
        labels, by_cell = distinct(rows, "selection"), dict(rows_by(rows, "cell"))
        most = max(len(distinct(own, "operation")) for own in by_cell.values())
        fitting = int((style.WIDTH - 0.7) / (0.24 * most + 0.1))  # "100" fits into 0.24 inches
        columns = min(len(labels), max(1, fitting))
        lines = ceil(len(labels) / columns)
        heights = [0.3 + lines * (1.05 + 0.15 * max(3, len(distinct(own, "edge")))) for own in by_cell.values()]
        titles = [f"{style.cell_title(cell)}: edges (source,target)" for cell in by_cell]
        title, width = "What one run chose", min(style.WIDTH, max(3.2, 1.2 + 0.45 * most))
        if several := len(results) > 1:
            title, width = f"What {len(results)} runs chose (% of a selection's runs)", style.WIDTH
            heights.append(max(1.7, 1.0 + 0.16 * len(labels)) + 0.075 * max(map(len, labels)))
            titles.append("")
        figure, body = style.new_figure(title, 0.4 + sum(heights), width)
        bodies = style.parts(body, titles, heights)
        for part, own in zip(bodies, by_cell.values(), strict=False):
            _draw_cell(part, own, labels, (lines, columns), numbers=several)
        if several:
            left, right = bodies[-1].subplots(1, 2)
            _draw_agreement(left, tables["agreement"], labels)
            _draw_results(right, results, labels, metric)
            if right.lines:
                style.add_legend(bodies[-1], right.lines)
        return figure

    def summary(self, tables: Tables) -> str:
        metric = metric_of(tables)
        rows = tables[metric.name]
        words = []
        for label, own in rows_by(rows, "selection"):
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
        evaluated = [row for row in rows if row["judged"] is not None]
        for judged, own in rows_by(evaluated, "judged"):
            rank = spearman([row["skips"] for row in own], [row[metric.name] for row in own])
            words.append(
                f"Spearman's correlation of the number of skips with test {metric.words} ({judged}) is "
                f"{'not defined' if rank is None else format(rank, '+.2f')}, n = {len(own)}."
            )
        if not evaluated:
            words.append(f"No run evaluated what it chose, so nothing is said of {metric.words}.")
        return " ".join(words)


def outcomes(runs: Sequence[FinishedRun], metric: Metric = ACCURACY) -> Table:
    """Return a row per run with what every edge has; a result that is there twice, for a repeated command, counts once.

    A selection is named with what else differs between the runs, such as the search. Runs with the same `supernet`, the
    digest of the search, selected from the same one; values of the metric are comparable where `judged` is the same.
    """
    results = [RunResult.from_summary(run.summary, run.folder) for run in runs]
    choices = DataFrame([result.choices for result in results])
    varying = [name for name in ("search", "data", "evaluation") if choices[name].nunique() > 1]
    labels = choices[[*varying, "selection"]].agg(", ".join, axis=1)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for run, result, label in zip(runs, results, labels, strict=True):
        edges = edges_of(run.genotype, run.space)
        judged = f"{result.choices.evaluation} on {result.choices.data}"
        row = {
            "selection": label,
            "seed": result.seed,
            "supernet": run.stage("search").folder.key.digest,
            "skips": list(edges.values()).count(SKIP),
            metric.name: result.value,
            "judged": None if result.value is None else judged,
            "genotype": str(run.genotype),
            "edges": edges,
        }
        found.setdefault((label, result.folder), row)
    return sorted(found.values(), key=lambda row: (row["selection"], row["seed"]))


def edges_of(genotype: Genotype, space: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return what every (cell, edge) of a space, described by `SearchSpace.describe`, has in an architecture."""
    chosen = {(cell.name, source, target): operation for cell in genotype for source, target, operation in cell.edges}
    return {
        (name, style.edge_name(edge)): chosen.get((name, *edge), DROPPED)
        for name, cell in space["cells"].items()
        for edge in cell["edges"]
    }


def frequencies(found: Table, space: Mapping[str, Any]) -> Table:
    """Return per selection, edge and operation (or `DROPPED`, where it may be) the share of runs that chose it."""
    dropped = [DROPPED] if any(DROPPED in row["edges"].values() for row in found) else []
    candidates = [[*names, *dropped] for cell in space["cells"].values() for names in cell["operations"]]
    return [
        {
            "selection": label,
            "cell": cell,
            "edge": edge,
            "operation": operation,
            "share": mean(row["edges"][cell, edge] == operation for row in own),
            "runs": len(own),
        }
        for label, own in rows_by(found, "selection")
        for (cell, edge), operations in zip(own[0]["edges"], candidates, strict=True)
        for operation in operations
    ]


def agreement(found: Table) -> Table:
    """Return of each pair of selections on which share of the edges their runs have the same, in the mean over pairs.

    Two selections are compared on the same supernet. A selection is compared with itself on different supernets, which
    says how much of what it chooses the seed decides.
    """
    rows = []
    for one, other in combinations_with_replacement(distinct(found, "selection"), 2):
        shares = [
            mean(first["edges"][edge] == second["edges"][edge] for edge in first["edges"])
            for first, second in combinations(found, 2)
            if {first["selection"], second["selection"]} == {one, other}
            and (first["supernet"] == second["supernet"]) == (one != other)
        ]
        given = "different supernets" if one == other else "one supernet"
        rows.append({"one": one, "other": other, "given": given, "share": mean_defined(shares), "pairs": len(shares)})
    return rows


def _draw_cell(figure: SubFigure, rows: Table, labels: Sequence[str], shape: tuple[int, int], numbers: bool) -> None:
    """Draw a map per selection, with a box per edge and operation; what an edge does not offer stays grey."""
    operations, edges = distinct(rows, "operation"), distinct(rows, "edge")
    panels = figure.subplots(*shape, sharey=True, squeeze=False)
    for axes in panels.flat[len(labels) :]:
        axes.set_axis_off()
    for axes, (label, own) in zip(panels.flat, DataFrame(rows).groupby("selection", sort=False), strict=False):
        shares = own.pivot(index="edge", columns="operation", values="share").reindex(edges, columns=operations)
        _draw_boxes(axes, shares, 6, numbers)
        heading = f"{label} (n = {own['runs'].iloc[0]})" if numbers else str(label)
        axes.set_title(heading, fontsize=style.fitting_size(heading, 0.8 * style.WIDTH / shape[1]))
    for axes in panels[:, 0]:
        axes.set_ylabel("edge")


def _draw_boxes(axes: Axes, shares: DataFrame, size: float, numbers: bool = True) -> None:
    """Draw a box per share, blue by its percentage, with its number where it is above 0."""
    axes.set_facecolor("0.9")
    axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (y, x), value in np.ndenumerate(100 * shares):
        if numbers and value > 0:
            colour = "white" if value > 60 else "0.1"
            axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=size, color=colour)
    axes.set_xticks(range(len(shares.columns)), shares.columns, rotation=90)
    axes.set_yticks(range(len(shares)), shares.index)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _draw_agreement(axes: Axes, rows: Table, labels: list[str]) -> None:
    pairs = DataFrame(rows).astype({"share": float}).pivot(index="one", columns="other", values="share")
    shares = pairs.reindex(labels, columns=labels)
    _draw_boxes(axes, shares.fillna(shares.T), 7)
    axes.set_title("Edges with the same operation (%)", fontweight="bold", pad=16)
    note = "off the diagonal: runs from one supernet; on it: different ones"
    axes.annotate(note, (0, 1), (0, 4), "axes fraction", "offset points", fontsize=6.5, color="0.3")


def _draw_results(axes: Axes, rows: Table, labels: Sequence[str], metric: Metric) -> None:
    axes.set_title(f"{metric.title} against skips", fontweight="bold", pad=16)
    known = [row for row in rows if row[metric.name] is not None]
    if not known:
        axes.text(0.5, 0.5, "nothing was evaluated", ha="center", va="center", color="0.4", transform=axes.transAxes)
    seen: set[Any] = set()
    for label, own in style.selection_styles(labels).items():
        face = "none" if own in seen else own.colour  # so that no two look alike
        seen.add(own)
        if points := [(row["skips"], row[metric.name]) for row in known if row["selection"] == label]:
            look: dict[str, Any] = {"color": own.colour, "mfc": face, "markersize": 5.5, "alpha": 0.8}
            axes.plot(*zip(*points, strict=True), own.marker, label=label, **look)
    axes.set(xlabel="skip connections in the architecture", ylabel=f"test {metric.label}")
    axes.locator_params(axis="x", integer=True)
    axes.margins(0.08)
