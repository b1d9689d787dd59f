from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.selection.small_selection import (
    THREE,
    TWO,
    WIDE_CELL,
    Judge,
    apply,
    cell,
    decided_by,
    decisions_of,
    never,
    order_of,
    two_cells,
    undecided,
    worth,
)
from tests.selection.test_scorer import IMAGES, noisy, plain

from archselect.models.supernet.relaxation import Sigmoid, SupernetOptions
from archselect.models.supernet.supernet import Supernet
from archselect.selection import Discretization, OperationDecision, Perturbation, TopologyDecision, ZeroCost
from archselect.selection.schedule import gradient_norms, next_edge, next_node, normalised_entropies


def edges_in_order(supernet: Supernet, evaluator: Any, name: str = "cell", **options: Any) -> list[Any]:
    return [edge for cell, edge in order_of(decided_by(Perturbation(**options), supernet, evaluator)) if cell == name]


# From the last to the first, and as given


def test_reverse_goes_from_the_last_edge_to_the_first() -> None:
    supernet = undecided(cell("normal", THREE, WIDE_CELL), cell("reduction", THREE))
    decided = order_of(decided_by(Perturbation(edge_order="reverse"), supernet, Judge()))
    assert [edge for name, edge in decided if name == "normal"][:9] == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert [edge for name, edge in decided if name == "reduction"] == [2, 1, 0]


def test_a_given_order_passes_over_what_is_decided() -> None:
    supernet = undecided(cell("normal", THREE), cell("reduction", THREE))
    apply(OperationDecision("normal", 2, 0), supernet)
    orders: tuple[Any, ...] = ([2, 0, 1], {"normal": [2, 0, 1], "reduction": [1, 2, 0]})
    assert [next_edge(order, supernet, "normal", never, (0,)) for order in orders] == [0, 0]
    assert [next_edge(order, supernet, "reduction", never, (0,)) for order in orders] == [2, 1]
    assert next_node([4, 2, 3], two_cells(), "normal", (0,)) == 4


def test_a_random_edge_is_a_function_of_its_key() -> None:
    supernet = undecided(cell("cell", THREE, WIDE_CELL))
    drawn = []
    for random_state in (1, 2):
        torch.manual_seed(random_state)
        drawn.append([next_edge("random", supernet, "cell", never, (0, "edge", number)) for number in range(60)])
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == set(range(9))


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
    norms = gradient_norms(plain().eval(), Judge(images=IMAGES), (0,))
    assert norms == {"cell": pytest.approx(expected, rel=1e-4)}
    assert min(norms["cell"]) > 1e-6


def test_the_edge_with_the_largest_gradient_comes_first_and_the_others_are_compared_again() -> None:
    supernet = plain()
    selector = Perturbation(edge_order="gradient_norm")
    for step in range(3):
        norms = gradient_norms(supernet, Judge(images=IMAGES), (0,))["cell"]
        left = supernet.decisions["cell"].undecided_edges
        assert all((norms[edge] > 0) == (edge in left) for edge in range(3))
        ((_, decision),) = decisions_of(selector, supernet, Judge(images=IMAGES), steps=[step])
        assert isinstance(decision, OperationDecision)
        assert norms[decision.edge] == max(norms)


def test_all_gradients_are_zero_where_no_path_is_left_and_the_first_edge_comes_first() -> None:
    supernet = plain()
    apply(TopologyDecision("cell", 2, ()), supernet)
    assert gradient_norms(supernet, Judge(images=IMAGES), (0,)) == {"cell": [0, 0, 0]}
    assert next_edge("gradient_norm", supernet, "cell", Judge(images=IMAGES), (0,)) == 0


