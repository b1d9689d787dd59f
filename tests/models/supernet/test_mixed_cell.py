import itertools
from collections.abc import Iterable, Sequence
from operator import mul

import pytest
import torch
import torch.nn.functional as F
from tests.kernels import plain_nodes
from torch import Tensor, nn

from archselect import kernels
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixture import Mixture
from archselect.models.supernet.relaxation import DARTS_OPTIONS, GumbelSoftmax, SupernetOptions
from archselect.models.supernet.stacked_parameters import StackedBatchNorm
from archselect.models.supernet.supernet import Supernet

CELL = CellTopology(inputs=2, nodes=3, output="concat", inputs_per_node=2)
CANDIDATES = ("none", "skip_connect", "max_pool_3x3", "sep_conv_3x3")
NONE, SKIP, POOL, SEP = range(4)
SPACE = CellSpace("normal", CELL, (CANDIDATES,) * 9)
INTO = [CELL.edges_into(node) for node in CELL.node_states]
CHANNELS = 8

each_stride = pytest.mark.parametrize("stride", [1, 2])
each_mode = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
each_k = pytest.mark.parametrize("k", [2, 4])


each_evaluation = pytest.mark.usefixtures("evaluation")


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def states() -> tuple[Tensor, Tensor]:
    first, second = (2 * random(2, 3, CHANNELS, 8, 8) - 1).unbind()
    return first.requires_grad_(), second.requires_grad_()


def norms(cell: nn.Module) -> list[StackedBatchNorm]:
    return [module for module in cell.modules() if isinstance(module, StackedBatchNorm)]


def mixed_cell(variant: SupernetOptions = DARTS_OPTIONS, stride: int = 1, training: bool = True) -> MixedCell:
    """Return a cell with statistics as training leaves them."""
    torch.manual_seed(0)
    cell = MixedCell(SPACE, CHANNELS, stride, variant=variant).double().train(training)
    for norm in norms(cell):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return cell


def darts(variant: SupernetOptions = DARTS_OPTIONS, seed: int = 0) -> DartsSupernet:
    torch.manual_seed(seed)
    cells = {name: CellSpace(name, CELL, (CANDIDATES,) * 9) for name in ("normal", "reduction")}
    return DartsSupernet(cells, CHANNELS, 3, 5, alpha_scale=1.0, variant=variant).double()


def darts_with(variant: SupernetOptions) -> DartsSupernet:
    """Return a supernet that has all parameters of `darts()`, and more."""
    supernet = darts(variant, seed=1)
    state = supernet.state_dict()
    state.update(darts().state_dict())
    supernet.load_state_dict(state)
    return supernet


def images(count: int = 4) -> Tensor:
    return 2 * random(count, 3, 8, 8) - 1


def loss(output: Tensor) -> Tensor:
    return (output * random(*output.shape, seed=3)).sum()


def gradients(output: Tensor, leaves: Iterable[Tensor]) -> list[Tensor]:
    return torch.autograd.grad(loss(output), list(leaves), allow_unused=True, materialize_grads=True)


def assert_the_same(output: Tensor, expected: Tensor, leaves: Sequence[Tensor]):
    torch.testing.assert_close(output, expected)
    for got, wanted in zip(gradients(output, leaves), gradients(expected, leaves), strict=True):
        torch.testing.assert_close(got, wanted)


# The cell of PC-DARTS, written out


