"""The simulated schedule, against cases that can be worked out by hand."""

import pytest
from benchmarks.schedule import GridJob, Part, Simulation, grid

HOUR = 3600.0


def part(name: str, epochs: int, seconds: float = HOUR) -> Part:
    return Part(name, epochs, seconds, 1.0)


def test_one_job_after_the_other_on_one_gpu() -> None:
    jobs = [GridJob("a", (part("search", 2), part("retraining", 3))), GridJob("b", (part("search", 2), part("own", 1)))]
    outcome = Simulation(jobs, 1, None, start=0.5).run()
    assert outcome.elapsed == pytest.approx(0.5 + 2 + 3 + 0.5 + 1), "the second job finds the search there"
    assert (outcome.work, outcome.starting) == (pytest.approx(6), pytest.approx(1))
    assert (outcome.lost, outcome.waiting, outcome.preemptions) == (0, 0, 0)


def test_a_job_waits_for_the_one_that_is_at_its_search() -> None:
    jobs = [GridJob("a", (part("search", 2),)), GridJob("b", (part("search", 2), part("own", 1)))]
    outcome = Simulation(jobs, 2, None, start=0.0).run()
    assert (outcome.elapsed, outcome.waiting, outcome.work) == (3, 2, 3)


def test_a_preemption_costs_the_epoch_in_progress_and_a_start() -> None:
    outcome = Simulation([GridJob("a", (part("search", 10),))], 1, 4.0, start=0.25, seed=1).run()
    assert outcome.preemptions > 0
    assert outcome.work == 10
    assert outcome.starting == pytest.approx(0.25 * (outcome.preemptions + 1))
    assert 0 < outcome.lost < outcome.preemptions * 1.0, "less than an epoch each"
    assert outcome.elapsed <= 10 + outcome.lost + outcome.starting + 1e-9


@pytest.mark.parametrize("gpus", [1, 8, 32])
def test_less_than_two_percent_of_the_papers_grid_is_lost_if_every_gpu_is_preempted_every_two_hours(gpus: int) -> None:
    jobs = list(grid())
    outcome = Simulation(jobs, gpus, 2.0).run()
    undisturbed = Simulation(jobs, gpus, None).run()
    assert outcome.preemptions > 400
    assert outcome.work == pytest.approx(undisturbed.work)
    again = outcome.lost + outcome.starting - undisturbed.starting
    assert again / outcome.work < 0.02


def test_the_grid_is_the_papers() -> None:
    jobs = list(grid())
    assert len(jobs) == 4 * 3 * 3 * 4 + 7 * 4 + 3 * 4
    searches = {one.parts[0].name for one in jobs}
    assert len(searches) == 4 * 3 * 2 * 4 + 4 * 4 + 2 * 4, "magnitude and perturbation share a supernet"
