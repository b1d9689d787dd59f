"""Grids of dot plots: a panel per decision, a row per candidate, across it the candidate's value."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_legend, new_figure, parts

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
