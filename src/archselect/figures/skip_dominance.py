"""The lead of skip connections beside the supernet's accuracy, over the epochs and against each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_panel, add_title, new_figure, save, soften

_SKIP, _ACCURACY = "#D55E00", "#0072B2"


def draw_skip_dominance(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw the lead against the accuracy, as in Fig. 3 of DARTS-PT, and both over the epochs, into the PNG `path`.

    Args:
        rows: One per epoch: epoch, val_accuracy in [0, 1], lead.
        path: Where to.
    """
    figure = new_figure(10.6, 3.9)
    add_title(figure, 0.15, 0.12, "Lead of skip_connect: mean of softmax(α) of skip_connect less that of convolutions")
    epochs = [row["epoch"] for row in rows]
    accuracy = [100 * row["val_accuracy"] for row in rows]
    lead = [row["lead"] for row in rows]
    _draw_against(add_panel(figure, 0.95, 0.6, 4.0, 2.6), figure, accuracy, lead, epochs)
    over = add_panel(figure, 6.65, 0.6, 3.1, 2.6)
    soften(over)
    over.plot(epochs, lead, color=_SKIP, linewidth=1.7)
    over.set_xlabel("epoch", fontsize=9)
    over.set_ylabel("lead of skip_connect", fontsize=9, color=_SKIP)
    over.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    beside = over.twinx()
    beside.plot(epochs, accuracy, color=_ACCURACY, linewidth=1.7, linestyle="--")
    beside.set_ylabel("validation accuracy (%)", fontsize=9, color=_ACCURACY)
    beside.tick_params(color="0.6", labelsize=8)
    beside.spines[:].set_visible(False)
    return save(figure, path)


def _draw_against(
    axes: Axes, figure: Any, accuracy: Sequence[float], lead: Sequence[float], epochs: Sequence[int]
) -> None:
    soften(axes)
    axes.plot(accuracy, lead, color="0.75", linewidth=1.0, zorder=1)
    dots = axes.scatter(accuracy, lead, c=epochs, cmap="cividis", s=26, zorder=2)
    axes.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xlabel("validation accuracy of the supernet (%)", fontsize=9)
    axes.set_ylabel("lead of skip_connect", fontsize=9)
    bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=25)
    bar.set_label("epoch", fontsize=8.5)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    bar.outline.set_visible(False)
