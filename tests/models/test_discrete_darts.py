import pytest
import torch

from archselect.genotype import PUBLISHED, Genotype
from archselect.models.cell_space import CellTopology
from archselect.models.discrete.darts import DartsNetwork
from archselect.models.ops import FactorizedReduce

TOPOLOGY = CellTopology(inputs=2, nodes=4, output="concat", inputs_per_node=2)
V2 = PUBLISHED["DARTS_V2"]
SKIPS = "skip_connect@0+skip_connect@1/" * 3 + "skip_connect@0+skip_connect@1"
ALL_SKIP = Genotype.from_text(f"normal:2:{SKIPS}//reduction:2:{SKIPS}")


def network(genotype=V2, channels=2, layers=3, classes=10, image_size=32, topology=TOPOLOGY, **options):
    return DartsNetwork(genotype, topology, channels, layers, classes, image_size, **options)


@pytest.mark.parametrize(
    ("name", "weights"), [("DARTS_V1", 3_169_414), ("DARTS_V2", 3_349_342), ("darts_pt_s5_3", 3_328_174)]
)
def test_has_the_published_number_of_weights(name, weights):
    # The papers give 3.3 M, 3.3 M (3.35 M in the code's log) and 3.33 M.
    built = network(PUBLISHED[name], channels=36, layers=20, auxiliary=True)
    assert built.parameter_count() == weights
    assert sum(weight.numel() for weight in built.parameters()) == weights + 476_426  # the auxiliary head


def test_has_the_published_number_of_weights_for_imagenet():
    # The DARTS paper gives 4.7 M.
    built = network(channels=48, layers=14, classes=1000, image_size=224, auxiliary=True, stem="imagenet")
    assert built.parameter_count() == 4_718_752


def test_has_the_number_of_weights_counted_by_hand():
    stem = 3 * 12 * 9 + 24
    normal = 2 * (12 * 4 + 8)  # 4 channels; both inputs are the stem's 12; no skip connection has a weight
    reduction = (
        (12 * 8 + 16) + (16 * 8 + 16) + 8 * (8 * 8 + 16)
    )  # 8 channels; inputs of 12 and 4 x 4; 8 skips of stride 2
    second_reduction = (16 * 16 + 32) + (32 * 16 + 32) + 8 * (16 * 16 + 32)  # 16 channels; inputs of 4 x 4 and 4 x 8
    linear = 4 * 16 * 10 + 10
    expected = stem + normal + reduction + second_reduction + linear
    assert network(ALL_SKIP, channels=4).parameter_count() == expected == 5142


@pytest.mark.parametrize("stem_multiplier", [1, 3])
def test_the_stem_multiplier_widens_the_stem(stem_multiplier):
    built = network(stem_multiplier=stem_multiplier, channels=4)
    assert built.stem.layers[0].out_channels == 4 * stem_multiplier  # type: ignore[union-attr,index]


@pytest.mark.parametrize(("layers", "reductions"), [(2, [0, 1]), (3, [1, 2]), (8, [2, 5]), (20, [6, 13])])
def test_reductions_stand_at_a_third_and_two_thirds_of_the_depth(layers, reductions):
    built = network(layers=layers)
    halvings, previous = [], 32
    for layer, cell in enumerate(built.cells):
        cell.register_forward_hook(lambda module, arguments, out, layer=layer: halvings.append((layer, out.shape)))
    assert built.eval()(torch.randn(1, 3, 32, 32)).shape == (1, 10)
    found = []
    for layer, shape in halvings:
        if shape[-1] < previous:
            found.append(layer)
        previous = shape[-1]
    assert found == reductions
    assert [shape[1] for _, shape in halvings] == [
        8 * 2 ** sum(cut <= layer for cut in reductions) for layer, _ in halvings
    ]


def test_the_cell_after_a_reduction_reduces_what_came_before_it():
    built = network(layers=8)
    kinds = [isinstance(cell.preprocess_before_previous, FactorizedReduce) for cell in built.cells]
    assert [layer for layer, kind in enumerate(kinds) if kind] == [3, 6]