def plain_cell(cell: MixedCell, inputs: Sequence[Tensor], weights: Tensor, edges: Tensor | None = None) -> Tensor:
    values = list(inputs)
    for into in INTO:
        node = 0
        for edge in into:
            source, _ = CELL.edges[edge]
            stride = cell.stride if source < CELL.inputs else 1
            passing = CHANNELS // cell.groups
            first, others = values[source][:, :passing], values[source][:, passing:]
            mixed = sum(weights[edge, i] * plain_operation(cell, edge, name, first, stride) for i, name in NAMED)
            around = others.unfold(2, stride, stride).unfold(3, stride, stride).amax(dim=(4, 5))
            out = torch.cat([mixed, around], dim=1)
            out = torch.stack([out[:, c % cell.groups * passing + c // cell.groups] for c in range(CHANNELS)], dim=1)
            node = node + (out if edges is None else edges[edge] * out)
        values.append(node)
    return torch.cat(values[CELL.inputs :], dim=1)


NAMED = [(index, name) for index, name in enumerate(CANDIDATES) if name != "none"]


def plain_operation(cell: MixedCell, edge: int, name: str, x: Tensor, stride: int) -> Tensor:
    source, _ = CELL.edges[edge]
    position = [start for start, _ in CELL.edges[:edge]].count(source)
    stacked, how = cell.operations[source][name], kernels.NormMode(cell.training, 0.0, 1e-5)
    match name:
        case "skip_connect" if stride == 1:
            return x
        case "skip_connect":
            halves = [stacked.conv_1([position]), stacked.conv_2([position])]
            return plain_nodes.mixed([x], halves, stacked.norm.running(position), how)
        case "max_pool_3x3":
            pools = kernels.Pools(torch.ones(1), (0,), True, stacked.norm.running())
            return plain_nodes.pooled(x, pools, stride, how)
        case "sep_conv_3x3":
            stages = stacked.conv_1.for_kernels(), stacked.conv_2.for_kernels()
            return plain_nodes.convolved(x, stages, position, stride, how)
    raise AssertionError(name)


# Partial channels


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("normalised", [False, True], ids=["without_edge_weights", "with_edge_weights"])
@each_stride
@each_mode
@each_evaluation
def test_a_cell_is_that_of_the_paper(k, normalised, stride, training):
    cell = mixed_cell(SupernetOptions(partial_channels=k), stride, training)
    inputs, weights = states(), random(9, 4).requires_grad_()
    edges = random(9, seed=2).requires_grad_() if normalised else None
    leaves = [*inputs, weights, *cell.parameters(), *([] if edges is None else [edges])]
    expected = plain_cell(cell, inputs, weights, edges)
    assert_the_same(cell(inputs, Mixture(SPACE, weights, edges=edges)).value, expected, leaves)


@each_k
@each_stride
@each_evaluation
def test_nothing_goes_around_the_operations_of_a_dropped_edge(k, stride):
    cell = mixed_cell(SupernetOptions(partial_channels=k), stride)
    inputs, weights, feeds = states(), random(9, 4), torch.ones(9, dtype=torch.float64)
    feeds[[1, 2, 5, 6, 7, 8]] = 0  # nothing is left of the last node
    weights = (weights * feeds.unsqueeze(1)).requires_grad_()
    expected = plain_cell(cell, inputs, weights, feeds)
    assert_the_same(cell(inputs, Mixture(SPACE, weights)).value, expected, [*inputs, weights])


@each_k
@each_evaluation
def test_the_other_channels_go_around_an_edge_of_none_too(k):
    cell = mixed_cell(SupernetOptions(partial_channels=k))
    inputs = states()
    none = torch.eye(4, dtype=torch.float64)[NONE].repeat(9, 1)
    node = cell(inputs, Mixture(SPACE, none)).parts[0]
    passed = F.channel_shuffle(torch.arange(CHANNELS).view(1, -1, 1, 1), k).flatten() < CHANNELS // k
    assert passed.sum() == CHANNELS // k
    assert not node[:, passed].any()
    assert node[:, ~passed].any(dim=(2, 3)).all()


def test_channels_that_k_does_not_divide_are_refused():
    message = (
        r"^search\.partial_channels=3 lets one of so many channels pass the operations, but cells of 8 channels cannot "
        r"be divided so\. Choose a divisor, or other search_space\.channels\.$"
    )
    with pytest.raises(ValueError, match=message):
        darts(SupernetOptions(partial_channels=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partial_channels": 0}, r"search\.partial_channels must be a whole number above 0; got 0\."),
        ({"partial_channels": 2.0}, r"search\.partial_channels must be a whole number above 0; got 2\.0\."),
        (
            {"edge_normalization": "sum"},
            r"search\.edge_normalization must be one of none, share; got 'sum'\.",
        ),
        ({"auxiliary_skip": 1}, r"search\.auxiliary_skip must be true or false; got 1\."),
    ],
    ids=["zero", "fraction", "edge_normalization", "auxiliary_skip"],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        SupernetOptions(**options)


# Edge normalisation


def normalised(betas: Sequence[float] = (0.0,) * 9, k: int = 1) -> DartsSupernet:
    variant = SupernetOptions(edge_normalization="share", partial_channels=k)
    supernet = darts_with(variant) if k == 1 else darts(variant)
    for beta in supernet.betas.values():
        beta.data = torch.tensor(betas, dtype=torch.float64)
    return supernet


def drop(supernet: Supernet, node: int, keep: Sequence[int]):
    normal = supernet.decisions["normal"].keep_inputs(supernet.cell_spaces["normal"], node, keep)
    supernet.decisions = {**supernet.decisions, "normal": normal}


def test_dropped_edges_get_nothing_and_the_others_of_their_node_share_it():
    supernet = normalised(torch.tensor([1, 3, 1, 100, 3, 2, 1, 1, 1]).log().tolist())
    drop(supernet, 3, [2, 4])
    expected = [0.25, 0.75, 0.25, 0, 0.75, 0.4, 0.2, 0.2, 0.2]
    assert supernet.edge_weights("normal").tolist() == pytest.approx(expected)
    assert supernet.edge_weights("reduction")[3] > 0
    drop(supernet, 3, [])
    assert supernet.edge_weights("normal")[2:5].tolist() == [0, 0, 0]


@pytest.mark.parametrize("k", [1, 4])
@each_evaluation
def test_betas_get_gradients_where_edges_are_left(k):
    supernet = normalised(k=k)
    drop(supernet, 3, [2, 4])
    loss(supernet(images())).backward()
    assert supernet.betas["normal"].grad.bool().tolist() == [edge != 3 for edge in range(9)]
    assert supernet.betas["reduction"].grad.all()


def test_detached_weights_give_betas_no_gradient():
    supernet = normalised()
    loss(supernet(images(), supernet.mixture_weights().detach())).backward()
    assert all(beta.grad is None for beta in supernet.betas.values())


@pytest.mark.parametrize("make", [lambda weights: dict(weights), lambda weights: weights], ids=["dict", "own"])
def test_weights_that_are_given_are_multiplied_by_those_of_the_edges(make):
    supernet = normalised(torch.arange(9.0).tolist()).eval()
    given = make(supernet.mixture_weights())
    multiplied = {name: weights * supernet.edge_weights(name).unsqueeze(1) for name, weights in given.items()}
    torch.testing.assert_close(supernet(images(), given), darts_with(DARTS_OPTIONS).eval()(images(), multiplied))


def test_betas_are_architecture_parameters_after_the_alphas():
    supernet = normalised()
    expected = [*supernet.alphas.values(), *supernet.betas.values()]
    assert [id(parameter) for parameter in supernet.architecture_parameters()] == [id(one) for one in expected]
    assert {id(one) for one in expected}.isdisjoint(id(weight) for weight in supernet.weight_parameters())


def test_the_state_is_restored_with_betas_and_decisions():
    variant = SupernetOptions(partial_channels=2, edge_normalization="share", auxiliary_skip=True)
    supernet, restored = darts(variant), darts(variant, seed=1)
    drop(supernet, 3, [2, 4])
    restored.load_state_dict(supernet.state_dict())
    assert {"betas.normal", "betas.reduction"} <= set(supernet.state_dict())
    assert restored.decisions == supernet.decisions
    for name in ("normal", "reduction"):
        assert torch.equal(restored.edge_weights(name), supernet.edge_weights(name))
    assert torch.equal(restored.eval()(images()), supernet.eval()(images()))


# Auxiliary skip connections


@pytest.mark.parametrize("k", [1, 2])
@each_stride
@each_mode
@each_evaluation
def test_an_auxiliary_skip_connection_adds_its_weight_to_that_of_the_same_skip_connection(k, stride, training):
    cell = mixed_cell(SupernetOptions(partial_channels=k, auxiliary_skip=True), stride, training)
    for auxiliary, operations in zip(cell.auxiliary[:-1], cell.operations[:-1], strict=True):
        auxiliary.load_state_dict(operations["skip_connect"].state_dict())
    inputs, weights, edges = states(), random(9, 4).requires_grad_(), random(9, seed=2).requires_grad_()
    undecided = (0, 1, 5, 6, 8)
    more = torch.zeros(9, 4, dtype=torch.float64)
    more[undecided, SKIP] = 0.7
    expected = plain_cell(cell, inputs, weights + more, edges)
    mixture = Mixture(SPACE, weights, edges=edges, auxiliary=0.7, auxiliary_edges=undecided)
    assert_the_same(cell(inputs, mixture).value, expected, [*inputs, weights, edges])


@each_evaluation
def test_auxiliary_skip_connections_of_weight_0_are_as_good_as_none():
    supernet = darts_with(SupernetOptions(auxiliary_skip=True))
    supernet.auxiliary_weight = 0.0
    logits = supernet(images())
    assert torch.equal(logits, darts()(images()))
    loss(logits).backward()
    assert all(weight.grad is None for cell in supernet.cells for weight in cell.auxiliary.parameters())


def test_decided_and_dropped_edges_have_no_auxiliary_skip_connection():
    supernet = darts(SupernetOptions(auxiliary_skip=True))
    supernet.auxiliary_weight = 0.5
    drop(supernet, 3, [2, 4])
    supernet.decisions = {**supernet.decisions, "normal": supernet.decisions["normal"].keep_operation(7, SEP)}
    mixtures = supernet.mixtures()
    assert mixtures["normal"].auxiliary_edges == (0, 1, 2, 4, 5, 6, 8)
    assert mixtures["reduction"].auxiliary_edges == tuple(range(9))
    assert mixtures["normal"].auxiliary_weights([0, 4]).tolist() == [0.5, 0.5]


# Drop path

ONE_NODE = CellSpace(
    "cell",
    CellTopology(inputs=2, nodes=1, output="last", inputs_per_node=None),
    (("max_pool_3x3", "sep_conv_3x3"),) * 2,
)
DRAWS = 10_000


def one_node(k: int, stride: int) -> MixedCell:
    torch.manual_seed(0)
    return MixedCell(ONE_NODE, 4, stride, variant=SupernetOptions(partial_channels=k)).double().eval()


def one_image(draws: int = 1) -> list[Tensor]:
    return [x.expand(draws, -1, -1, -1) for x in (2 * random(2, 1, 4, 4, 4) - 1)]


@pytest.mark.parametrize("k", [1, 2])
@each_stride
def test_drop_path_keeps_the_mean(k, stride):
    cell, weights = one_node(k, stride), random(2, 2)
    draws = cell(one_image(DRAWS), Mixture(ONE_NODE, weights, drop_path=0.3)).value
    expected = cell(one_image(), Mixture(ONE_NODE, weights)).value[0]
    error = 5 * draws.std(dim=0) / DRAWS**0.5 + 1e-12
    assert ((draws.mean(dim=0) - expected).abs() < error).all()
    around = draws.std(dim=0).amax(dim=(1, 2)) < 1e-12
    assert around.sum() == 4 - 4 // k


def test_each_operation_is_dropped_on_each_edge_of_each_image_alone():
    space = CellSpace("cell", CellTopology(1, 2, "concat", None), (("max_pool_3x3", "sep_conv_3x3"),) * 3)
    torch.manual_seed(0)
    cell = MixedCell(space, 4).double().eval()
    image, *_ = one_image(DRAWS)
    weights = random(3, 2) * torch.tensor([[1], [1], [0]])  # two edges out of the input, each with two operations

    def corners(weights: Tensor, drop_path: float = 0.0) -> Tensor:
        """Return a number per image to which each path that is left adds another one."""
        return cell([image], Mixture(space, weights, drop_path=drop_path)).value[:, ::4, 0, 0].sum(dim=1)

    alone = [corners(weights * mask.view(3, 2))[0] / 0.8 for mask in torch.eye(6)[:4]]
    draws = corners(weights, drop_path=0.2)
    for kept in itertools.product((0, 1), repeat=4):
        share = torch.isclose(draws, sum(map(mul, kept, alone))).double().mean().item()
        probability = 0.8 ** sum(kept) * 0.2 ** (4 - sum(kept))
        assert share == pytest.approx(probability, abs=4 * (probability / DRAWS) ** 0.5)


@each_stride
@each_evaluation
def test_skip_connections_are_never_dropped(stride):
    cell = mixed_cell(SupernetOptions(auxiliary_skip=True), stride)
    weights = random(9, 4) * torch.tensor([1, 1, 0, 0])
    plain, dropping = (
        cell(states(), Mixture(SPACE, weights, auxiliary=0.5, auxiliary_edges=(0, 1, 4), drop_path=share)).value
        for share in (0.0, 0.9)
    )
    torch.testing.assert_close(dropping, plain)


def test_recomputing_drops_the_same_paths_again():
    results = []
    for recompute in (False, True):
        supernet = darts()
        supernet.recompute = recompute
        torch.manual_seed(0)
        logits = supernet(images(), supernet.mixture_weights().replaced(drop_path=0.5))
        results.append([logits, *gradients(logits, supernet.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        assert torch.equal(plain, recomputed)


# Draws


@each_evaluation
def test_a_step_with_hard_draws_evaluates_one_operation_on_each_edge():
    supernet = darts(
        SupernetOptions(relaxation=GumbelSoftmax(True, 1.0, 1.0), partial_channels=2, edge_normalization="share")
    )
    drop(supernet, 3, [2, 4])
    torch.manual_seed(0)
    weights = supernet.sampled_weights()
    assert [sum(row) for row in weights.active["normal"]] == [edge != 3 for edge in range(9)]
    assert [sum(row) for row in weights.active["reduction"]] == [1] * 9
    loss(supernet(images(), weights)).backward()
    for name, active in weights.active.items():
        chosen = [any(row[NONE + 1 :]) for row in active]
        assert supernet.alphas[name].grad.any(dim=1).tolist() == chosen
        assert supernet.betas[name].grad.isfinite().all()
