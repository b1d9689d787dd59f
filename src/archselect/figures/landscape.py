"""The dominant eigenvalue along a search, and the accuracy over a plane of `alpha`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import new_figure, styled, whole_numbers

Rows = Sequence[Mapping[str, Any]]


@styled
def draw_landscape(eigenvalues: Rows, plane: Rows) -> Figure:
    """Draw both.

    Args:
        eigenvalues: epoch, eigenvalue.
        plane: x, y in units of `alpha` (root mean square over its entries), accuracy in [0, 1]; a square grid.
    """
    figure, body = new_figure("Curvature in α along the search, and accuracy around the final α", 3.3)
    curve, map_of = body.subplots(1, 2, width_ratios=[1, 1.15])
    epochs = [row["epoch"] for row in eigenvalues]
    curve.plot(epochs, [row["eigenvalue"] for row in eigenvalues], color="#0072B2", marker="o")
    curve.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    curve.set(xlabel="epochs of the search", ylabel="dominant eigenvalue of the Hessian")
    whole_numbers(curve)
    _draw_plane(body, map_of, plane)
    return figure


def _draw_plane(figure: SubFigure, axes: Axes, plane: Rows) -> None:
    xs, ys = sorted({row["x"] for row in plane}), sorted({row["y"] for row in plane})
    values = np.full((len(ys), len(xs)), np.nan)
    for row in plane:
        values[ys.index(row["y"]), xs.index(row["x"])] = 100 * row["accuracy"]
    half = (xs[1] - xs[0]) / 2
    image = axes.imshow(
        values, origin="lower", cmap="cividis", extent=(xs[0] - half, xs[-1] + half, ys[0] - half, ys[-1] + half)
    )
    axes.plot(0, 0, marker="x", color="#D55E00", markersize=8, markeredgewidth=2)
    axes.set_title("×: the final α")
    axes.set(xlabel="first direction (α moved by, root mean square)", ylabel="second direction")
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=25)
    bar.set_label("validation accuracy (%)")
    bar.outline.set_visible(False)
