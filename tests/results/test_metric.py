"""How values of a metric are written, which is better, and which architectures no other beats at their cost."""

import pytest

from archselect.results.costs import LATENCY_1, MACS, front, spans_decades
from archselect.results.metric import ACCURACY, Metric

ERROR = Metric("mean_absolute_error", "min")


def test_an_accuracy_is_shown_in_percent_and_an_error_never() -> None:
    assert (ACCURACY.amount(0.9751), ACCURACY.label, ACCURACY.column) == ("97.51 %", "accuracy (%)", "accuracy %")
    assert (ERROR.amount(0.012345), ERROR.label, ERROR.column) == ("0.01235", *2 * ["mean absolute error"])
    assert ERROR.amount(12.5) == "12.50" and ERROR.amount(1234.56) == "1235"
    assert (ACCURACY.difference(0.0125), ERROR.difference(0.0125)) == ("1.25 points", "0.01250")
    assert (ERROR.spread(13.5, 1.0), ACCURACY.spread(97.2, 0.141)) == ("13.50 ± 1.00", "97.20 ± 0.14")
    assert (ERROR.amount(0.0), ERROR.amount(float("nan")), ERROR.amount(2e-7)) == ("0", "nan", "2e-07")
    assert Metric("label_accuracy").amount(0.5) == "50.00 %"
    assert ERROR.title == "Mean absolute error" and ERROR.key("val") == "val_mean_absolute_error"


def test_better_is_larger_or_smaller_as_the_mode_says() -> None:
    assert (ACCURACY.best([0.1, 0.3]), ERROR.best([0.1, 0.3]), ERROR.best([])) == (0.3, 0.1, None)


POINTS = [(3.0, 0.5, "c"), (1.0, 0.2, "a"), (2.0, 0.2, "b"), (4.0, 0.4, "d"), (3.0, 0.3, "e"), (3.0, 0.5, "twin")]


@pytest.mark.parametrize(
    ("metric", "names"), [(ACCURACY, ["a", "c", "twin"]), (ERROR, ["a"]), (Metric("loss", "min"), ["a"])]
)
def test_the_pareto_front_holds_what_nothing_beats_at_its_cost(metric: Metric, names: list[str]) -> None:
    """By hand: b costs more than a and is no better, d costs more than c and is worse, e costs as much as c."""
    assert [name for *_, name in front(POINTS, metric)] == names


def test_the_front_of_an_error_goes_down() -> None:
    points = [(1.0, 9.0, "a"), (2.0, 10.0, "b"), (3.0, 4.0, "c")]
    assert [name for *_, name in front(points, ERROR)] == ["a", "c"]
    assert front([], ERROR) == []


def test_costs_are_shown_in_their_unit_and_small_ones_not_as_nothing() -> None:
    assert MACS.amount(574_000_000) == "574.00 M" and MACS.amount(12_345) == "0.012 M"
    assert LATENCY_1.amount(4.5) == "4.50 ms" and LATENCY_1.number(None) == "–"


def test_an_axis_is_logarithmic_where_costs_span_a_decade() -> None:
    assert spans_decades([1, 10]) and not spans_decades([1, 9]) and not spans_decades([0, 10]) and not spans_decades([])
