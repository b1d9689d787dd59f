"""What holds for the discrete networks of every family."""

import pytest
import torch
from torch import nn

from archselect.genotype import PUBLISHED, Genotype
from archselect.models.discrete.darts import DartsNetwork
from archselect.models.discrete.nasbench201 import NASBench201Network
from archselect.models.discrete.network import DiscreteCell, DiscreteNetwork, DiscreteNode
from archselect.models.ops.primitives import Zero

FAMILIES = ["darts", "nasbench201"]


def network(family: str) -> DiscreteNetwork:
    if family == "darts":
        return DartsNetwork(PUBLISHED["darts_pt_s5_3"], 2, 3, 10, auxiliary=True)
    genotype = Genotype.parse("|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")
    return NASBench201Network(genotype, 4, 1, 10)


each_family = pytest.mark.parametrize("family", FAMILIES)


@each_family
def test_every_normalisation_is_affine(family):
    norms = [layer for layer in network(family).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) > 5
    assert all(norm.affine for norm in norms)


@each_family
def test_drop_path_changes_training_and_not_evaluation(family):
    built, x = network(family), torch.randn(4, 3, 8, 8)
    assert torch.equal(built(x), built(x))  # off until it is set
    built.drop_path_probability = 0.5
    assert not torch.equal(built(x), built(x))
    built.eval()
    out = built(x)
    assert torch.equal(out, built(x))
    built.drop_path_probability = 0
    assert torch.equal(out, built(x))


@each_family
@pytest.mark.parametrize("image_size", [4, 8, 9, 28, 64])
def test_takes_images_of_many_sizes(family, image_size):
    logits, auxiliary = network(family).forward_with_auxiliary(torch.randn(2, 3, image_size, image_size))
    assert logits.shape == (2, 10)
    assert (auxiliary is None) == (family == "nasbench201")
    assert auxiliary is None or auxiliary.shape == (2, 10)


@each_family
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 8, 8), r"takes images \(B, 3, H, W\); got \(3, 8, 8\)"),
        ((2, 1, 8, 8), r"takes images \(B, 3, H, W\); got \(2, 1, 8, 8\)"),
        ((2, 3, 8, 3), r"halves images twice, and \(8, 3\) pixels are too few"),
    ],
)
def test_other_inputs_than_images_are_refused(family, shape, message):
    for forward in (network(family), network(family).forward_with_auxiliary):
        with pytest.raises(ValueError, match=message):
            forward(torch.randn(shape))


# Their cells


def cell(text: str, channels: int = 2, stride: int = 1) -> DiscreteCell:
    return DiscreteCell(Genotype.from_text(text).cells[0], channels, stride)


def nodes_of(discrete: DiscreteCell) -> list[DiscreteNode]:
    return list(discrete.nodes)  # type: ignore[arg-type]


def test_a_node_sums_its_inputs_by_their_sources():
    first, second = torch.randn(2, 1, 2, 4, 4)
    three, four, five = cell("normal:2:skip_connect@0+skip_connect@1/skip_connect@2/skip_connect@0+skip_connect@3")(
        (first, second)
    )
    torch.testing.assert_close(three, first + second)
    torch.testing.assert_close(four, first + second)
    torch.testing.assert_close(five, 2 * first + second)


def test_only_edges_from_the_cells_inputs_have_the_stride():
    x = torch.randn(2, 2, 8, 8)
    outputs = cell("reduction:2:sep_conv_3x3@0/max_pool_3x3@2+avg_pool_3x3@1", stride=2)((x, x))
    assert [tuple(out.shape) for out in outputs] == [(2, 2, 4, 4)] * 2


@pytest.mark.parametrize("stride", [1, 2])
def test_a_node_of_none_alone_is_zeros_of_the_right_size(stride):
    x = torch.randn(2, 2, 6, 6)
    discrete = cell("normal:2:none@0+none@1/skip_connect@0+skip_connect@2", stride=stride)
    first, second = discrete.eval()((x, x))
    assert [type(operation) for operation in nodes_of(discrete)[0].operations] == [Zero]
    assert first.shape == second.shape == (2, 2, 6 // stride, 6 // stride)
    assert not first.any()
    torch.testing.assert_close(second, nodes_of(discrete)[1].operations[0](x))


def test_drop_path_never_touches_identities():
    x = torch.randn(64, 2, 4, 4)
    (out,) = cell("cell:1:skip_connect@0").train()([x], 0.9)
    assert torch.equal(out, x)


@pytest.mark.parametrize(
    ("text", "stride"),
    [("cell:1:nor_conv_3x3@0", 1), ("cell:1:avg_pool_3x3@0", 1), ("cell:1:skip_connect@0", 2)],
    ids=["convolution", "pooling", "skip of stride 2"],
)
def test_drop_path_drops_samples_of_every_other_operation(text, stride):
    torch.manual_seed(0)
    x = 1 + torch.rand(400, 2, 4, 4)
    discrete = cell(text, stride=stride)
    (plain,), (dropped,) = discrete([x]), discrete([x], 0.25)
    is_dropped = (dropped == 0).flatten(1).all(dim=1)
    assert 0.17 < is_dropped.float().mean().item() < 0.33
    torch.testing.assert_close(dropped[~is_dropped], plain[~is_dropped] / 0.75)


def test_the_operations_of_a_node_drop_independently():
    torch.manual_seed(0)
    x = torch.ones(1000, 1, 2, 2)
    (out,) = cell("cell:2:max_pool_3x3@0+avg_pool_3x3@1", channels=1)((x, x), 0.5)
    shares = [(out[:, 0, 0, 0] == value).float().mean().item() for value in (0, 2, 4)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.05)