@pytest.mark.parametrize("make", [plain, noisy])
def test_reading_a_gradient_leaves_no_trace_and_depends_on_the_key_only(make: Any) -> None:
    supernet = make().eval()
    before = {name: value.clone() for name, value in supernet.state_dict().items() if isinstance(value, torch.Tensor)}
    seen = []
    for random_state in (1, 2):
        torch.manual_seed(random_state)
        expected = torch.rand(1)
        torch.manual_seed(random_state)
        seen.append(gradient_norms(supernet, Judge(images=IMAGES), (0, "edge")))
        assert torch.equal(torch.rand(1), expected)
    assert seen[0] == seen[1]
    assert (seen[0] == gradient_norms(supernet, Judge(images=IMAGES), (1, "edge"))) == (make is plain)
    assert not any(module.training for module in supernet.modules())
    assert all(torch.equal(supernet.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in supernet.parameters())


# By the margin of the best operation


@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_global_decides_the_edge_whose_best_operation_stands_out_most(criterion: Any) -> None:
    # Best less second best: 0.1, 0.3, 0.25. The best of all, 0.9, stands out least.
    table = [[0.8, 0.9, 0.1], [0.5, 0.1, 0.2], [0.1, 0.2, 0.45]]
    gain = worth("cell", table)
    judge = Judge(accuracy=gain) if criterion == "accuracy" else Judge(loss=lambda weights: 9 - gain(weights))
    supernet = undecided(cell("cell", THREE))
    selector = Perturbation(edge_order="global", operation_criterion=criterion)
    assert [(d.edge, d.operation) for d in decided_by(selector, supernet, judge)] == [(1, 0), (2, 2), (0, 1)]
    assert [len(round_) for round_ in judge.rounds] == [3, 3, 3, 3, 3, 3]  # three edges, then two, then one
    assert judge.eliminations == [None] * 6, "edges are compared by whole scores"


def test_global_takes_edges_with_a_single_candidate_first_and_without_scoring() -> None:
    supernet = undecided(cell("cell", [[*TWO], ["skip_connect"], [*THREE]]))
    judge = Judge(worth("cell", [[0.0, 0.9, 0], [0, 0, 0], [0.1, 0, 0]]))
    assert edges_in_order(supernet, judge, edge_order="global") == [1, 0, 2]
    assert [len(round_) for round_ in judge.rounds] == [2, 3, 2, 3, 3]


def test_global_works_through_all_steps_and_takes_each_edge_once() -> None:
    supernet = two_cells()
    decided = list(decisions_of(Perturbation(edge_order="global"), supernet, Judge()))
    assert [step for step, _ in decided] == [step for step in range(9 + 2) for _ in range(2)]
    supernet.genotype()


# Orders that cannot be


@pytest.mark.parametrize(
    "order",
    [
        "rndom",
        [0, 1],
        [0, 1, 2, 3],
        [0, 1, 1],
        [0, 1, "2"],
        [0, 1, None],
        [[0], 1, 2],
        2,
        {"normal": [0, 1, 2]},
        {"normal": [0, 1, 2], "reduction": [0, 1]},
        {"normal": [0, 1, 2], "reduction": "random"},
    ],
    ids=str,
)
def test_an_order_that_does_not_name_every_edge_once_is_refused(order: Any) -> None:
    cells = {name: cell(name, THREE) for name in ("normal", "reduction")}
    with pytest.raises(
        ValueError,
        match=r"^selection\.edge_order must be random, reverse, entropy, gradient_norm, global or, for the "
        r"(normal|reduction) cell, contain each of \[0, 1, 2\] once; got",
    ):
        Perturbation(edge_order=order).check(cells)


@pytest.mark.parametrize(
    "order", ["random", [2, 0, 1], (2, 0, 1), {"normal": [0, 1, 2], "reduction": [2, 1, 0]}], ids=str
)
def test_an_order_that_names_every_edge_once_is_accepted(order: Any) -> None:
    Perturbation(edge_order=order).check({name: cell(name, THREE) for name in ("normal", "reduction")})


def test_an_order_of_nodes_names_those_that_choose_their_inputs() -> None:
    wide = {"cell": cell("cell", THREE, WIDE_CELL)}
    Perturbation(node_order=[4, 3]).check(wide)
    with pytest.raises(ValueError, match=r"selection\.node_order .* the cell cell, contain each of \[3, 4\] once; got"):
        Discretization(node_order=[2, 3, 4]).check(wide)


def test_an_order_of_cell_types_that_are_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"selection\.edge_order names the cell types \['normal'\], but .* \['cell'\]"):
        ZeroCost(edge_order={"normal": [0, 1, 2]}).check({"cell": cell("cell", THREE)})
