from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.selection.small_selection import WIDE_CELL, Judge, apply, cell, decisions_of, never, undecided, worth
from tests.selection.test_scorer import IMAGES, Batches, noisy, plain

from archselect.models.supernet.relaxation import Sigmoid, SupernetOptions
from archselect.models.supernet.supernet import Supernet
from archselect.selection import (
    Decision,
    DecisionStep,
    OperationDecision,
    Perturbation,
    Score,
    SuccessiveElimination,
    TopologyDecision,
)
from archselect.selection.schedule import (
    edge_points,
    gradient_norms,
    next_edge,
    next_of,
    node_points,
    normalised_entropies,
)

TWO = ("skip_connect", "nor_conv_1x1")
THREE = (*TWO, "nor_conv_3x3")


class Reader(Judge):
    """A judge that has scoring batches and remembers the races."""

    def __init__(self, images: Batches = IMAGES, **formulas: Any) -> None:
        super().__init__(**formulas)
        self.images = images
        self.races: list[SuccessiveElimination | None] = []

    def batches(self) -> Batches:
        return self.images

    def score(self, candidates: Any, race: SuccessiveElimination | None = None) -> list[Score]:
        self.races.append(race)
        return super().score(candidates, race)


def edges_of(decided: Sequence[tuple[int, Decision]], name: str = "cell") -> list[int]:
    return [d.edge for _, d in decided if isinstance(d, OperationDecision) and d.cell == name]


def edges_in_order(supernet: Supernet, trials: Any, name: str = "cell", **options: Any) -> list[int]:
    return edges_of(list(decisions_of(Perturbation(**options), supernet, trials)), name)


# From the last to the first, and as given


def test_reverse_goes_from_the_last_edge_to_the_first() -> None:
    supernet = undecided(cell("normal", THREE, WIDE_CELL), cell("reduction", THREE))
    decided = list(decisions_of(Perturbation(edge_order="reverse"), supernet, Judge()))
    assert edges_of(decided, "normal") == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert edges_of(decided, "reduction") == [2, 1, 0]


def test_a_given_order_passes_over_what_is_decided() -> None:
    supernet = undecided(cell("normal", THREE), cell("reduction", THREE))
    apply(OperationDecision("normal", 2, 0), supernet)
    orders: tuple[Any, ...] = ([2, 0, 1], {"normal": [2, 0, 1], "reduction": [1, 2, 0]})
    assert [next_edge(order, supernet, "normal", never, (0,)) for order in orders] == [0, 0]
    assert [next_edge(order, supernet, "reduction", never, (0,)) for order in orders] == [2, 1]
    assert next_of([4, 2, 3], "cell", [3, 4], (0,)) == 4


def test_a_random_edge_is_a_function_of_its_purpose() -> None:
    drawn = []
    for random_state in (1, 2):
        torch.manual_seed(random_state)
        drawn.append([next_of("random", "cell", [3, 5, 6], (0, "edge", number)) for number in range(30)])
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {3, 5, 6}


# By entropy


def test_entropies_are_those_worked_out_by_hand() -> None:
    # In bits: 1; 0.9 * 0.1520 + 0.1 * 3.3219 = 0.4690; 0.7 * 0.5146 + 0.3 * 1.7370 = 0.8813
    supernet = undecided(cell("cell", TWO), weights={"cell": [[0.5, 0.5], [0.9, 0.1], [0.7, 0.3]]})
    assert normalised_entropies(supernet, "cell") == pytest.approx([1, 0.4690, 0.8813], abs=1e-4)
    assert edges_in_order(supernet, Judge(), edge_order="entropy") == [1, 2, 0]


def test_an_entropy_is_a_share_of_what_the_edge_could_have() -> None:
    # Three candidates: 0.8813 + 0.3 * 1 = 1.1813 bits of log2(3) = 1.5850, a share of 0.7453 and so the more certain.
    space = cell("cell", [[*TWO], [*THREE], ["skip_connect"]])
    supernet = undecided(space, weights={"cell": [[0.7, 0.3, 99.0], [0.7, 0.15, 0.15], [0.2, 99.0, 99.0]]})
    assert normalised_entropies(supernet, "cell") == pytest.approx([0.8813, 0.7453, 0], abs=1e-4)
    assert edges_in_order(supernet, Judge(), edge_order="entropy") == [2, 1, 0]


def test_weights_that_do_not_sum_to_one_are_compared_as_shares() -> None:
    supernet = Supernet({"cell": cell("cell", TWO)}, SupernetOptions(relaxation=Sigmoid()))
    supernet.alphas["cell"].data = torch.tensor([[0.9, 0.9], [0.18, 0.02], [0.35, 0.15]]).logit()
    assert normalised_entropies(supernet, "cell") == pytest.approx([1, 0.4690, 0.8813], abs=1e-4)


