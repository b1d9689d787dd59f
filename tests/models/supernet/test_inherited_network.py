"""`Supernet.network`: the discrete network computes what the supernet computes under one-hot weights."""

import random
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from tests.models import small_networks
from torch import Tensor

from archselect.genotype import CellGenotype, Genotype, Input
from archselect.models.discrete.darts import DartsNetwork
from archselect.models.supernet.relaxation import SupernetOptions
from archselect.models.supernet.supernet import Supernet, argmax_alpha

EVERY = ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3")
MAKE = {"darts": lambda: small_networks.darts(EVERY), "nasbench201": small_networks.nasbench201}


def drawn(supernet: Supernet, seed: int) -> Genotype:
    """Return an architecture of a supernet's space."""
    choose, cells = random.Random(seed), []
    for name, space in supernet.cell_spaces.items():
        topology, nodes = space.topology, []
        for node in topology.node_states:
            into = sorted(choose.sample(topology.edges_into(node), topology.edges_kept_into(node)))
            nodes.append([Input(choose.choice(space.operations[edge]), topology.edges[edge][0]) for edge in into])
        cells.append(CellGenotype(name, topology.inputs, tuple(map(tuple, nodes))))
    return Genotype(tuple(cells))


def one_hot(supernet: Supernet, genotype: Genotype) -> dict[str, Tensor]:
    """Return mixture weights with all weight on the operations of a genotype."""
    weights = {}
    for name, space in supernet.cell_spaces.items():
        weights[name] = torch.zeros(len(space.operations), space.width, dtype=torch.float64)
        for source, node, operation in genotype.cell(name).edges:
            edge = space.topology.edges.index((source, node))
            weights[name][edge, space.operations[edge].index(operation)] = 1
    return weights


def used(make: Callable[[], Supernet]) -> Supernet:
    """Return a supernet in double precision whose statistics and affine parameters are not those of a new one."""
    torch.manual_seed(0)
    supernet = make().double()
    for _ in range(2):
        supernet(torch.randn(6, 3, 8, 8, dtype=torch.float64))
    with torch.no_grad():
        for name, parameter in supernet.named_parameters():
            if "alphas" not in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return supernet


@pytest.mark.parametrize("space", MAKE)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_network_computes_what_the_supernet_computes_under_one_hot_weights(space: str, training: bool) -> None:
    for seed in range(4):
        supernet = used(MAKE[space]).train(training)
        genotype, images = drawn(supernet, seed), torch.randn(5, 3, 8, 8, dtype=torch.float64)
        network = supernet.network(genotype)
        assert network.training == training
        for _ in range(3):  # in training mode the statistics move alike
            torch.testing.assert_close(network(images), supernet(images, one_hot(supernet, genotype)))
        torch.testing.assert_close(network.eval()(images), supernet.eval()(images, one_hot(supernet, genotype)))


def test_gradients_are_the_supernets() -> None:
    supernet = used(MAKE["darts"])
    genotype, images = drawn(supernet, 1), torch.randn(5, 3, 8, 8, dtype=torch.float64)
    network = supernet.network(genotype)
    network(images).square().sum().backward()
    supernet(images, one_hot(supernet, genotype)).square().sum().backward()
    for name in ("stem.0.weight", "classifier.weight"):
        torch.testing.assert_close(network.get_parameter(name).grad, supernet.get_parameter(name).grad)


def test_without_a_genotype_it_is_what_was_decided_and_by_magnitude_what_was_not() -> None:
    supernet = used(MAKE["darts"]).eval()
    images, before = torch.randn(2, 3, 8, 8, dtype=torch.float64), deepcopy(supernet.decisions)
    network = supernet.network()
    assert supernet.decisions == before
    supernet.decisions = argmax_alpha(supernet)
    torch.testing.assert_close(network(images), supernet(images))
    torch.testing.assert_close(supernet.network(supernet.genotype())(images), supernet(images))


def test_without_the_weights_it_is_a_new_network_of_the_supernets_size() -> None:
    supernet = small_networks.darts(channels=6, in_channels=1)
    genotype = drawn(supernet, 0)
    network = supernet.network(genotype, inherit=False)
    shape = {"channels": 6, "layers": 3, "classes": 5, "in_channels": 1}
    expected = {name: value.shape for name, value in DartsNetwork(genotype, **shape).state_dict().items()}
    assert {name: value.shape for name, value in network.state_dict().items()} == expected
    assert not network.stem[0].weight.equal(supernet.stem[0].weight)


@pytest.mark.parametrize("options", [{"partial_channels": 2}, {"edge_normalization": "share"}], ids=str)
def test_what_no_discrete_network_computes_is_refused(options: dict[str, object]) -> None:
    supernet = small_networks.darts(variant=SupernetOptions(**options))
    (option,) = options
    with pytest.raises(ValueError, match=f"searched with search.{option}="):
        supernet.network()
    assert supernet.network(inherit=False)(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_a_genotype_of_another_space_is_refused() -> None:
    supernet = small_networks.darts(("skip_connect", "sep_conv_3x3"))
    with pytest.raises(ValueError, match="chooses among"):
        supernet.network(drawn(small_networks.darts(("max_pool_3x3",)), 0))
