import pytest
import torch

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.mixture import Mixture, MixtureWeights, Term, nonzero, terms_by_source

# Edges 0..2: (0,1) (0,2) (1,2), three candidates at most.
SPACE = CellSpace(
    "cell",
    CellTopology(inputs=1, nodes=2, output="last", inputs_per_node=None),
    (("skip_connect", "nor_conv_1x1"), ("none", "nor_conv_1x1", "skip_connect"), ("nor_conv_1x1",)),
)
ALL = ((True, True, False), (True, True, True), (True, False, False))
SOME = ((True, False, False), (True, True, False), (False, False, False))
NOTHING = ((False,) * 3,) * 3
WEIGHTS = torch.tensor([[0.25, 0.75, 0.0], [0.5, 0.2, 0.3], [1.0, 0.0, 0.0]])


def weights():
    return MixtureWeights({"cell": WEIGHTS.clone(), "other": torch.ones(1, 1)}, {"cell": ALL, "other": ((True,),)})


@pytest.mark.parametrize(
    ("active", "leaving"),
    [
        (ALL, [("skip_connect", (0, 1), (0, 1)), ("nor_conv_1x1", (0, 1), (0, 1))]),
        (SOME, [("skip_connect", (0,), (0,)), ("nor_conv_1x1", (1,), (1,))]),
        (NOTHING, []),
    ],
)
def test_the_terms_gather_the_edges_that_leave_a_source_by_operation_and_leave_none_out(active, leaving):
    last = (Term("nor_conv_1x1", (2,), (0,)),) if active is ALL else ()
    assert terms_by_source(SPACE, active) == (tuple(Term(*term) for term in leaving), last, ())


def test_the_weights_stand_with_their_terms_and_what_stands_beyond_the_last_candidate_is_not_read():
    surplus = WEIGHTS.clone()
    surplus[2, 1:] = 7
    mixture = Mixture(SPACE, surplus)
    (skip, skip_weights), (convolution, convolution_weights) = mixture.terms_from(0)
    assert (skip.operation, convolution.operation) == ("skip_connect", "nor_conv_1x1")
    assert torch.equal(skip_weights, torch.tensor([0.25, 0.3]))
    assert torch.equal(convolution_weights, torch.tensor([0.75, 0.2]))
    ((_, last_weights),) = mixture.terms_from(1)
    assert torch.equal(last_weights, torch.tensor([1.0]))


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (9,), (1, 3, 3), ()])
def test_weights_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"of the cell cell must be \(edges, operations\) = \(3, 3\); got \("):
        Mixture(SPACE, torch.ones(shape))


def test_nonzero_looks_at_the_values():
    assert nonzero(torch.tensor([[0.0, -0.5], [1e-30, 0.0]], requires_grad=True)) == ((False, True), (True, False))


OPERATION, EDGE = ("cell", 1, 0), ("cell", 0)


@pytest.mark.parametrize(
    ("masks", "rows", "active"),
    [
        ([("cell", 1, 1)], {1: [0.5, 0.0, 0.3]}, {1: (True, False, True)}),
        ([OPERATION, ("cell", 1, 2), EDGE], {0: [0, 0, 0], 1: [0, 0.2, 0]}, {0: (False,) * 3, 1: (False, True, False)}),
        ([EDGE], {0: [0, 0, 0]}, {0: (False,) * 3}),
        ([(*EDGE, None, True)], {0: [0, 0, 0]}, {0: (False,) * 3}),
        ([(*OPERATION, True)], {1: [0, 0.4, 0.6]}, {1: (False, True, True)}),
    ],
    ids=["operation", "several", "edge", "edge renormalised", "operation renormalised"],
)
def test_masking_changes_the_edges_that_are_masked_and_no_others(masks, rows, active):
    before = weights()
    masked = before
    for mask in masks:
        masked = masked.masked(*mask)
    expected = WEIGHTS.clone()
    for edge, row in rows.items():
        expected[edge] = torch.tensor(row)
    torch.testing.assert_close(masked["cell"], expected)
    assert masked.active == {"cell": tuple(active.get(edge, ALL[edge]) for edge in range(3)), "other": ((True,),)}
    assert torch.equal(before["cell"], WEIGHTS)
    assert before.active["cell"] == ALL


def test_renormalizing_keeps_the_sum_of_an_edge_that_does_not_sum_to_one():
    doubled = MixtureWeights({"cell": 2 * WEIGHTS}, {"cell": ALL}).masked("cell", 1, 0, renormalize=True)
    torch.testing.assert_close(doubled["cell"][1], torch.tensor([0.0, 0.8, 1.2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_masking_the_only_operation_leaves_zeros_even_when_renormalized(dtype):
    only = MixtureWeights({"cell": WEIGHTS.to(dtype)}, {"cell": ALL}).masked("cell", 2, 0, renormalize=True)
    assert only["cell"][2].tolist() == [0, 0, 0]
    assert only.active["cell"][2] == (False, False, False)


def test_gradients_pass_a_mask_but_not_to_what_is_masked():
    leaf = WEIGHTS.clone().requires_grad_()
    masked = MixtureWeights({"cell": leaf}, {"cell": ALL}).masked("cell", 1, 1).masked("cell", 0)
    masked["cell"].sum().backward()
    assert leaf.grad.tolist() == [[0, 0, 0], [1, 0, 1], [1, 1, 1]]


def test_detached_weights_are_constants_with_the_same_zeros_edge_weights_and_drop_path():
    leaf = WEIGHTS.clone().requires_grad_()
    edges = {"cell": 2 * leaf[:, 0]}
    detached = MixtureWeights({"cell": 2 * leaf}, {"cell": ALL}, edges, 0.3).masked("cell", 2).detach()
    assert not detached["cell"].requires_grad
    assert torch.equal(detached["cell"][:2], 2 * WEIGHTS[:2])
    assert detached.active == {"cell": (*ALL[:2], (False,) * 3)}
    assert torch.equal(detached.edges["cell"], 2 * WEIGHTS[:, 0])
    assert not detached.edges["cell"].requires_grad
    assert detached.drop_path == 0.3
