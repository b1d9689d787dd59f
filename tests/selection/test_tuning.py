from typing import Any

import pytest
from tests.selection.small_selection import cells_of

from archselect.selection import Perturbation, Tuning


def schedule(space: str, **options: Any) -> tuple[list[int], int]:
    """Return the epoch before which each point is decided, and all epochs."""
    tuning = Tuning(**options)
    selector = Perturbation(tuning=tuning)
    cells = cells_of(space)
    selector.check(cells)
    points = selector.points(cells)
    return [tuning.epoch_of(point, points) for point in range(points)], tuning.total_epochs(points)


@pytest.mark.parametrize("space", ["darts", "s1", "s2", "s3", "s4"])
def test_the_darts_family_decides_at_17_points_within_81_epochs(space: str) -> None:
    epochs, total = schedule(space)
    assert epochs == [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80]
    assert total == 81


def test_nasbench201_decides_at_6_points_and_the_last_of_25_epochs_moves_up() -> None:
    assert schedule("nasbench201", epochs=25) == ([0, 5, 10, 15, 20, 24], 25)


def test_one_epoch_runs_after_the_last_decision() -> None:
    assert schedule("nasbench201") == ([0, 5, 10, 15, 20, 25], 26)
    assert schedule("nasbench201", epochs_between=1) == ([0, 1, 2, 3, 4, 5], 6)


def test_epochs_beyond_what_the_points_need_run_after_the_last() -> None:
    assert schedule("nasbench201", epochs=40) == ([0, 5, 10, 15, 20, 25], 40)


def test_without_epochs_between_nothing_is_tuned_whatever_the_epochs() -> None:
    assert schedule("nasbench201", epochs_between=0, epochs=25) == ([0] * 6, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs_between": -1}, "selection.tuning.epochs_between must be a whole number, 0 or more; got -1"),
        ({"epochs_between": 2.5}, "selection.tuning.epochs_between must be a whole number, 0 or more; got 2.5"),
        ({"epochs": 0}, "selection.tuning.epochs must be a whole number above 0; got 0"),
        ({"learning_rate": -0.1}, "selection.tuning.learning_rate must be a finite number, 0 or more; got -0.1"),
        ({"learning_rate": float("nan")}, "selection.tuning.learning_rate must be a finite number, 0 or more; got nan"),
        ({"schedule": "step"}, "selection.tuning.schedule must be one of constant, cosine; got 'step'"),
    ],
)
def test_a_tuning_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tuning(**options)
