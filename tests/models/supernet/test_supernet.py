from copy import deepcopy

import pytest
import torch

from archselect.genotype import Genotype
from archselect.models.cell_space import CellDecisions, CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixture import Mixture, MixtureWeights
from archselect.models.supernet.nasbench201 import NASBench201Supernet

DARTS_CELL = CellTopology(inputs=2, nodes=4, output="concat", inputs_per_node=2)
NASBENCH201_CELL = CellTopology(inputs=1, nodes=3, output="last", inputs_per_node=None)
S3 = ("none", "skip_connect", "sep_conv_3x3")
NONE, SKIP, SEP = range(3)
NASBENCH201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def darts(operations=(S3,) * 14, layers=3, **options):
    torch.manual_seed(0)
    cells = {name: CellSpace(name, DARTS_CELL, operations) for name in ("normal", "reduction")}
    return DartsSupernet(cells, channels=4, layers=layers, classes=10, **options)


def nasbench201():
    torch.manual_seed(0)
    cells = {"cell": CellSpace("cell", NASBENCH201_CELL, (NASBENCH201,) * 6)}
    return NASBench201Supernet(cells, channels=4, cells_per_stage=1, classes=10)


def images(size=8):
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))


def one_hot(supernet, operation):
    return {
        name: torch.eye(space.width)[operation].repeat(len(space.operations), 1)
        for name, space in supernet.cell_spaces.items()
    }


def decided(supernet, edge, operation, cell="normal"):
    return {**supernet.decisions, cell: supernet.decisions[cell].keep_operation(edge, operation)}


def dropped(supernet, node, keep, cell="normal"):
    space = supernet.cell_spaces[cell]
    return {**supernet.decisions, cell: supernet.decisions[cell].keep_inputs(space, node, keep)}


def fully_decided(supernet, operation):
    decisions = {}
    for name, space in supernet.cell_spaces.items():
        state = CellDecisions((operation,) * len(space.operations), (True,) * len(space.operations))
        for node in state.undecided_nodes(space):
            state = state.keep_inputs(space, node, space.topology.edges_into(node)[:2])
        decisions[name] = state
    return decisions


def evaluated(supernet, weights):
    """Return what the first cell evaluates, as (source, operation, edges), and how many operations on edges in all."""
    calls = []
    cells = [module for module in supernet.modules() if isinstance(module, MixedCell)]
    for cell in cells:

        def spy(source, mixture, cell=cell, outgoing=cell.outgoing):
            for term, *left in outgoing(source, mixture):
                calls.append((cell is cells[0], source, term.operation, list(term.edges)))
                yield term, *left

        cell.outgoing = spy
    supernet(images(), weights)
    return [call[1:] for call in calls if call[0]], sum(len(edges) for *_, edges in calls)


# What is evaluated


def test_with_weight_everywhere_each_operation_is_evaluated_once_per_source_for_all_its_edges():
    supernet = darts()
    calls, total = evaluated(supernet, None)
    leaving = ([0, 2, 5, 9], [1, 3, 6, 10], [4, 7, 11], [8, 12], [13])
    names = ("skip_connect", "sep_conv_3x3")
    assert calls == [(s, name, edges) for s, edges in enumerate(leaving) for name in names]
    assert total == 3 * 28


def test_operations_without_weight_are_not_evaluated():
    supernet = darts()
    weights = one_hot(supernet, NONE)
    weights["normal"][[3, 13], SEP] = 0.5
    weights["normal"][[5, 13], SKIP] = 0.5
    calls, total = evaluated(supernet, weights)
    assert calls == [
        (0, "skip_connect", [5]),
        (1, "sep_conv_3x3", [3]),
        (4, "skip_connect", [13]),
        (4, "sep_conv_3x3", [13]),
    ]
    assert total == 4  # nothing in the two reduction cells


def test_masked_and_decided_and_dropped_operations_are_not_evaluated():
    supernet = darts()
    supernet.decisions = decided(supernet, 13, SKIP)
    supernet.decisions = dropped(supernet, 3, [2, 4])
    weights = supernet.mixture_weights().masked("normal", 8, SEP)
    calls, _ = evaluated(supernet, weights)
    assert [edges for source, name, edges in calls if (source, name) == (1, "skip_connect")] == [[1, 6, 10]]
    assert (3, "sep_conv_3x3", [12]) in calls
    assert [call for call in calls if call[0] == 4] == [(4, "skip_connect", [13])]


def test_operations_that_are_not_evaluated_get_no_gradient():
    supernet = darts()
    supernet(images(), one_hot(supernet, SKIP)).sum().backward()
    cell = supernet.cells[0]
    assert all(weight.grad is None for weight in cell.operations[0]["sep_conv_3x3"].parameters())


