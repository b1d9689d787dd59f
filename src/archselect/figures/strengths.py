"""What a perturbation-based selection saw: the supernet's accuracy with one operation, or one input of a node, masked.

The lower the accuracy, the stronger what was masked. The records are those of `decisions.jsonl`, parsed. Selections
that score nothing (by magnitude, at random) leave no scores to draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.figures.style import Style, add_legend, cell_title, new_figure, parts, styled, styles

_PANEL, _CELL = 0.5, 0.5  # inches: what surrounds the rows of a panel, and the panels of a cell
NARROWEST = 0.2  # scale of accuracies, in percentage points: differences far below it are noise


@dataclass(frozen=True)
class Dot:
    """One value, on row `row`, with its standard error if known; filled where the candidate was kept."""

    value: float
    row: int
    colour: str
    filled: bool
    marker: str = "o"
    size: float = 5.0
    error: float | None = None


@dataclass(frozen=True)
class Panel:
    """One decision: the names of its rows from the top, its values, that with nothing masked if known."""

    title: str
    names: tuple[str, ...]
    dots: tuple[Dot, ...]
    unmasked: float | None

    @property
    def values(self) -> list[float]:
        """All that the scale must hold."""
        ends = [dot.value + side * (dot.error or 0) for dot in self.dots for side in (-1, 1)]
        return ends if self.unmasked is None else [*ends, self.unmasked]


@dataclass(frozen=True)
class Grid:
    """The decisions of one cell type, on one scale: so it is seen on which of them most hangs.

    Attributes:
        label: Of the scale.
        per_row: How many panels stand side by side.
        row_height: Of one candidate, in inches.
    """

    title: str
    label: str
    panels: tuple[Panel, ...]
    per_row: int
    row_height: float

    @property
    def shares_names(self) -> bool:
        """Whether the rows of all panels have the same names."""
        return len({panel.names for panel in self.panels}) == 1

    @property
    def lines(self) -> int:
        """How many panels stand below one another."""
        return ceil(len(self.panels) / self.per_row)

    @property
    def height(self) -> float:
        """In inches."""
        return _CELL + self.lines * (_PANEL + self.row_height * max(len(panel.names) for panel in self.panels))


def draw_grids(title: str, legend: Sequence[Line2D], grids: Sequence[Grid], narrowest: float = NARROWEST) -> Figure:
    """Draw `grids` below one another, each on one scale, `narrowest` wide at least."""
    heights = [grid.height for grid in grids]
    figure, body = new_figure(title, 0.75 + sum(heights))
    add_legend(body, legend)
    for part, grid in zip(parts(body, (grid.title for grid in grids), heights), grids, strict=True):
        _draw_grid(part, grid, narrowest)
    return figure


def dot_in_legend(label: str, colour: str, filled: bool, marker: str = "o") -> Line2D:
    """A dot for the legend."""
    face = colour if filled else "white"
    return Line2D([], [], linestyle="", marker=marker, markersize=5, color=colour, markerfacecolor=face, label=label)


def unmasked_in_legend() -> Line2D:
    """The line of the accuracy with nothing masked, for the legend."""
    return Line2D([], [], color="0.45", linestyle="--", linewidth=1.0, label="nothing masked")


def _draw_grid(figure: SubFigure, grid: Grid, narrowest: float) -> None:
    panels = figure.subplots(grid.lines, grid.per_row, sharex=True, sharey=grid.shares_names, squeeze=False)
    limits = _limits(grid, narrowest)
    count = len(grid.panels)
    for index, axes in enumerate(panels.ravel()):
        if index >= count:
            axes.set_axis_off()
            continue
        panel = grid.panels[index]
        axes.set_title(panel.title)
        axes.set_yticks(range(len(panel.names)), panel.names)
        axes.set_ylim(len(panel.names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        if panel.unmasked is not None:
            axes.axvline(panel.unmasked, color="0.45", linestyle="--", linewidth=1.0, zorder=1)
        for dot in panel.dots:
            _draw_dot(axes, dot)
        axes.set_xlim(limits)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
        if index + grid.per_row >= count:  # nothing stands below
            axes.tick_params(labelbottom=True)
    figure.supxlabel(grid.label, fontsize=8)


def _draw_dot(axes: Axes, dot: Dot) -> None:
    face = dot.colour if dot.filled else "white"
    if dot.error:
        ends = [dot.value - dot.error, dot.value + dot.error]
        axes.plot(ends, [dot.row, dot.row], color=dot.colour, linewidth=1.2, zorder=1)
    nested = dot.filled and dot.size != Dot.size  # a white edge tells dots on one another apart
    edge = "white" if nested else dot.colour
    look: dict[str, Any] = {"color": dot.colour, "mfc": face, "mec": edge, "mew": 0.8, "ms": dot.size}
    axes.plot(dot.value, dot.row, dot.marker, clip_on=False, **look)


def _limits(grid: Grid, narrowest: float) -> tuple[float, float]:
    values = list(chain.from_iterable(panel.values for panel in grid.panels))
    middle = (min(values) + max(values)) / 2
    span = max(max(values) - min(values), narrowest)
    return middle - 0.56 * span, middle + 0.56 * span


Decision = Mapping[str, Any]

_ROW = 0.16  # inches of a candidate
_MOST = 5  # panels side by side

_KEPT, _DROPPED = "#0072B2", "#D55E00"
_ROUND_MARKERS = ("o", "s", "^", "D", "v", "P")
_ACCURACY = "validation accuracy (%)"


@styled
def draw_operation_strengths(decisions: Sequence[Decision]) -> Figure:
    """Draw, per edge in the order of decision, the accuracy with each operation masked.

    Of a selection that trained a copy of the supernet with each operation instead, the accuracy of the copies.

    All edges of a cell type share one scale: so it is seen which edges matter, and how the accuracy drifts as more are
    decided.

    Raises:
        ValueError: No decision on an operation carries scores.
    """
    scored = _scored(decisions, "operation")
    look = styles(operation for own in scored.values() for decision in own for operation in decision["candidates"])
    grids = [
        _grid(_title(cell, "edges (source,target)"), _ACCURACY, [_operation_panel(decision, look) for decision in own])
        for cell, own in scored.items()
    ]
    legend = [dot_in_legend("kept", "0.2", filled=True), dot_in_legend("not kept", "0.2", filled=False)]
    if any(panel.unmasked is not None for grid in grids for panel in grid.panels):
        legend.append(unmasked_in_legend())
    title = "Accuracy of the supernet with one operation masked: lower = stronger"
    if any(decision.get("trial") for own in scored.values() for decision in own):
        title = "Accuracy of the supernet discretised to each operation and trained on: higher = stronger"
    return draw_grids(title, legend, grids)


@styled
def draw_topology_strengths(decisions: Sequence[Decision]) -> Figure:
    """Draw, per node in the order of decision, the accuracy with each of its inputs masked.

    A node drops inputs round by round: in each the one whose removal leaves the highest accuracy. All nodes of a cell
    type share one scale.

    Raises:
        ValueError: No decision on the inputs of a node carries scores.
    """
    scored = _scored(decisions, "topology")
    rounds = 1 + max(score["round"] for own in scored.values() for decision in own for score in decision["scores"])
    grids = [
        _grid(_title(cell, "nodes"), _ACCURACY, [_topology_panel(decision) for decision in own])
        for cell, own in scored.items()
    ]
    legend = [
        dot_in_legend("input kept", _KEPT, filled=True),
        dot_in_legend("input dropped", _DROPPED, filled=False),
        *(dot_in_legend(f"round {index + 1}", "0.2", False, _round_marker(index)) for index in range(rounds)),
    ]
    title = "Accuracy of the supernet with one input of a node masked: lower = stronger"
    return draw_grids(title, legend, grids)


@styled
def draw_strengths(decisions: Sequence[Decision]) -> Figure:
    """Draw, per edge, how strong the selection took each operation to be; the edges of a cell type share one scale.

    Raises:
        ValueError: No decision carries strengths.
    """
    ranked: dict[str, list[Decision]] = {}
    for decision in decisions:
        if decision.get("strengths"):
            ranked.setdefault(decision["cell"], []).append(decision)
    if not ranked:
        raise ValueError(f"None of these {len(decisions)} decision(s) carries the strengths of operations.")
    look = styles(operation for own in ranked.values() for decision in own for operation in decision["candidates"])
    ordered = len({decision["point"] for own in ranked.values() for decision in own}) > 1
    what = "edges (source,target) in the order of decision" if ordered else "edges (source,target)"
    grids = [
        _grid(
            f"{cell_title(cell)}: {what}, on one scale",
            "strength, as the selection measures it",
            [_strength_panel(decision, look, ordered) for decision in own],
        )
        for cell, own in ranked.items()
    ]
    legend = [dot_in_legend("kept", "0.2", filled=True), dot_in_legend("not kept", "0.2", filled=False)]
    every = [one["value"] for own in ranked.values() for decision in own for one in decision["strengths"]]
    title = "Strength of each operation for this selection: higher = stronger (bars: standard errors)"
    # So that what is equal up to rounding looks equal.
    return draw_grids(title, legend, grids, narrowest=1e-6 * max(map(abs, every)) or 1.0)


def _scored(decisions: Sequence[Decision], kind: str) -> dict[str, list[Decision]]:
    """The decisions of that kind that carry scores, per cell in the order in which they were taken."""
    scored: dict[str, list[Decision]] = {}
    for decision in decisions:
        if decision["kind"] == kind and decision["scores"]:
            scored.setdefault(decision["cell"], []).append(decision)
    if not scored:
        raise ValueError(
            f"Of these {len(decisions)} decision(s), none of the kind {kind!r} carries scores, so there are no "
            "strengths to draw. Only a selection by perturbation scores what it decides."
        )
    return scored


def _title(cell: str, what: str) -> str:
    return f"{cell_title(cell)}: {what} in the order of decision, on one scale"


def _grid(title: str, label: str, panels: Sequence[Panel]) -> Grid:
    """As many panels side by side as are legible: fewer where each has names of its own, and where these are long."""
    longest = max(len(name) for panel in panels for name in panel.names)
    most = _MOST if len({panel.names for panel in panels}) == 1 else max(1, min(_MOST - 1, 60 // (longest + 6)))
    return Grid(title, label, tuple(panels), ceil(len(panels) / ceil(len(panels) / most)), _ROW)


def _operation_panel(decision: Decision, look: Mapping[str, Style]) -> Panel:
    candidates = tuple(decision["candidates"])
    dots = tuple(
        Dot(
            value=100 * score["accuracy"],
            row=candidates.index(score["candidate"]),
            colour=look[score["candidate"]].colour,
            filled=score["candidate"] == decision["kept"],
        )
        for score in decision["scores"]
    )
    unmasked = decision["unmasked"]
    title = f"{decision['point'] + 1}.  {_edge_name(decision['edge_states'])}"
    return Panel(title, candidates, dots, None if unmasked is None else 100 * unmasked["accuracy"])


def _strength_panel(decision: Decision, look: Mapping[str, Style], ordered: bool) -> Panel:
    candidates = tuple(decision["candidates"])
    dots = tuple(
        Dot(
            value=strength["value"],
            row=row,
            colour=look[name].colour,
            filled=name == decision["kept"],
            error=strength["standard_error"],
        )
        for row, (name, strength) in enumerate(zip(candidates, decision["strengths"], strict=True))
    )
    number = f"{decision['point'] + 1}.  " if ordered else ""
    return Panel(number + _edge_name(decision["edge_states"]), candidates, dots, None)


def _topology_panel(decision: Decision) -> Panel:
    names = tuple(_edge_name(edge) for edge in decision["candidates"])
    kept = {_edge_name(edge) for edge in decision["kept"]}
    dots = tuple(
        Dot(
            value=100 * score["accuracy"],
            row=names.index(name),
            colour=_KEPT if name in kept else _DROPPED,
            filled=name in kept,
            marker=_round_marker(score["round"]),
            size=_round_size(score["round"]),
        )
        for score in decision["scores"]
        for name in [_edge_name(score["candidate"])]
    )
    return Panel(f"{decision['point'] + 1}.  node {decision['node']}", names, dots, None)


def _round_marker(index: int) -> str:
    return _ROUND_MARKERS[index % len(_ROUND_MARKERS)]


def _round_size(index: int) -> float:
    """Later rounds are smaller: where an input has the same accuracy in several, each is seen."""
    return max(9.0 - 3.0 * index, 3.0)


def _edge_name(edge: Sequence[int]) -> str:
    return f"({edge[0]},{edge[1]})"
