"""What holds for the discrete networks of every family."""

import pytest
import torch
from torch import nn

from archselect.genotype import PUBLISHED, Genotype
from archselect.models.cell_space import CellTopology
from archselect.models.discrete.darts import DartsNetwork
from archselect.models.discrete.nasbench201 import NASBench201Network
from archselect.models.discrete.network import DiscreteNetwork

FAMILIES = ["darts", "nasbench201"]


def network(family: str) -> DiscreteNetwork:
    if family == "darts":
        topology = CellTopology(2, 4, "concat", 2)
        return DartsNetwork(PUBLISHED["darts_pt_s5_3"], topology, 2, 3, 10, 8, auxiliary=True)
    genotype = Genotype.parse("|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    return NASBench201Network(genotype, CellTopology(1, 3, "last", None), 4, 1, 10)


pytestmark = pytest.mark.parametrize("family", FAMILIES)


def test_every_normalisation_is_affine(family):
    norms = [layer for layer in network(family).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) > 5
    assert all(norm.affine for norm in norms)


def test_drop_path_is_off_until_it_is_set(family):
    built, x = network(family), torch.randn(4, 3, 8, 8)
    assert built.drop_path_probability == 0
    assert torch.equal(built(x), built(x))


def test_drop_path_changes_training_and_not_evaluation(family):
    built, x = network(family), torch.randn(4, 3, 8, 8)
    built.drop_path_probability = 0.5
    assert not torch.equal(built(x), built(x))
    built.eval()
    out = built(x)
    assert torch.equal(out, built(x))
    built.drop_path_probability = 0
    assert torch.equal(out, built(x))


@pytest.mark.parametrize("probability", [-0.1, 1, 1.5, float("nan")])
def test_a_drop_path_probability_that_is_none_is_refused(family, probability):
    with pytest.raises(ValueError, match=f"at least 0 and less than 1; got {probability}"):
        network(family).drop_path_probability = probability


def test_evaluates_each_image_by_itself(family):
    built, x = network(family), torch.randn(4, 3, 8, 8)
    for _ in range(3):
        built(x)
    built.eval()
    torch.testing.assert_close(built(x)[1:2], built(x[1:2]))


def test_channels_last_gives_the_same(family):
    built, x = network(family).eval(), torch.randn(4, 3, 8, 8)
    expected = built(x)
    built.to(memory_format=torch.channels_last)
    torch.testing.assert_close(built(x.to(memory_format=torch.channels_last)), expected, atol=1e-4, rtol=1e-4)


def test_a_state_dict_restores_the_network(family):
    built, other, x = network(family), network(family), torch.randn(4, 3, 8, 8)
    other.load_state_dict(built.state_dict())
    assert torch.equal(other.eval()(x), built.eval()(x))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 8, 8), r"takes images \(B, 3, H, W\); got \(3, 8, 8\)"),
        ((2, 1, 8, 8), r"takes images \(B, 3, H, W\); got \(2, 1, 8, 8\)"),
        ((2, 3, 8, 3), "Images of 3 pixels are too small .* 4x4"),
    ],
)
def test_other_inputs_than_images_are_refused(family, shape, message):
    for forward in (network(family), network(family).forward_with_auxiliary):
        with pytest.raises(ValueError, match=message):
            forward(torch.randn(shape))
