from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.selection.judge import Judge, decided_by, decisions_of, never, order_of, worth
from tests.selection.small_cells import (
    PLAIN_CELL,
    THREE,
    TWO,
    WIDE_CELL,
    WithoutNetwork,
    apply,
    cell,
    cells_of,
    leaves_no_trace,
    two_cells,
    undecided,
)
from tests.selection.test_scorer import IMAGES, noisy, plain

from archselect.models.cell_space import CellTopology
from archselect.models.supernet.relaxation import Sigmoid, SupernetOptions
from archselect.models.supernet.supernet import Supernet
from archselect.selection import Discretization, OperationDecision, Perturbation, TopologyDecision, Tuning, ZeroCost
from archselect.selection.base import DecisionStep
from archselect.selection.schedule import (
    gradient_norms,
    next_edge,
    next_node,
    normalised_entropies,
    progressive_steps,
)

BOTH = ("normal", "reduction")


# Steps and epochs


@pytest.mark.parametrize(
    ("space", "options", "starts", "total"),
    [
        *(pytest.param(space, {}, [*range(0, 81, 5)], 81, id=space) for space in ("darts", "s1", "s2", "s3", "s4")),
        pytest.param("nasbench201", {"epochs": 25}, [0, 5, 10, 15, 20, 24], 25, id="official: the last step moves up"),
        pytest.param("nasbench201", {}, [0, 5, 10, 15, 20, 25], 26, id="one epoch follows the last step"),
        pytest.param("nasbench201", {"epochs_between": 1}, [0, 1, 2, 3, 4, 5], 6, id="an epoch each"),
        pytest.param("nasbench201", {"epochs": 40}, [0, 5, 10, 15, 20, 25], 40, id="more epochs follow the last step"),
        pytest.param("nasbench201", {"epochs_between": 0, "epochs": 25}, [0] * 6, 0, id="no tuning"),
    ],
)
def test_epochs_of_tuning_follow_each_step(space: str, options: Any, starts: list[int], total: int) -> None:
    selector, cells = Perturbation(tuning=Tuning(**options)), cells_of(space)
    selector.check(cells)
    epochs = [step.epochs for step in selector.steps(cells)]
    assert [number for after in epochs for number in after] == list(range(total)), "each epoch once"
    assert [after.start for after in epochs] == starts


def test_a_tuning_too_short_for_its_steps_is_refused_and_told_what_it_needs() -> None:
    cells = {"cell": cell("cell", THREE, PLAIN_CELL)}  # three steps; every 5 epochs: 0, 5 and at least 6
    with pytest.raises(ValueError, match=r"epochs=6 is too short for 3 decision steps every 5 epochs: give at least 7"):
        Perturbation(tuning=Tuning(epochs=6)).check(cells)
    Perturbation(tuning=Tuning(epochs=7)).check(cells)
    Perturbation(tuning=Tuning(epochs_between=0, epochs=1)).check(cells)


def test_all_cell_types_decide_an_edge_at_each_step_and_then_a_node() -> None:
    steps = progressive_steps(two_cells().cell_spaces, tuning=Tuning(epochs_between=2))
    assert steps == [
        *(DecisionStep(number, "operation", BOTH, range(2 * number, 2 * number + 2)) for number in range(9)),
        DecisionStep(9, "topology", BOTH, range(18, 20)),
        DecisionStep(10, "topology", BOTH, range(20, 21)),
    ]


def test_a_cell_type_with_fewer_edges_begins_later() -> None:
    supernet = undecided(cell("small", THREE, CellTopology(1, 1, "last", None)), cell("large", THREE, WIDE_CELL))
    steps = progressive_steps(supernet.cell_spaces)
    assert [step.cells for step in steps] == [("large",)] * 8 + [("small", "large")] + [("large",)] * 2


def test_what_the_search_decided_or_dropped_takes_no_step_and_cell_types_end_together() -> None:
    supernet = two_cells()
    apply(OperationDecision("normal", 5, 1), supernet)
    apply(TopologyDecision("normal", 4, (5, 8)), supernet)  # drops edges 6 and 7
    apply(OperationDecision("reduction", 0, 2), supernet)
    steps = progressive_steps(supernet.cell_spaces, supernet.decisions)
    assert [(step.kind, step.cells) for step in steps] == [
        *[("operation", ("reduction",))] * 2,
        *[("operation", BOTH)] * 6,
        ("topology", ("reduction",)),
        ("topology", BOTH),
    ]


