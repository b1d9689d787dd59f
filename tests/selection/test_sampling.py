from collections import Counter
from typing import Any

import pytest
import torch
from tests.selection.judge import Judge, decided_by, operations_kept, worth
from tests.selection.small_cells import PLAIN_CELL, THREE, TWO, WIDE_CELL, apply, cell, cells_of, undecided

from archselect.selection import Sampling, TopologyDecision
from archselect.selection.sampling import weights_of

LEANING = [[0.7, 0.2, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]


# Drawing


@pytest.mark.parametrize("distribution", ["alpha", "uniform"])
def test_operations_are_drawn_in_proportion_to_the_mixture_or_uniformly(distribution: Any) -> None:
    supernet = undecided(cell("cell", THREE), weights={"cell": LEANING})
    drawn = Sampling(samples=600, distribution=distribution).draw(supernet, seed=0)
    for edge, row in enumerate(LEANING):
        counts = Counter(architecture[0].operations[edge] for architecture in drawn)
        expected = [600 * share for share in row] if distribution == "alpha" else [200] * 3
        assert sum((counts[index] - n) ** 2 / n for index, n in enumerate(expected)) < 13.8  # chi-square, p = 0.001


def test_edges_and_inputs_are_drawn_separately_and_inputs_uniformly() -> None:
    supernet = undecided(cell("cell", THREE, WIDE_CELL))
    drawn = Sampling(samples=900).draw(supernet, seed=0)
    together = Counter(architecture[0].operations[:2] for architecture in drawn)
    assert sum((count - 100) ** 2 / 100 for count in together.values()) < 26.1  # chi-square, 8 degrees, p = 0.001
    inputs = Counter(architecture[0].kept[5:] for architecture in drawn)
    assert len(inputs) == 6
    assert sum((count - 150) ** 2 / 150 for count in inputs.values()) < 20.5


def test_the_weights_of_an_edge_need_not_sum_to_one() -> None:
    supernet = undecided(cell("cell", [["skip_connect"], [*TWO], [*THREE]]))
    supernet.relaxed = lambda name: torch.tensor([[0.2, 9.0, 9.0], [0.3, 0.3, 9.0], [0.0, 0.4, 0.0]])  # type: ignore[method-assign]
    operations = [architecture[0].operations for architecture in Sampling(samples=200).draw(supernet, 0)]
    assert {operation[0] for operation in operations} == {0}
    assert 70 < sum(operation[1] for operation in operations if operation[1]) < 130
    assert {operation[2] for operation in operations} == {1}


# Scoring


def test_a_candidate_is_one_hot_on_the_edges_that_it_keeps_and_zero_elsewhere() -> None:
    judge, supernet = Judge(), undecided(cell("one", THREE, WIDE_CELL), cell("two", THREE, PLAIN_CELL))
    before = dict(supernet.decisions)
    selector = Sampling(samples=20)
    list(selector.decide(selector.steps(supernet.cell_spaces)[0], supernet, judge, 0))
    trials = [trial for round_ in judge.rounds for trial in round_]
    for trial, (one, two) in zip(trials, selector.draw(supernet, 0), strict=True):
        for name, cell_decisions in (("one", one), ("two", two)):
            expected = torch.zeros(len(cell_decisions.kept), 3)
            for edge, operation in enumerate(cell_decisions.operations):
                assert (operation is not None) == cell_decisions.kept[edge]
                if operation is not None:
                    expected[edge, operation] = 1
            assert torch.equal(trial[name], expected)
            assert trial.active[name] == tuple(map(tuple, expected.bool().tolist()))
        assert trial["one"].sum(dim=1).tolist()[:2] == [1, 1]
        assert (trial["one"][2:5].sum(), trial["one"][5:].sum(), trial["two"].sum()) == (2, 2, 3)
    assert supernet.decisions == before


@pytest.mark.parametrize(("criterion", "kept"), [("metric", 1), ("loss", 0)])
def test_the_best_architecture_is_kept(criterion: Any, kept: int) -> None:
    judge = Judge(worth("cell", [[0.1, 0.3]] * 3), worth("cell", [[0.1, 0.3]] * 3))
    decided = decided_by(Sampling(criterion=criterion), undecided(cell("cell", TWO)), judge)
    assert operations_kept(decided) == {("cell", edge): kept for edge in range(3)}


def test_an_architecture_that_is_drawn_again_is_not_scored_again() -> None:
    judge = Judge()
    decided_by(Sampling(samples=400), undecided(cell("cell", [["skip_connect"], [*TWO], [*THREE]])), judge)
    assert judge.passes == 6


def test_architectures_that_differ_on_dropped_edges_only_are_one() -> None:
    space = cell("cell", [["skip_connect"]] * 2 + [[*TWO]] + [["skip_connect"]] * 6, WIDE_CELL)
    supernet, judge = undecided(space), Judge()
    apply(TopologyDecision("cell", 4, (5, 6)), supernet)
    decided_by(Sampling(samples=100), supernet, judge)
    assert judge.passes == 5  # inputs (2, 3) and (2, 4) with either operation on edge 2, and (3, 4)


def test_architectures_are_scored_sixteen_at_a_time() -> None:
    judge = Judge()
    decided_by(Sampling(samples=40), undecided(*cells_of("darts").values()), judge)
    assert [len(round_) for round_ in judge.rounds] == [16, 16, 8]


def test_the_strength_of_an_operation_is_the_mean_over_the_samples_that_have_it() -> None:
    supernet = undecided(cell("cell", TWO, WIDE_CELL))
    table = [[0.01 * edge, 0.02 * edge] for edge in range(9)]
    selector = Sampling(samples=30)
    seen: Any = {0: [], 1: []}
    for architecture in selector.draw(supernet, 0):
        seen[architecture[0].operations[0]].append(worth("cell", table)(weights_of(supernet, architecture)))
    decision = decided_by(selector, supernet, Judge(worth("cell", table)))[0]
    for strength, worths in zip(decision.strengths, seen.values(), strict=True):
        values = torch.tensor(worths, dtype=torch.float64)
        assert strength.value == pytest.approx(float(values.mean()))
        assert strength.standard_error == pytest.approx(float(values.std()) / len(worths) ** 0.5)


def test_an_edge_with_an_operation_that_was_never_drawn_and_one_with_a_single_candidate_have_no_strengths() -> None:
    supernet = undecided(cell("cell", [["skip_connect"], [*TWO], [*TWO]]))
    supernet.alphas["cell"].data[1, 0] = 50.0
    decided = decided_by(Sampling(samples=50), supernet, Judge())
    assert [len(decision.strengths) for decision in decided] == [0, 0, 2]