# Gradients of alpha


def test_only_undecided_edges_give_alpha_a_gradient():
    supernet = darts(alpha_scale=1.0)
    supernet.decisions = decided(supernet, 6, SEP)
    supernet.decisions = dropped(supernet, 3, [2, 4])
    (supernet(images()) * torch.arange(10)).sum().backward()
    gradient = supernet.alphas["normal"].grad
    assert [edge for edge in range(14) if not gradient[edge].any()] == [3, 6]
    assert supernet.alphas["reduction"].grad.any(dim=1).all()


# Hand-made cells


def test_a_cell_of_skip_connections_adds_its_states():
    space = CellSpace("normal", DARTS_CELL, (S3,) * 14)
    inputs = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    weights = torch.eye(3)[SKIP].repeat(14, 1)
    weights[3] *= 0.5  # edge (1, 3)
    out = MixedCell(space, 4)(inputs, Mixture(space, weights)).value
    first, second = inputs
    node_2 = first + second
    node_3 = first + 0.5 * second + node_2
    node_4 = first + second + node_2 + node_3
    node_5 = first + second + node_2 + node_3 + node_4
    torch.testing.assert_close(out, torch.cat([node_2, node_3, node_4, node_5], dim=1))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_node_that_nothing_feeds_is_zeros_of_the_right_shape(stride):
    space = CellSpace("reduction", DARTS_CELL, (S3,) * 14)
    weights = torch.zeros(14, 3)
    weights[1, SKIP] = 1  # edge (1, 2)
    inputs = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    out = MixedCell(space, 4, stride)(inputs, Mixture(space, weights)).value
    assert out.shape == (2, 16, 8 // stride, 8 // stride)
    assert out[:, :4].any()
    assert not out[:, 4:].any()


@pytest.mark.parametrize("make", [darts, nasbench201])
def test_none_adds_nothing(make):
    supernet = make().eval()
    logits = supernet(images(), one_hot(supernet, NONE))
    zeros = {name: torch.zeros_like(alpha) for name, alpha in supernet.alphas.items()}
    assert torch.equal(logits, supernet(images(), zeros))
    if make is darts:
        assert torch.equal(logits, supernet.classifier.bias.expand(4, 10))


# Mixture weights


def test_the_softmax_of_an_edge_is_over_its_own_candidates():
    operations = (("skip_connect",), ("skip_connect", "sep_conv_3x3"), *(S3,) * 12)
    supernet = darts(operations, alpha_scale=1.0)
    weights = supernet.mixture_weights()
    assert weights["normal"][0].tolist() == [1, 0, 0]
    torch.testing.assert_close(weights["normal"][1, :2], supernet.alphas["normal"][1, :2].softmax(dim=0))
    assert weights["normal"][1, 2] == 0
    assert weights.active["normal"][:3] == ((True, False, False), (True, True, False), (True, True, True))
    (supernet(images()) * torch.arange(10)).sum().backward()
    gradient = supernet.alphas["normal"].grad
    assert gradient.isfinite().all()
    assert gradient[0].tolist() == [0, 0, 0]  # nothing to choose
    assert gradient[1, 2] == 0
    assert gradient[1, :2].all()


def test_decided_edges_are_one_hot_and_dropped_ones_zero():
    supernet = darts()
    supernet.decisions = decided(supernet, 6, SEP)
    supernet.decisions = dropped(supernet, 3, [2, 4])
    supernet.decisions = decided(supernet, 3, SEP)  # what is dropped stays dropped
    weights = supernet.mixture_weights()
    assert weights["normal"][6].tolist() == [0, 0, 1]
    assert weights["normal"][3].tolist() == [0, 0, 0]
    assert weights.active["normal"][6] == (False, False, True)
    assert weights.active["normal"][3] == (False, False, False)
    assert weights["normal"].sum(dim=1).tolist() == pytest.approx([1, 1, 1, 0, *[1] * 10])
    assert weights["reduction"].sum(dim=1).tolist() == pytest.approx([1] * 14)


@pytest.mark.parametrize("known", [False, True], ids=["dict", "MixtureWeights"])
def test_cell_types_that_are_left_out_take_the_own_mixture(known):
    supernet = darts(alpha_scale=1.0).eval()
    normal = one_hot(supernet, SEP)["normal"]
    own = supernet.mixture_weights()["reduction"]
    given = (
        MixtureWeights({"normal": normal}, {"normal": ((False, False, True),) * 14}) if known else {"normal": normal}
    )
    logits = supernet(images(), given)
    torch.testing.assert_close(logits, supernet(images(), {"normal": normal, "reduction": own}))
    assert not torch.allclose(logits, supernet(images()))
    assert torch.equal(supernet(images(), {}), supernet(images()))


def test_weights_of_an_unknown_cell_type_are_refused():
    supernet = nasbench201()
    with pytest.raises(ValueError, match=r"has the cell types \['cell'\], but weights were given for \['normal'\]"):
        supernet(images(), {"normal": torch.ones(6, 5)})


# Decisions


def test_there_is_a_genotype_once_all_is_decided():
    supernet = darts()
    with pytest.raises(ValueError, match="normal cell is not decided yet"):
        supernet.genotype()
    supernet.decisions = fully_decided(supernet, SEP)
    node = "sep_conv_3x3@0+sep_conv_3x3@1"
    cell = f"2:{'/'.join([node] * 4)}"
    assert supernet.genotype() == Genotype.from_text(f"normal:{cell}//reduction:{cell}")


def test_the_genotype_of_nasbench201_keeps_all_edges():
    supernet = nasbench201()
    supernet.decisions = {"cell": CellDecisions((3, 0, 4, 1, 2, 3), (True,) * 6)}
    code = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    assert supernet.genotype().to_nasbench201() == code


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda decisions: {"normal": decisions["normal"]}, r"\['normal', 'reduction'\], .* about \['normal'\]"),
        (lambda decisions: {**decisions, "cell": decisions["normal"]}, r"about \['cell', 'normal', 'reduction'\]"),
        (lambda decisions: {**decisions, "normal": CellDecisions((None,), (True,))}, "14 edges, .* are about 1"),
        (lambda decisions: {**decisions, "normal": decisions["normal"].keep_operation(0, 3)}, "number 3"),
    ],
    ids=["a type missing", "a type too many", "too few edges", "no candidate"],
)
def test_impossible_decisions_are_refused_and_change_nothing(change, message):
    supernet = darts()
    supernet.decisions = before = decided(supernet, 2, SEP)
    with pytest.raises(ValueError, match=message):
        supernet.decisions = change(supernet.decisions)
    assert supernet.decisions == before
    assert supernet.mixture_weights()["normal"][2].tolist() == [0, 0, 1]