def test_each_cell_reads_the_two_cells_before_it():
    seen = {}
    built = network(layers=4).eval()
    for layer, cell in enumerate(built.cells):
        cell.register_forward_hook(lambda module, arguments, out, layer=layer: seen.update({layer: (arguments, out)}))
    built(torch.randn(1, 3, 16, 16))
    for layer in (2, 3):
        before_previous, previous, _ = seen[layer][0]
        assert before_previous is seen[layer - 2][1]
        assert previous is seen[layer - 1][1]
    assert seen[0][0][0] is seen[0][0][1] is seen[1][0][0]  # the stem


@pytest.mark.parametrize("image_size", [4, 8, 9, 28, 32, 64])
def test_takes_images_of_many_sizes(image_size):
    built = network(PUBLISHED["darts_pt_s5_3"], image_size=image_size, classes=7, auxiliary=True)
    logits, auxiliary = built.forward_with_auxiliary(torch.randn(2, 3, image_size, image_size))
    assert auxiliary is not None
    assert logits.shape == auxiliary.shape == (2, 7)


@pytest.mark.parametrize("image_size", [32, 64, 100])
def test_the_imagenet_stem_divides_the_size_by_eight(image_size):
    built = network(image_size=image_size, stem="imagenet", auxiliary=True).eval()
    before, after = built.stem(torch.randn(1, 3, image_size, image_size))
    assert after.shape[-1] == -(-image_size // 8)
    assert before.shape[-1] == -(-image_size // 4)
    assert isinstance(built.cells[0].preprocess_before_previous, FactorizedReduce)
    assert built(torch.randn(1, 3, image_size, image_size)).shape == (1, 10)


def test_without_an_auxiliary_head_there_are_no_auxiliary_logits():
    built = network().eval()
    x = torch.randn(2, 3, 32, 32)
    logits, auxiliary = built.forward_with_auxiliary(x)
    assert auxiliary is None
    assert torch.equal(logits, built(x))


def test_the_auxiliary_head_reads_the_second_reduction_and_changes_nothing_else():
    built = network(layers=6, auxiliary=True).eval()
    features = []
    built.cells[4].register_forward_hook(lambda module, arguments, out: features.append(out))
    x = torch.randn(2, 3, 32, 32)
    logits, auxiliary = built.forward_with_auxiliary(x)
    assert built.auxiliary is not None
    torch.testing.assert_close(auxiliary, built.auxiliary(features[0]))
    assert torch.equal(logits, built(x))


def test_forward_does_not_evaluate_the_auxiliary_head():
    built = network(auxiliary=True)
    assert built.auxiliary is not None
    built.auxiliary.register_forward_hook(lambda *_: pytest.fail("the auxiliary head was evaluated"))
    built(torch.randn(2, 3, 32, 32))


def test_every_weight_that_is_reached_learns():
    built = network(auxiliary=True)
    logits, auxiliary = built.forward_with_auxiliary(torch.randn(4, 3, 32, 32))
    assert auxiliary is not None
    (logits.square().sum() + auxiliary.square().sum()).backward()
    assert [name for name, weight in built.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 3}, "Images of 3 pixels are too small .* 4x4"),
        ({"image_size": 31, "stem": "imagenet"}, "Images of 31 pixels are too small .* 32x32"),
        ({"layers": 1}, "layers, at least 2; got 1"),
        ({"channels": 0}, "channels, at least 1; got 0"),
        ({"channels": 2.0}, "channels, at least 1; got 2.0"),
        ({"classes": 0}, "classes, at least 1; got 0"),
        ({"stem_multiplier": 0}, "stem_multiplier, at least 1; got 0"),
        ({"stem": "cifar"}, "'small' or 'imagenet'; got 'cifar'"),
        ({"stem": "imagenet", "channels": 3}, "even; got 3"),
        ({"genotype": Genotype((V2.cell("normal"),))}, "cells normal, reduction; the genotype has normal"),
        ({"genotype": Genotype.parse("|skip_connect~0|")}, "cells normal, reduction; the genotype has cell"),
        ({"topology": CellTopology(2, 3, "concat", 2)}, "2 inputs and 3 nodes; cell 'normal' .* 2 inputs and 4 nodes"),
        ({"topology": CellTopology(1, 4, "concat", 2)}, "inputs=2 and output='concat'; the topology has inputs=1"),
        ({"topology": CellTopology(2, 4, "last", 2)}, "the topology has inputs=2 and output='last'"),
        (
            {"genotype": Genotype.from_text(V2.to_text().replace("dil_conv_3x3", "dil_conv"))},
            "'dil_conv' is no operation",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
