"""The dominant eigenvalue along a search, and the accuracy over a plane of `alpha`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, new_figure, save, soften

Rows = Sequence[Mapping[str, Any]]


def draw_landscape(eigenvalues: Rows, plane: Rows, path: str | Path) -> Path:
    """Draw both into the PNG `path`.

    Args:
        eigenvalues: epoch, eigenvalue.
        plane: x, y in units of `alpha` (root mean square over its entries), accuracy in [0, 1]; a square grid.
        path: Where to.
    """
    figure = new_figure(10.4, 4.5)
    add_title(figure, 0.15, 0.12, "Curvature in α along the search", size=11)
    add_title(figure, 5.15, 0.12, "Validation accuracy around the final α", size=11)
    curve = add_panel(figure, 0.85, 0.6, 3.7, 3.2)
    soften(curve)
    epochs = [row["epoch"] for row in eigenvalues]
    curve.plot(epochs, [row["eigenvalue"] for row in eigenvalues], color="#0072B2", marker="o", markersize=5)
    curve.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    curve.set_xlabel("epochs of the search", fontsize=9)
    curve.set_ylabel("dominant eigenvalue of the Hessian", fontsize=9)
    curve.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    _draw_plane(figure, add_panel(figure, 5.9, 0.6, 3.9, 3.2), plane)
    return save(figure, path)


def _draw_plane(figure: Figure, axes: Axes, plane: Rows) -> None:
    xs, ys = sorted({row["x"] for row in plane}), sorted({row["y"] for row in plane})
    values = np.full((len(ys), len(xs)), np.nan)
    for row in plane:
        values[ys.index(row["y"]), xs.index(row["x"])] = 100 * row["accuracy"]
    half = (xs[1] - xs[0]) / 2
    image = axes.imshow(
        values, origin="lower", cmap="cividis", extent=(xs[0] - half, xs[-1] + half, ys[0] - half, ys[-1] + half)
    )
    axes.plot(0, 0, marker="x", color="#D55E00", markersize=9, markeredgewidth=2.2)
    axes.set_xlabel("first direction (α moved by, root mean square)", fontsize=9)
    axes.set_ylabel("second direction", fontsize=9)
    axes.tick_params(labelsize=8, color="0.6")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.03, aspect=25)
    bar.set_label("validation accuracy (%)", fontsize=8.5)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