def test_of_equal_entropies_the_first_edge_comes_first() -> None:
    assert edges_in_order(undecided(cell("cell", THREE)), Judge(), edge_order="entropy") == [0, 1, 2]


# By the norm of the gradient


def test_gradient_norms_are_those_of_the_mean_loss_over_all_images() -> None:
    supernet = plain()
    weights = supernet.mixture_weights()["cell"].detach().requires_grad_()
    supernet.train()
    total = sum(F.cross_entropy(supernet(x, {"cell": weights}), y) * len(y) for x, y in IMAGES) / (5 + 5 + 2)
    (by_weights,) = torch.autograd.grad(total, weights)
    # Through the softmax by hand: d/d alpha_i = w_i (g_i - sum_j w_j g_j).
    by_alpha = weights * (by_weights - (weights * by_weights).sum(dim=1, keepdim=True))
    expected = by_alpha.pow(2).sum(dim=1).sqrt().tolist()
    norms = gradient_norms(plain().eval(), Reader(), (0,))
    assert norms == {"cell": pytest.approx(expected, rel=1e-4)}
    assert min(norms["cell"]) > 1e-6


def test_the_edge_with_the_largest_gradient_comes_first_and_the_others_are_compared_again() -> None:
    supernet = plain()
    selector = Perturbation(edge_order="gradient_norm")
    for point in range(3):
        norms = gradient_norms(supernet, Reader(), (0,))["cell"]
        left = supernet.decisions["cell"].undecided_edges
        assert all((norms[edge] > 0) == (edge in left) for edge in range(3))
        ((_, decision),) = decisions_of(selector, supernet, Reader(), points=[point])
        assert isinstance(decision, OperationDecision)
        assert norms[decision.edge] == max(norms)


def test_all_gradients_are_zero_where_no_path_is_left_and_the_first_edge_comes_first() -> None:
    supernet = plain()
    apply(TopologyDecision("cell", 2, ()), supernet)
    assert gradient_norms(supernet, Reader(), (0,)) == {"cell": [0, 0, 0]}
    assert next_edge("gradient_norm", supernet, "cell", Reader(), (0,)) == 0


@pytest.mark.parametrize("make", [plain, noisy])
def test_reading_a_gradient_leaves_no_trace_and_depends_on_the_purpose_only(make: Any) -> None:
    supernet = make().eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items() if isinstance(value, torch.Tensor)}
    seen = []
    for random_state in (1, 2):
        torch.manual_seed(random_state)
        expected = torch.rand(1)
        torch.manual_seed(random_state)
        seen.append(gradient_norms(supernet, Reader(), (0, "edge")))
        assert torch.equal(torch.rand(1), expected)
    assert seen[0] == seen[1]
    assert (seen[0] == gradient_norms(supernet, Reader(), (1, "edge"))) == (make is plain)
    assert not any(module.training for module in supernet.modules())
    assert all(torch.equal(supernet.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in supernet.parameters())


# By the margin of the best operation


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_global_decides_the_edge_whose_best_operation_stands_out_most(criterion: Any) -> None:
    # Best less second best: 0.1, 0.3, 0.25. The best of all, 0.9, stands out least.
    table = [[0.8, 0.9, 0.1], [0.5, 0.1, 0.2], [0.1, 0.2, 0.45]]
    gain = worth("cell", table)
    judge = Reader(accuracy=gain) if criterion == "accuracy" else Reader(loss=lambda weights: 9 - gain(weights))
    supernet = undecided(cell("cell", THREE))
    selector = Perturbation(edge_order="global", operation_criterion=criterion)
    decided = list(decisions_of(selector, supernet, judge))
    assert [(point, d.edge, d.operation) for point, d in decided if isinstance(d, OperationDecision)] == [
        (0, 1, 0),
        (1, 2, 2),
        (2, 0, 1),
    ]
    assert [len(round_) for round_ in judge.rounds] == [3, 3, 3, 3, 3, 3]  # three edges, then two, then one
    assert judge.races == [None] * 6, "edges are compared by whole scores"


def test_global_takes_edges_with_a_single_candidate_first_and_without_scoring() -> None:
    supernet = undecided(cell("cell", [[*TWO], ["skip_connect"], [*THREE]]))
    judge = Judge(worth("cell", [[0.0, 0.9, 0], [0, 0, 0], [0.1, 0, 0]]))
    assert edges_in_order(supernet, judge, edge_order="global") == [1, 0, 2]
    assert [len(round_) for round_ in judge.rounds] == [2, 3, 2, 3, 3]


def test_global_works_through_all_points_and_takes_each_edge_once() -> None:
    supernet = undecided(cell("normal", TWO, WIDE_CELL), cell("reduction", TWO, WIDE_CELL))
    decided = list(decisions_of(Perturbation(edge_order="global"), supernet, Judge()))
    assert [point for point, _ in decided] == [point for point in range(9 + 2) for _ in range(2)]
    assert all(sorted(edges_of(decided, name)) == list(range(9)) for name in ("normal", "reduction"))
    supernet.genotype()


@pytest.mark.parametrize("rule", ["magnitude", "random"])
def test_global_needs_the_harm_that_masking_does(rule: Any) -> None:
    with pytest.raises(ValueError, match=rf"edge_order=global compares the harm .*operation_rule is {rule}\."):
        Perturbation(edge_order="global", operation_rule=rule)


# Cut off


@pytest.mark.parametrize("order", ["random", "reverse", "entropy", "gradient_norm", "global", [3, 0, 4, 1, 2]], ids=str)
def test_a_selection_that_was_cut_off_within_a_point_goes_on_with_the_same_edges(order: Any) -> None:
    selector = Perturbation(edge_order=order)
    whole = list(decisions_of(selector, leaning(), judge_of_two(), seed=3))
    for point in (0, 2, 4):
        resumed = leaning()
        for earlier, decision in whole:
            if earlier < point or (earlier == point and decision.cell == "normal"):
                apply(decision, resumed)
        torch.manual_seed(point)
        went_on = list(decisions_of(selector, resumed, judge_of_two(), seed=3, points=range(point, 6)))
        assert went_on == [(p, d) for p, d in whole if p > point or (p == point and d.cell == "reduction")]


def leaning() -> Supernet:
    supernet = noisy()
    generator = torch.Generator().manual_seed(4)
    for alpha in supernet.alphas.values():
        alpha.data = torch.randn(alpha.shape, generator=generator)
    return supernet


def judge_of_two() -> Reader:
    tables = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(5)).tolist()
    normal, reduction = worth("normal", tables[0]), worth("reduction", tables[1])
    return Reader(accuracy=lambda weights: normal(weights) + reduction(weights))


