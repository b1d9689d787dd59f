"""Figures without pyplot: no window, no global state, the same on a machine without a display."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def new_figure(width: float, height: float) -> Figure:
    """Return an empty white figure of that size in inches."""
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")


def save(figure: Figure, path: str | Path) -> Path:
    """Write `figure` as PNG to `path`, making its folder, and return the path."""
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"Figures are written as PNG, so the name must end in .png; got {path}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def add_panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes of that size in inches, `left` and `top` inches away from the figure's upper left corner."""
    full_width, full_height = figure.get_size_inches()
    return figure.add_axes(
        (left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height)
    )


def add_title(figure: Figure, left: float, top: float, text: str, size: float = 13) -> None:
    """Write a bold line, its upper left corner `left` and `top` inches away from that of the figure."""
    full_width, full_height = figure.get_size_inches()
    figure.text(left / full_width, 1 - top / full_height, text, fontsize=size, fontweight="bold", va="top")


def cell_title(name: str) -> str:
    """Return what a cell of that type is called: "normal cell", but "cell" where there is one type only."""
    return name if name.endswith("cell") else f"{name} cell"


def soften(axes: Axes) -> None:
    """Leave of the frame what carries the scales, with a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.6")
    axes.tick_params(color="0.6", labelsize=8)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