# The next edge, the next node


def edges_in_order(supernet: Supernet, evaluator: Any = None, name: str = "cell", **options: Any) -> list[Any]:
    decided = decided_by(Perturbation(**options), supernet, evaluator or Judge())
    return [edge for cell, edge in order_of(decided) if cell == name and isinstance(edge, int)]


def test_reverse_goes_from_the_last_edge_to_the_first() -> None:
    supernet = undecided(cell("normal", THREE, WIDE_CELL), cell("reduction", THREE))
    assert edges_in_order(supernet, name="normal", edge_order="reverse") == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_a_given_order_passes_over_what_is_decided() -> None:
    supernet = undecided(cell("normal", THREE), cell("reduction", THREE))
    apply(OperationDecision("normal", 2, 0), supernet)
    orders: tuple[Any, ...] = ([2, 0, 1], {"normal": [2, 0, 1], "reduction": [1, 2, 0]})
    assert [next_edge(order, supernet, "normal", never, (0,)) for order in orders] == [0, 0]
    assert [next_edge(order, supernet, "reduction", never, (0,)) for order in orders] == [2, 1]
    assert next_node([4, 2, 3], two_cells(), "normal", (0,)) == 4


def test_entropies_are_those_worked_out_by_hand() -> None:
    # In bits: 1; 0.9 * 0.1520 + 0.1 * 3.3219 = 0.4690; 0.7 * 0.5146 + 0.3 * 1.7370 = 0.8813
    supernet = undecided(cell("cell", TWO), weights={"cell": [[0.5, 0.5], [0.9, 0.1], [0.7, 0.3]]})
    assert normalised_entropies(supernet, "cell") == pytest.approx([1, 0.4690, 0.8813], abs=1e-4)
    assert edges_in_order(supernet, edge_order="entropy") == [1, 2, 0]


def test_an_entropy_is_a_share_of_what_the_edge_could_have() -> None:
    # Three candidates: 0.8813 + 0.3 * 1 = 1.1813 bits of log2(3) = 1.5850, a share of 0.7453 and so the more certain.
    space = cell("cell", [[*TWO], [*THREE], ["skip_connect"]])
    supernet = undecided(space, weights={"cell": [[0.7, 0.3, 99.0], [0.7, 0.15, 0.15], [0.2, 99.0, 99.0]]})
    assert normalised_entropies(supernet, "cell") == pytest.approx([0.8813, 0.7453, 0], abs=1e-4)
    assert edges_in_order(supernet, edge_order="entropy") == [2, 1, 0]


def test_weights_that_do_not_sum_to_one_are_compared_as_shares() -> None:
    supernet = WithoutNetwork({"cell": cell("cell", TWO)}, SupernetOptions(relaxation=Sigmoid()))
    supernet.alphas["cell"].data = torch.tensor([[0.9, 0.9], [0.18, 0.02], [0.35, 0.15]]).logit()
    assert normalised_entropies(supernet, "cell") == pytest.approx([1, 0.4690, 0.8813], abs=1e-4)


def test_gradient_norms_are_those_of_the_mean_loss_over_all_images() -> None:
    supernet = plain()
    weights = supernet.mixture_weights()["cell"].detach().requires_grad_()
    supernet.train()
    total = sum(F.cross_entropy(supernet(x, {"cell": weights}), y) * len(y) for x, y in IMAGES) / (5 + 5 + 2)
    (by_weights,) = torch.autograd.grad(total, weights)
    # Through the softmax by hand: d/d alpha_i = w_i (g_i - sum_j w_j g_j).
    by_alpha = weights * (by_weights - (weights * by_weights).sum(dim=1, keepdim=True))
    expected = by_alpha.pow(2).sum(dim=1).sqrt().tolist()
    assert gradient_norms(plain().eval(), Judge(images=IMAGES), (0,)) == {"cell": pytest.approx(expected, rel=1e-4)}


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


