from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.selection.judge import Judge, decided_by, inputs_kept, judge_of_everything, operations_kept, order_of, worth
from tests.selection.small_cells import THREE, TWO, WIDE_CELL, apply, cell, two_cells, undecided
from torch import Tensor

from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection import OperationDecision, Perturbation, Strength, TopologyDecision, ZeroCost
from archselect.selection import zero_cost as module
from archselect.tasks import Task


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[MixtureWeights]]:
    """Let `synflow` be a formula in the mixture weights and the number of the batch; return what it is asked."""

    def install(formula: Callable[[MixtureWeights, int], float]) -> list[MixtureWeights]:
        asked: list[MixtureWeights] = []

        def proxy(supernet: Supernet, weights: MixtureWeights, images: Tensor, labels: Tensor, task: Task) -> float:
            asked.append(weights)
            return formula(weights, int(images[0, 0, 0, 0]))

        monkeypatch.setattr(module, "PROXIES", {"synflow": proxy})
        return asked

    return install


def says_worth(table: list[list[float]]) -> Callable[[MixtureWeights, int], float]:
    return lambda weights, batch: worth("cell", table)(weights)


def decided(supernet: Supernet, evaluator: Any = None, seed: int = 0, **options: Any) -> list[Any]:
    return decided_by(ZeroCost(**options), supernet, evaluator or Judge(), seed)


# Operations


def test_strengths_are_what_the_proxy_falls_by_without_each_operation_not_renormalised(says: Any) -> None:
    # Every weight is 1/2: without an operation of edge 0 the proxy is 0.3 / 2 or 0.5 / 2 lower.
    asked = says(says_worth([[0.3, 0.5], [0.0, 0.0], [0.0, 0.0]]))
    first = decided(undecided(cell("cell", TWO)), edge_order=[0, 1, 2])[0]
    assert (first.cell, first.edge, first.operation, first.scores, first.unmasked) == ("cell", 0, 1, (), None)
    assert [strength.value for strength in first.strengths] == pytest.approx([0.15, 0.25])
    assert [strength.standard_error for strength in first.strengths] == [None, None]
    assert [weights["cell"][0].tolist() for weights in asked[:3]] == [[0.5, 0.5], [0.0, 0.5], [0.5, 0.0]]
    assert [weights.active["cell"][0] for weights in asked[:3]] == [(True, True), (False, True), (True, False)]


def test_of_equals_the_first_operation_and_the_first_inputs_are_kept(says: Any) -> None:
    says(lambda weights, batch: 1.0)
    decisions = decided(undecided(cell("cell", THREE, WIDE_CELL)))
    assert set(operations_kept(decisions).values()) == {0}
    assert all(decision.strengths == (Strength(0.0),) * 3 for decision in decisions[:9])
    assert inputs_kept(decisions) == {("cell", 3): (2, 3), ("cell", 4): (5, 6)}


def test_an_edge_with_one_candidate_is_decided_without_asking_the_proxy(says: Any) -> None:
    asked = says(lambda weights, batch: 1.0)
    space = cell("cell", [["skip_connect"], TWO, ["nor_conv_3x3"]])
    decisions = decided(undecided(space), edge_order=[0, 1, 2])
    assert [decisions[0], decisions[2]] == [OperationDecision("cell", 0, 0), OperationDecision("cell", 2, 0)]
    assert len(asked) == 3


# Batches


@pytest.mark.parametrize(
    ("batches", "kept", "strengths", "errors"), [(1, 1, [1, 2], [None, None]), (2, 0, [2.5, 2], [1.5, 0])]
)
def test_the_mean_over_the_first_batches_decides(
    batches: int, kept: int, strengths: list[float], errors: list[float | None], says: Any
) -> None:
    # The falls without the two operations are 1 and 2 on batch 0, 4 and 2 on batch 1.
    falls = [(1.0, 2.0), (4.0, 2.0)]
    asked = says(lambda weights, b: sum(f for f, w in zip(falls[b], weights["cell"][0].tolist(), strict=True) if w))
    judge = Judge()
    first = decided(undecided(cell("cell", TWO)), judge, batches=batches, edge_order=[0, 1, 2])[0]
    assert first.operation == kept
    assert [strength.value for strength in first.strengths] == pytest.approx(strengths)
    assert [strength.standard_error for strength in first.strengths] == pytest.approx(errors)
    assert judge.read == 3 * batches, "once for each edge"
    assert len(asked) == 3 * 3 * batches


# Inputs of nodes


def test_keeps_the_inputs_without_which_the_proxy_is_lowest(says: Any) -> None:
    says(says_worth([[1.0], [1.0], [0.2], [0.3], [0.1], [0.4], [0.1], [0.3], [0.2]]))
    decisions = decided(undecided(cell("cell", THREE[:1], WIDE_CELL)))
    assert inputs_kept(decisions) == {("cell", 3): (2, 3), ("cell", 4): (5, 7)}
    rounds = {d.node: [round_.dropped for round_ in d.rounds] for d in decisions if isinstance(d, TopologyDecision)}
    assert rounds == {3: [4], 4: [6, 8]}
    assert all(not round_.scores for d in decisions if isinstance(d, TopologyDecision) for round_ in d.rounds)


# Order and seeds


def test_edges_and_nodes_come_in_the_order_in_which_perturbation_takes_them(says: Any) -> None:
    orders = []
    for seed in range(3):
        says(lambda weights, batch: 1.0)
        orders.append(order_of(decided(two_cells(), seed=seed)))
        assert orders[-1] == order_of(decided_by(Perturbation(), two_cells(), Judge(), seed))
        assert [name for name, _ in orders[-1]] == ["normal", "reduction"] * 11
    assert orders[0] != orders[1] != orders[2]


def test_a_selection_that_was_cut_off_ends_with_the_same_architecture(says: Any) -> None:
    judge = judge_of_everything(two_cells())
    says(lambda weights, batch: judge.accuracy(weights) ** 2)
    whole = decided(two_cells(), seed=4)
    for stop in (1, 10, 19):
        rest = two_cells()
        for decision in whole[:stop]:
            apply(decision, rest)
        assert decided(rest, seed=4) == whole[stop:]


# What cannot be


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_proxy_that_is_not_a_finite_number_is_refused(value: float, says: Any) -> None:
    says(lambda weights, batch: value)
    with pytest.raises(ValueError, match=f"selection.proxy=synflow is {value} for this supernet"):
        decided(undecided(cell("cell", TWO)))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_batches_than_asked_for_are_refused(count: int, says: Any) -> None:
    says(lambda weights, batch: 1.0)
    with pytest.raises(ValueError, match=f"batches=2, but the images make {count} scoring batches"):
        decided(two_cells(), Judge(images=[(torch.zeros(2, 3, 4, 4), torch.zeros(2))] * count), batches=2)
