"""Strengths show each score where it belongs, what was kept, and the order of decision."""

from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.lines import Line2D

from archselect.figures.strengths import draw_operation_strengths, draw_strengths, draw_topology_strengths
from archselect.figures.style import STYLES
from archselect.results.metric import Metric


def on_edge(
    point: int, edge: list[int], kept: str, unmasked: float | None = 0.7, **accuracies: float
) -> dict[str, Any]:
    decision = {"point": point, "epoch": 5 * point, "cell": "normal", "kind": "operation", "edge_states": edge}
    return decision | {
        "candidates": list(accuracies),
        "scores": [{"candidate": name, "accuracy": value, "loss": 1.0} for name, value in accuracies.items()],
        "kept": kept,
        "unmasked": None if unmasked is None else {"accuracy": unmasked, "loss": 1.0},
    }


ROUNDS = [{0: 0.5, 1: 0.6, 2: 0.4, 3: 0.3}, {0: 0.45, 2: 0.35, 3: 0.25}]
NODE = {"point": 2, "epoch": 10, "cell": "normal", "kind": "topology", "node": 4} | {
    "candidates": [[0, 4], [1, 4], [2, 4], [3, 4]],
    "scores": [
        {"round": index, "candidate": [source, 4], "accuracy": accuracy, "loss": 1.0}
        for index, scores in enumerate(ROUNDS)
        for source, accuracy in scores.items()
    ],
    "kept": [[2, 4], [3, 4]],
}
DECISIONS = [
    on_edge(0, [2, 3], "sep_conv_3x3", skip_connect=0.66, sep_conv_3x3=0.61),
    on_edge(1, [0, 2], "skip_connect", None, skip_connect=0.5, mine=0.6),
    NODE,
]


def dots(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if line.get_marker() != "None"]


def shown(axes: Axes) -> list[tuple[float, float, bool]]:
    """Accuracy, row and whether it is filled, of every dot."""
    places = [(line.get_xdata()[0], line.get_ydata()[0]) for line in dots(axes)]  # type: ignore[index]
    filled = [not same_color(line.get_markerfacecolor(), "white") for line in dots(axes)]
    return [(round(float(x), 6), float(y), fill) for (x, y), fill in zip(places, filled, strict=True)]


def test_shows_edges_in_the_order_of_decision_and_fills_what_was_kept() -> None:
    figure = draw_operation_strengths(DECISIONS)
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["1.  (2,3)", "2.  (0,2)"]
    assert [shown(first), shown(second)] == [[(66, 0, False), (61, 1, True)], [(50, 0, True), (60, 1, False)]]
    names = [[tick.get_text() for tick in axes.get_yticklabels()] for axes in (first, second)]
    assert names == [["skip_connect", "sep_conv_3x3"], ["skip_connect", "mine"]]
    assert dots(first)[0].get_color() == STYLES["skip_connect"].colour
    assert all(dot.get_markeredgecolor() == dot.get_color() for dot in dots(first))  # the filled are no smaller
    unmasked = [[line.get_xdata()[0] for line in axes.lines if line not in dots(axes)] for axes in (first, second)]  # type: ignore[index]
    assert unmasked == [[70.0], []]
    assert [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()][2:] == ["nothing masked"]
    assert len(draw_operation_strengths(DECISIONS[1:]).subfigs[0].legends[0].get_texts()) == 2


def test_the_edges_of_a_cell_share_one_scale_so_that_it_is_seen_which_matter() -> None:
    flat = on_edge(0, [0, 2], "none", None, none=0.60, noise=0.61)
    steep = on_edge(1, [1, 2], "noise", None, none=0.90, noise=0.40)
    other = on_edge(1, [1, 2], "noise", None, none=0.10, noise=0.10) | {"cell": "reduction"}
    one, two, third = draw_operation_strengths([flat, steep, other]).axes
    low, high = one.get_xlim()
    assert low < 40 and high > 90 and two.get_xlim() == (low, high)
    low, high = third.get_xlim()
    assert low < 10 < high < 40  # another cell type has a scale of its own, that holds even equal scores


def test_strengths_have_bars_of_their_standard_errors() -> None:
    strengths = [{"value": 2.0, "standard_error": 0.5}, {"value": 3.0, "standard_error": None}]
    decision = on_edge(0, [0, 2], "noise", none=0.5, noise=0.6) | {"strengths": strengths}
    (axes,) = draw_strengths([decision]).axes
    assert axes.get_title(loc="left") == "(0,2)"  # one point has no order
    assert shown(axes) == [(2, 0, False), (3, 1, True)]
    (bar,) = axes.collections
    assert [segment[:, 0].tolist() for segment in bar.get_segments()] == [[1.5, 2.5]]  # type: ignore[attr-defined]


def test_shows_the_rounds_of_a_node_and_what_it_kept() -> None:
    figure = draw_topology_strengths(DECISIONS)
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "3.  node 4"
    first = [(50, 0, False), (60, 1, False), (40, 2, True), (30, 3, True)]
    assert shown(axes) == [*first, (45, 0, False), (35, 2, True), (25, 3, True)]  # on the lines of the inputs
    assert axes.get_yticks().tolist() == [0, 1, 2, 3]
    large, small = dots(axes)[0], dots(axes)[4]
    assert large.get_markersize() > small.get_markersize()  # so that both are seen where the rounds agree
    assert len({line.get_marker() for line in axes.lines}) == 2  # one marker per round
    kept, dropped = (line.get_color() for line in figure.subfigs[0].legends[0].get_lines()[:2])
    assert [line.get_color() for line in axes.lines] == [kept if fill else dropped for *_, fill in shown(axes)]
    assert kept != dropped


def test_of_an_error_more_is_worse_in_its_own_unit() -> None:
    decision = on_edge(0, [2, 3], "sep_conv_3x3", None, skip_connect=0.0, sep_conv_3x3=0.0)
    for score, error in zip(decision["scores"], (12.5, 14.0), strict=True):
        score["mean_absolute_error"] = error
    figure = draw_operation_strengths([decision], Metric("mean_absolute_error", "min"))
    assert [x for x, *_ in shown(figure.axes[0])] == [12.5, 14.0]
    assert "Mean absolute error of the supernet with one operation masked: higher = stronger" in str(
        figure.get_suptitle()
    )
    assert [part.get_supxlabel() for part in figure.subfigs[0].subfigs] == ["validation mean absolute error"]


@pytest.mark.parametrize("draw", [draw_operation_strengths, draw_topology_strengths])
def test_refuses_decisions_that_were_taken_without_scores(draw: Any) -> None:
    decisions = [decision | {"scores": []} for decision in DECISIONS]
    with pytest.raises(ValueError, match=r"Of these 3 decision\(s\), none .* carries scores"):
        draw(decisions)
