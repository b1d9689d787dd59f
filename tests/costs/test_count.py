import doctest
import random
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import archselect
from archselect import PUBLISHED, DartsSpace, Genotype, NASBench201Space
from archselect.costs import Costs, count
from archselect.evaluation.nasbench201 import ARCH, OPERATIONS
from archselect.models.cell_space import CellDecisions
from archselect.models.discrete.darts import DartsNetwork
from archselect.models.discrete.nasbench201 import NASBench201Network
from archselect.models.discrete.vgg_resnet import ReferenceNetwork
from archselect.search_spaces import SearchSpace

DARTS = ["max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]
SPACES: list[SearchSpace] = [
    DartsSpace("darts", DARTS, channels=4, layers=3),
    DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=4, layers=3),
    NASBench201Space("nasbench201", OPERATIONS, channels=4, cells_per_stage=1),
]


class Chain(nn.Sequential):
    """Images (2, 4, 4): 128 bytes; convolution: 256 bytes, ReLU: 256 bytes, convolution: 64 bytes, linear: 40 bytes."""

    def __init__(self) -> None:
        layers = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1), nn.Flatten(), nn.Linear(16, 10)
        super().__init__(*layers)


class Attention(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(2).transpose(1, 2)  # (1, 16 positions, 2 channels)
        if self.fused:
            return F.scaled_dot_product_attention(x, x, x)
        return (x @ x.transpose(1, 2)).softmax(dim=-1) @ x


def random_genotypes(space: SearchSpace, amount: int) -> Iterator[Genotype]:
    draw = random.Random(0)
    for _ in range(amount):
        cells = []
        for cell in space.cells.values():
            decisions = CellDecisions.none(cell)
            for edge in decisions.undecided_edges:
                decisions = decisions.keep_operation(edge, draw.randrange(len(cell.operations[edge])))
            for node in decisions.undecided_nodes(cell):
                into = draw.sample(cell.topology.edges_into(node), cell.topology.edges_kept_into(node))
                decisions = decisions.keep_inputs(cell, node, tuple(sorted(into)))
            cells.append(decisions.genotype(cell))
        yield Genotype(tuple(cells))


def networks() -> Iterator[nn.Module]:
    for space, amount in zip(SPACES, (7, 6, 7), strict=True):
        depth = {"cells_per_stage": 1} if isinstance(space, NASBench201Space) else {"layers": 3}
        for genotype in random_genotypes(space, amount):
            yield space.network(genotype, image_size=8, classes=10, channels=4, **depth)
    yield ReferenceNetwork("vgg", channels=4, layers=2, classes=10)
    yield ReferenceNetwork("resnet", channels=4, layers=2, classes=10)


def test_the_example_in_the_docstring_runs() -> None:
    (example,) = doctest.DocTestFinder().find(
        count, "count", module=False, globs={"archselect": archselect, "count": count}
    )
    assert doctest.DocTestRunner().run(example) == (0, 2)


def test_the_costs_of_a_chain_are_those_worked_out_by_hand() -> None:
    weights = (4 * 2 * 9 + 4) + (4 + 1) + (16 * 10 + 10)
    macs = 16 * 4 * 2 * 9 + 16 * 4 + 16 * 10  # biases and the ReLU count nothing
    assert count(Chain(), image_size=4, in_channels=2) == Costs(weights, macs, peak_activation_bytes=128 + 256 + 256)


def test_what_is_written_in_place_takes_no_memory_of_its_own() -> None:
    chain = Chain()
    chain[1] = nn.ReLU(inplace=True)
    assert count(chain, image_size=4, in_channels=2).peak_activation_bytes == 128 + 256 + 64


@pytest.mark.parametrize("fused", [False, True])
def test_matrix_products_of_attention_count(fused: bool) -> None:
    assert count(Attention(fused), image_size=4, in_channels=2).macs == 2 * (16 * 16 * 2)


def test_macs_of_twenty_genotypes_and_the_reference_networks_are_those_of_pytorch() -> None:
    for network in networks():
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            network.eval()(torch.zeros(1, 3, 8, 8))
        assert 2 * count(network, image_size=8).macs == flops.get_total_flops() > 0


def test_darts_v2_on_cifar10_has_the_weights_of_its_paper_and_528_million_macs() -> None:
    with torch.device("meta"):
        network = DartsNetwork(PUBLISHED["DARTS_V2"], channels=36, layers=20, classes=10, auxiliary=True)
    costs = count(network, image_size=32)
    assert costs.params == 3_349_342
    assert costs.macs == 528_359_040  # the 528 M of later papers


# What the files of the benchmark say of three cells: parameters and FLOPs in millions (there a FLOP is a MAC, and the
# ten biases of the classifier count).
@pytest.mark.parametrize(
    ("cell", "params", "flops"),
    [
        ("nor_conv_3x3 nor_conv_3x3 nor_conv_3x3 skip_connect nor_conv_3x3 nor_conv_1x1", 1.073466, 153.27297),
        ("skip_connect skip_connect skip_connect skip_connect skip_connect skip_connect", 0.073306, 7.78305),
        ("avg_pool_3x3 nor_conv_1x1 skip_connect nor_conv_1x1 skip_connect skip_connect", 0.129306, 15.64737),
    ],
)
def test_cells_cost_what_nasbench201_says(cell: str, params: float, flops: float) -> None:
    with torch.device("meta"):
        network = NASBench201Network(Genotype.parse(ARCH.format(*cell.split())))
    costs = count(network, image_size=32)
    assert costs.params == round(1e6 * params)
    assert costs.macs + 10 == round(1e6 * flops)


def test_the_counted_peak_is_what_a_forward_allocates() -> None:
    network = DartsNetwork(PUBLISHED["DARTS_V2"], channels=8, layers=5, classes=10).eval()
    images = torch.zeros(1, 3, 32, 32)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        network(images)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    live, peak = images.nbytes, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    assert count(network, image_size=32).peak_activation_bytes == pytest.approx(peak, rel=0.1)


def test_counting_leaves_the_network_as_it_was() -> None:
    network = DartsNetwork(PUBLISHED["DARTS_V1"], channels=4, layers=2, classes=10).train()
    network.cells[0].eval()
    state, generator = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    costs = count(network, image_size=8)
    assert not network.cells[0].training and network.cells[1].training
    assert torch.equal(torch.get_rng_state(), generator)
    torch.testing.assert_close(dict(network.state_dict()), state, rtol=0, atol=0)
    assert count(network.to("meta"), image_size=8) == costs