@pytest.mark.parametrize("make", [plain, noisy])
def test_reading_a_gradient_leaves_no_trace_and_depends_on_the_key_only(make: Any) -> None:
    supernet, seen = make().eval(), []
    for random_state, key in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(random_state)
        with leaves_no_trace(supernet):
            seen.append(gradient_norms(supernet, Judge(images=IMAGES), (key, "edge")))
    assert seen[0] == seen[1]
    assert (seen[1] == seen[2]) == (make is plain)


@pytest.mark.parametrize("criterion", ["metric", "loss"])
def test_global_decides_the_edge_whose_best_operation_stands_out_most(criterion: Any) -> None:
    # Best less second best: 0.1, 0.3, 0.25. The best of all, 0.9, stands out least.
    gain = worth("cell", [[0.8, 0.9, 0.1], [0.5, 0.1, 0.2], [0.1, 0.2, 0.45]])
    judge = Judge(accuracy=gain) if criterion == "metric" else Judge(loss=lambda weights: 9 - gain(weights))
    selector = Perturbation(edge_order="global", operation_criterion=criterion)
    decided = decided_by(selector, undecided(cell("cell", THREE)), judge)
    assert [(d.edge, d.operation) for d in decided] == [(1, 0), (2, 2), (0, 1)]
    assert [len(round_) for round_ in judge.rounds] == [3, 3, 3, 3, 3, 3]  # three edges, then two, then one
    assert judge.eliminations == [None] * 6, "edges are compared by whole scores"


def test_global_takes_edges_with_a_single_candidate_first_and_without_scoring() -> None:
    supernet = undecided(cell("cell", [[*TWO], ["skip_connect"], [*THREE]]))
    judge = Judge(worth("cell", [[0.0, 0.9, 0], [0, 0, 0], [0.1, 0, 0]]))
    assert edges_in_order(supernet, judge, edge_order="global") == [1, 0, 2]
    assert [len(round_) for round_ in judge.rounds] == [2, 3, 2, 3, 3]


# Orders that cannot be


@pytest.mark.parametrize(
    "order",
    [
        *("rndom", 2, [0, 1], [0, 1, 2, 3], [0, 1, 1], [0, 1, "2"], [0, 1, None], [[0], 1, 2], {"normal": [0, 1, 2]}),
        *({"normal": [0, 1, 2], "reduction": [0, 1]}, {"normal": [0, 1, 2], "reduction": "random"}),
    ],
    ids=str,
)
def test_an_order_that_does_not_name_every_edge_once_is_refused(order: Any) -> None:
    with pytest.raises(
        ValueError,
        match=r"^selection\.edge_order must be random, reverse, entropy, gradient_norm, global or, for the "
        r"(normal|reduction) cell, contain each of \[0, 1, 2\] once; got",
    ):
        Perturbation(edge_order=order).check({name: cell(name, THREE) for name in BOTH})


@pytest.mark.parametrize("order", ["random", (2, 0, 1), {"normal": [0, 1, 2], "reduction": [2, 1, 0]}], ids=str)
def test_an_order_that_names_every_edge_once_is_accepted(order: Any) -> None:
    Perturbation(edge_order=order).check({name: cell(name, THREE) for name in BOTH})


def test_an_order_of_nodes_names_those_that_choose_their_inputs() -> None:
    wide = {"cell": cell("cell", THREE, WIDE_CELL)}
    Perturbation(node_order=[4, 3]).check(wide)
    with pytest.raises(ValueError, match=r"selection\.node_order .* the cell cell, contain each of \[3, 4\] once; got"):
        Discretization(node_order=[2, 3, 4]).check(wide)


def test_an_order_of_cell_types_that_are_not_there_is_refused_and_a_name_that_needs_scores_by_a_proxy() -> None:
    cells = {"cell": cell("cell", THREE)}
    with pytest.raises(ValueError, match=r"selection\.edge_order names the cell types \['normal'\], but .* \['cell'\]"):
        ZeroCost(edge_order={"normal": [0, 1, 2]}).check(cells)
    with pytest.raises(ValueError, match=r"edge_order must be random or, for the cell cell, .*; got 'reverse'"):
        ZeroCost(edge_order="reverse").check(cells)  # type: ignore[arg-type]
