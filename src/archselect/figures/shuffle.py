"""Test accuracy of networks before and after parts of them changed places."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from archselect.figures.canvas import add_legend, new_figure, styled

_BEFORE, _AFTER, _PALE = "#0072B2", "#D55E00", "#F4CDB2"
_NAMES = {"vgg": "VGG", "resnet": "ResNet"}
_CHANCE: dict[str, Any] = {"color": "0.4", "linewidth": 1.1, "linestyle": "--"}


@styled
def draw_shuffle(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw, per network, the accuracy before, after each draw, and its mean ± standard deviation.

    Args:
        rows: network, before, after, chance; accuracies in [0, 1].
    """
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure, body = new_figure("Test accuracy before and after layers (edges) change places", 3.2)
    handles: list[Artist] = [Patch(color=_BEFORE, label="before"), Patch(color=_PALE, label="after: mean ± std")]
    handles.append(Line2D([], [], linestyle="", marker="o", color=_AFTER, label="after: each draw"))
    handles.append(Line2D([], [], **_CHANCE, label="chance"))
    add_legend(body, handles)
    axes = body.subplots()
    axes.grid(axis="x", visible=False)
    for position, network in enumerate(networks):
        own = [row for row in rows if row["network"] == network]
        after = [100 * row["after"] for row in own]
        axes.bar(position - 0.2, 100 * own[0]["before"], 0.36, color=_BEFORE)
        axes.bar(position + 0.2, fmean(after), 0.36, color=_PALE)
        spots = [position + 0.16 + 0.2 * ((index + 0.5) / len(after) - 0.5) for index in range(len(after))]
        axes.plot(spots, after, "o", color=_AFTER, markersize=4)
        if len(after) > 1:
            axes.errorbar(position + 0.33, fmean(after), stdev(after), color="0.2", capsize=3, linewidth=1.2)
    axes.axhline(100 * rows[0]["chance"], **_CHANCE, zorder=3)
    axes.set_xticks(range(len(networks)), [_NAMES.get(name, name) for name in networks])
    axes.tick_params(axis="x", labelsize=8, length=0)
    axes.set_ylabel("test accuracy (%)")
    axes.set_ylim(0, None)
    return figure
