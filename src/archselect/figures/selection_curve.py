"""The validation accuracy of a supernet while selections discretise it."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from archselect.figures.canvas import add_legend, new_figure, styled, whole_numbers
from archselect.figures.trajectories import DECIDED

LINES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", ":", "^"),
    ("#CC79A7", "-.", "D"),
    ("0.3", "-", "v"),
)
"""Colour, line and marker of the selections, in the order in which they come."""


@styled
def draw_selection_curve(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the accuracy of every selection over the epochs of tuning.

    Args:
        rows: selection, epoch, val_accuracy in [0, 1], edges_decided, nodes_decided.
    """
    figure, body = new_figure("Validation accuracy of the supernet while it is discretised", 3.2)
    axes = body.subplots()
    handles = []
    for index, name in enumerate(dict.fromkeys(row["selection"] for row in rows)):
        colour, line, marker = LINES[index % len(LINES)]
        own = [row for row in rows if row["selection"] == name]
        values = [100 * row["val_accuracy"] for row in own]
        handles += axes.plot([row["epoch"] for row in own], values, line, color=colour, marker=marker, label=name)
    decided = last_edge([row for row in rows if row["selection"] == rows[0]["selection"]])
    if decided is not None:
        axes.axvline(decided, **DECIDED, zorder=0)
        handles.append(Line2D([], [], **DECIDED, label="the last edge is decided"))
    add_legend(body, handles)
    axes.set(xlabel="epochs of tuning (0: before the first decision)", ylabel="validation accuracy (%)")
    whole_numbers(axes, 10)
    return figure


def last_edge(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return after how many epochs the last edge was decided; None where nothing was decided afterwards.

    The first row that counts the last edge is of the epoch after the decision.
    """
    most = max(row["edges_decided"] for row in rows)
    if not most or rows[-1]["nodes_decided"] == 0:
        return None
    first = next(index for index, row in enumerate(rows) if row["edges_decided"] == most)
    return float(rows[first]["epoch"]) - 0.5