def partly_decided():
    supernet = darts(alpha_scale=1.0)
    supernet.decisions = decided(supernet, 6, SEP, "reduction")
    supernet.decisions = dropped(supernet, 3, [2, 4])
    return supernet


def assert_same_supernet(a, b, x):
    assert a.decisions == b.decisions
    assert a.mixture_weights().active == b.mixture_weights().active
    assert torch.equal(a.eval()(x), b.eval()(x))


def test_decisions_survive_a_file(tmp_path):
    supernet = partly_decided()
    torch.save(supernet.state_dict(), tmp_path / "supernet.pt")
    restored = darts()
    restored.load_state_dict(torch.load(tmp_path / "supernet.pt", weights_only=True))
    assert_same_supernet(supernet, restored, images())
    assert restored.decisions != darts().decisions
    supernet.load_state_dict(darts().state_dict())  # takes back what the state has not
    assert_same_supernet(supernet, darts(), images())


def test_decisions_survive_a_copy_and_part_from_it():
    supernet = partly_decided()
    copy = deepcopy(supernet)
    assert_same_supernet(supernet, copy, images())
    copy.decisions = decided(copy, 0, SKIP)
    assert supernet.decisions["normal"].operations[0] is None
    assert supernet.mixture_weights()["normal"][0].count_nonzero() == 3


def test_decisions_follow_the_supernet_to_another_type():
    supernet = partly_decided()
    decisions, before = supernet.decisions, supernet.mixture_weights()["normal"]
    supernet.to(torch.float64)
    after = supernet.mixture_weights()["normal"]
    assert supernet.decisions == decisions
    assert after.dtype == torch.float64
    torch.testing.assert_close(after, before.double())
    assert supernet(images().double()).dtype == torch.float64
    supernet.decisions = decided(supernet, 0, SKIP)
    assert supernet.mixture_weights()["normal"].dtype == torch.float64


@pytest.mark.parametrize(("state", "into"), [(nasbench201, darts), (darts, nasbench201)])
def test_the_state_of_another_space_is_refused_by_name(state, into):
    with pytest.raises(ValueError, match=r"This supernet has the cell types .*, but the decisions are about"):
        into().load_state_dict(state().state_dict())


def test_what_is_evaluated_and_decided_in_inference_mode_can_be_trained():
    supernet = darts()
    with torch.inference_mode():
        supernet.decisions = decided(supernet, 6, SEP)
        supernet(images())
    (supernet(images()) * torch.arange(10)).sum().backward()
    assert supernet.alphas["normal"].grad.any(dim=1).tolist() == [edge != 6 for edge in range(14)]
