"""The lead of skip connections beside the supernet's accuracy, over the epochs and against each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from archselect.figures.canvas import add_title, new_figure, styled, whole_numbers

_SKIP, _ACCURACY = "#D55E00", "#0072B2"


@styled
def draw_skip_dominance(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the lead against the accuracy, as in Fig. 3 of DARTS-PT, and both over the epochs.

    Args:
        rows: One per epoch: epoch, val_accuracy in [0, 1], lead.
    """
    figure, body = new_figure("Lead of skip_connect over the convolutions, and accuracy of the supernet", 2.9)
    add_title(body, "lead: mean of softmax(α) of skip_connect less that of convolutions", 8, "normal")
    against, over = body.subplots(1, 2, width_ratios=[1.15, 1])
    epochs = [row["epoch"] for row in rows]
    accuracy = [100 * row["val_accuracy"] for row in rows]
    lead = [row["lead"] for row in rows]
    _draw_against(against, body, accuracy, lead, epochs)
    over.plot(epochs, lead, "o-" if len(rows) < 4 else "-", color=_SKIP)
    over.set_xlabel("epoch")
    over.set_ylabel("lead of skip_connect", color=_SKIP)
    whole_numbers(over)
    beside = over.twinx()
    beside.plot(epochs, accuracy, "s--" if len(rows) < 4 else "--", color=_ACCURACY)
    beside.set_ylabel("validation accuracy (%)", color=_ACCURACY)
    beside.grid(visible=False)
    beside.spines[:].set_visible(False)
    return figure


def _draw_against(
    axes: Axes, figure: SubFigure, accuracy: Sequence[float], lead: Sequence[float], epochs: Sequence[int]
) -> None:
    axes.plot(accuracy, lead, color="0.75", linewidth=1.0, zorder=1)
    dots = axes.scatter(accuracy, lead, c=epochs, cmap="cividis", vmin=epochs[0] - 0.5, vmax=epochs[-1] + 0.5, s=18)
    axes.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
    axes.set(xlabel="validation accuracy (%)", ylabel="lead of skip_connect")
    bar = figure.colorbar(dots, ax=axes, pad=0.02, aspect=25)
    bar.ax.set_title("epoch", loc="center", pad=7)
    bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    bar.outline.set_visible(False)
