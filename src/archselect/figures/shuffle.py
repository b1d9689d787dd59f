"""Test accuracy of networks before and after parts of them changed places."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from archselect.figures.canvas import add_panel, add_title, new_figure, save, soften

_BEFORE, _AFTER = "#0072B2", "#D55E00"
_LABELS = ("before", "after, mean", "after, each draw (bar: ± standard deviation)")
_NAMES = {"vgg": "VGG", "resnet": "ResNet"}


def draw_shuffle(rows: Sequence[Mapping[str, Any]], path: str | Path) -> Path:
    """Draw, per network, the accuracy before, after each draw, and its mean ± standard deviation into the PNG `path`.

    Args:
        rows: network, before, after, chance; accuracies in [0, 1].
        path: Where to.
    """
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure = new_figure(7.6, 4.3)
    add_title(figure, 0.15, 0.12, "Test accuracy before and after layers (edges) change places")
    axes = add_panel(figure, 0.8, 0.95, 6.5, 2.85)
    soften(axes)
    axes.grid(axis="x", visible=False)
    for position, network in enumerate(networks):
        own = [row for row in rows if row["network"] == network]
        after = [100 * row["after"] for row in own]
        labels = _LABELS if not position else (None,) * 3
        axes.bar(position - 0.2, 100 * own[0]["before"], 0.36, color=_BEFORE, label=labels[0])
        axes.bar(position + 0.2, fmean(after), 0.36, color=_AFTER, alpha=0.35, label=labels[1])
        spots = [position + 0.2 + 0.22 * ((index + 0.5) / len(after) - 0.5) for index in range(len(after))]
        axes.plot(spots, after, "o", color=_AFTER, markersize=4, label=labels[2])
        if len(after) > 1:
            axes.errorbar(position + 0.34, fmean(after), stdev(after), color="0.2", capsize=3, linewidth=1.2)
    chance = 100 * rows[0]["chance"]
    axes.axhline(chance, color="0.4", linewidth=1.1, linestyle="--", zorder=3)
    axes.annotate("chance", (0.5, chance), (0, 3), "data", "offset points", ha="center", fontsize=8)
    axes.set_xticks(range(len(networks)), [_NAMES.get(name, name) for name in networks])
    axes.tick_params(axis="x", labelsize=10, length=0)
    axes.set_ylabel("test accuracy (%)", fontsize=9)
    axes.set_ylim(0, None)
    anchor = (0.0, 1 - 0.4 / figure.get_size_inches()[1])
    figure.legend(loc="upper left", bbox_to_anchor=anchor, ncols=3, frameon=False, fontsize=9)
    return save(figure, path)