# After a search that decided


def partly_decided() -> Supernet:
    """Normal: edge 5 and the inputs of node 4 are decided, so that 6 and 7 are dropped. Reduction: edge 0 is."""
    supernet = undecided(cell("normal", THREE, WIDE_CELL), cell("reduction", THREE, WIDE_CELL))
    apply(OperationDecision("normal", 5, 1), supernet)
    apply(TopologyDecision("normal", 4, (5, 8)), supernet)
    apply(OperationDecision("reduction", 0, 2), supernet)
    return supernet


def test_there_are_as_many_points_as_the_cell_type_with_most_left_to_decide_needs() -> None:
    supernet = partly_decided()
    cells = supernet.cell_spaces
    assert (edge_points(cells), node_points(cells)) == (9, 2)
    assert (edge_points(cells, supernet.decisions), node_points(cells, supernet.decisions)) == (8, 2)
    normal = {"normal": cells["normal"]}
    assert (edge_points(normal, supernet.decisions), node_points(normal, supernet.decisions)) == (6, 1)


def test_what_the_search_decided_or_dropped_is_left_alone_and_cell_types_end_together() -> None:
    supernet = partly_decided()
    decided = from_here(supernet, Judge())
    places = {
        (name, kind): [point for point, d in decided if d.cell == name and isinstance(d, kind)]
        for name in ("normal", "reduction")
        for kind in (OperationDecision, TopologyDecision)
    }
    assert places == {
        ("normal", OperationDecision): [2, 3, 4, 5, 6, 7],
        ("normal", TopologyDecision): [9],
        ("reduction", OperationDecision): list(range(8)),
        ("reduction", TopologyDecision): [8, 9],
    }
    assert sorted(edges_of(decided, "normal")) == [0, 1, 2, 3, 4, 8]
    assert sorted(edges_of(decided, "reduction")) == list(range(1, 9))
    assert supernet.decisions["normal"].operations[5:8] == (1, None, None)
    assert supernet.decisions["normal"].kept[5:] == (True, False, False, True)
    supernet.genotype()


def test_where_the_search_decided_everything_no_point_is_left() -> None:
    supernet = partly_decided()
    from_here(supernet, Judge())
    assert Perturbation().points(supernet.cell_spaces, supernet.decisions) == 0


def from_here(supernet: Supernet, judge: Judge) -> list[tuple[int, Decision]]:
    of, decided = Perturbation().points(supernet.cell_spaces, supernet.decisions), []
    for point in range(of):
        for decision in Perturbation().decide(DecisionStep(point, of), supernet, judge, 0):
            apply(decision, supernet)
            decided.append((point, decision))
    return decided
