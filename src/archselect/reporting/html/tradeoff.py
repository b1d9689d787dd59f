"""The test metric against what architectures cost: a picture and a Pareto front for every cost that runs know."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from archselect.figures.style import add_legend, legend_dot, new_figure, save, selection_styles, styled
from archselect.reporting.html.run_view import Assets, Picture
from archselect.results.costs import COSTS, LATENCY_1, LATENCY_64, PARAMETERS, PEAK, Cost, front, spans_decades
from archselect.results.formatting import metric_of
from archselect.results.metric import ACCURACY
from archselect.results.summaries import Row, RunResult

LATENCIES = (LATENCY_1, LATENCY_64)
"""Costs that are compared on one device alone."""

TITLE_CHARACTERS = 60
"""So many fit over a panel."""


class Tradeoff(NamedTuple):
    """The metric against one cost.

    Attributes:
        fronts: By panel of the picture, what is on its Pareto front, the cheapest first.
        of: How many points the picture has.
    """

    cost: Cost
    picture: Picture
    fronts: Mapping[str, list[RunResult]]
    of: int


def tradeoffs(report: Sequence[Row], assets: Assets) -> Iterator[Tradeoff]:
    """Yield the trade-offs of runs that share a metric, their pictures embedded; none where nothing was evaluated."""
    metric = metric_of(report)
    for cost in COSTS:
        if (figure := draw_results(report, cost)) is None:
            continue
        papers = ", the paper's numbers as lines" if metric == ACCURACY else ""
        caption = f"Test {metric.words} against {cost.name}: a point per run{papers}"
        with TemporaryDirectory() as folder:
            file = save(figure, Path(folder) / "results")
            picture = assets.embed(file, file.parent, caption)
        panels = panels_of(report, cost)
        fronts = {title: [one for *_, one in front_of(rows, cost)] for title, rows in panels.items()}
        yield Tradeoff(cost, picture, fronts, sum(len(points(rows, cost)) for rows in panels.values()))


def points(rows: Sequence[Row], cost: Cost) -> list[tuple[float, float, RunResult]]:
    """Return the runs that know a cost and were evaluated, with both numbers."""
    return [
        (one.costs[cost.key], one.value, one)
        for row in rows
        for one in row.results
        if one.costs.get(cost.key) and one.value is not None
    ]


def front_of(rows: Sequence[Row], cost: Cost) -> list[tuple[float, float, RunResult]]:
    """Return the points that are on the Pareto front."""
    return front(points(rows, cost), metric_of(rows))


def panels_of(report: Sequence[Row], cost: Cost) -> dict[str, list[Row]]:
    """Return the rows with points by search space, data set and evaluation, those of latencies by device too."""
    panels: dict[str, list[Row]] = {}
    for row in report:
        by_device: dict[str | None, list[RunResult]] = {}
        for *_, one in points([row], cost):
            by_device.setdefault(one.device if cost in LATENCIES else None, []).append(one)
        for device, results in by_device.items():
            of = [row.choices.search_space, row.choices.data, row.choices.evaluation, *([device] if device else [])]
            panels.setdefault(", ".join(of), []).append(Row(row.task, row.metric, row.choices, results))
    return panels


@styled
def draw_results(report: Sequence[Row], cost: Cost = PARAMETERS) -> Figure | None:
    """Draw the test metric of every run against a cost, and what the paper reports for the same choices.

    A panel for each search space, evaluation and data set; a colour per selection, a marker per search. A ring marks
    what is on the Pareto front of its panel, and steps the best that is there up to a cost.
    """
    panels, metric = panels_of(report, cost), metric_of(report)
    if not panels:
        return None
    rows = [row for own in panels.values() for row in own]
    colours = {name: style.colour for name, style in selection_styles(row.choices.selection for row in rows).items()}
    markers = dict(zip(dict.fromkeys(row.choices.search for row in rows), cycle("os^DvPX*"), strict=False))
    lines = -(-len(panels) // 2)
    figure, body = new_figure(f"Test {metric.words} against {cost.name}", 0.75 + 2.5 * lines)
    legend = [legend_dot(name, colour, True) for name, colour in colours.items()]
    legend += [legend_dot(f"search {name}", "0.35", False, marker) for name, marker in markers.items()]
    if any(row.paper for row in rows):
        legend.append(Line2D([], [], color="0.35", linestyle="--", label="the paper's"))
    legend.append(Line2D([], [], **_FRONT, marker="o", markersize=8, markerfacecolor="none", label="Pareto front"))
    add_legend(body, legend)
    grid = body.subplots(lines, min(2, len(panels)), squeeze=False).ravel()
    for axes, (title, own) in zip(grid, panels.items(), strict=False):
        for row in own:
            _draw_row(axes, row, cost, colours[row.choices.selection], markers[row.choices.search])
        _draw_front(axes, own, cost)
        axes.set_title(fill(title, TITLE_CHARACTERS), fontsize=8)
        axes.set(xlabel=cost.name, ylabel=f"test {metric.label}")
        _scale(axes, cost, spans_decades(point[0] for point in points(own, cost)))
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


_FRONT: dict[str, Any] = {"color": "0.45", "linewidth": 1.0}


def _draw_row(axes: Axes, row: Row, cost: Cost, colour: str, marker: str) -> None:
    known = points([row], cost)
    x, y = [point[0] for point in known], [point[1] for point in known]
    axes.plot(x, y, linestyle="", marker=marker, markersize=5, color=colour, alpha=0.8)
    if row.paper is not None:
        axes.axhline(row.paper.accuracy, color=colour, linewidth=1, linestyle="--", zorder=0)
        end: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "markerfacecolor": "white", "clip_on": False}
        axes.plot(1, row.paper.accuracy, marker=marker, markersize=5, color=colour, **end)


def _draw_front(axes: Axes, rows: Sequence[Row], cost: Cost) -> None:
    best = front_of(rows, cost)
    x, y = [point[0] for point in best], [point[1] for point in best]
    axes.scatter(x, y, s=64, facecolors="none", edgecolors=_FRONT["color"], linewidths=_FRONT["linewidth"], zorder=1)
    axes.stairs(y, [*x, max(point[0] for point in points(rows, cost))], baseline=None, zorder=1, **_FRONT)


def _scale(axes: Axes, cost: Cost, logarithmic: bool) -> None:
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
        axes.xaxis.set_minor_formatter(NullFormatter())
    if cost in LATENCIES:
        axes.set_xlabel(cost.label)
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.xaxis.set_major_formatter(EngFormatter("B" if cost is PEAK else "", sep=""))
