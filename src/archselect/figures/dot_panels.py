"""Grids of dot plots: a panel per decision, a row per candidate, across it the candidate's value."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, new_figure, save, soften

# Lengths in inches.
_GAP = 0.3
_ABOVE, _BELOW = 0.28, 0.42  # a panel: its title; its scale and the space to the next
_HEADER, _TITLE = 0.8, 0.28
_WIDTH = 10.4
NARROWEST = 0.2  # scale of accuracies, in percentage points: differences far below it are noise


@dataclass(frozen=True)
class Dot:
    """One value, across from row `row`, with its standard error if known; filled where the candidate was kept."""

    value: float
    row: float
    colour: str
    filled: bool
    marker: str = "o"
    error: float | None = None


@dataclass(frozen=True)
class Panel:
    """One decision: the names of its rows from the top, its values, that with nothing masked if known."""

    title: str
    names: tuple[str, ...]
    dots: tuple[Dot, ...]
    unmasked: float | None


@dataclass(frozen=True)
class Grid:
    """The decisions of one cell type.

    Attributes:
        per_row: How many panels stand side by side.
        labels: Room for the names of the rows: left of every panel, or left of the first where the names are shared.
        row_height: Of one candidate.
    """

    title: str
    panels: tuple[Panel, ...]
    per_row: int
    labels: float
    row_height: float

    @property
    def shares_names(self) -> bool:
        return len({panel.names for panel in self.panels}) == 1

    @property
    def height(self) -> float:
        return _TITLE + ceil(len(self.panels) / self.per_row) * self._pitch

    @property
    def _pitch(self) -> float:
        return _ABOVE + max(map(self.panel_height, self.panels)) + _BELOW

    def panel_height(self, panel: Panel) -> float:
        return self.row_height * (len(panel.names) + 0.6)

    def place(self, index: int) -> tuple[float, float, float]:
        """Left, top (below the upper end of the grid) and width of panel `index`."""
        repeated = 0.0 if self.shares_names else self.labels
        first = 0.2 + self.labels - repeated
        pitch = (_WIDTH - first - 0.1) / self.per_row
        line, column = divmod(index, self.per_row)
        return first + column * pitch + repeated, _TITLE + line * self._pitch + _ABOVE, pitch - repeated - _GAP


def draw_grids(
    title: str, legend: Sequence[Line2D], grids: Sequence[Grid], path: str | Path, narrowest: float = NARROWEST
) -> Path:
    """Draw `grids` below one another into the PNG `path`. Every panel has its own scale, `narrowest` wide at least."""
    figure = new_figure(_WIDTH, _HEADER + sum(grid.height for grid in grids))
    add_title(figure, 0.15, 0.12, title)
    anchor = (0.0, 1 - 0.36 / figure.get_size_inches()[1])
    figure.legend(handles=legend, loc="upper left", bbox_to_anchor=anchor, ncols=len(legend), frameon=False, fontsize=9)
    top = _HEADER
    for grid in grids:
        add_title(figure, 0.15, top, grid.title, size=11)
        for index, panel in enumerate(grid.panels):
            axes = _add_axes(figure, grid, index, top)
            for dot in panel.dots:
                _draw_dot(axes, dot)
            _set_scale(axes, panel, narrowest)
        top += grid.height
    return save(figure, path)


def dot_in_legend(label: str, colour: str, filled: bool, marker: str = "o") -> Line2D:
    """A dot for the legend."""
    face = colour if filled else "white"
    return Line2D([], [], linestyle="", marker=marker, markersize=6.5, color=colour, markerfacecolor=face, label=label)


def unmasked_in_legend() -> Line2D:
    """The line of the accuracy with nothing masked, for the legend."""
    return Line2D([], [], color="0.45", linestyle="--", linewidth=1.2, label="nothing masked")


def _add_axes(figure: Figure, grid: Grid, index: int, top: float) -> Axes:
    panel = grid.panels[index]
    left, below, width = grid.place(index)
    axes = add_panel(figure, left, top + below, width, grid.panel_height(panel))
    soften(axes)
    axes.set_title(panel.title, fontsize=9, loc="left", pad=4)
    axes.set_ylim(len(panel.names) - 0.2, -0.8)
    named = not grid.shares_names or index % grid.per_row == 0
    axes.set_yticks(range(len(panel.names)), panel.names if named else [""] * len(panel.names))
    axes.tick_params(axis="y", length=0)
    return axes


def _draw_dot(axes: Axes, dot: Dot) -> None:
    face = dot.colour if dot.filled else "white"
    if dot.error:
        axes.plot(
            [dot.value - dot.error, dot.value + dot.error],
            [dot.row, dot.row],
            color=dot.colour,
            linewidth=1.2,
            zorder=1,
        )
    axes.plot(dot.value, dot.row, dot.marker, markersize=6.5, color=dot.colour, markerfacecolor=face, clip_on=False)


def _set_scale(axes: Axes, panel: Panel, narrowest: float) -> None:
    values = [dot.value + side * (dot.error or 0) for dot in panel.dots for side in (-1, 1)]
    if panel.unmasked is not None:
        values.append(panel.unmasked)
        axes.axvline(panel.unmasked, color="0.45", linestyle="--", linewidth=1.2, zorder=1)
    middle = (min(values) + max(values)) / 2
    span = max(max(values) - min(values), narrowest)
    axes.set_xlim(middle - 0.6 * span, middle + 0.6 * span)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
    axes.ticklabel_format(axis="x", useOffset=False)
