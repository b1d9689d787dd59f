import pytest
import torch

from archselect.genotype import PUBLISHED, Genotype
from archselect.models.discrete.darts import AuxiliaryHead, DartsNetwork

V2 = PUBLISHED["DARTS_V2"]
SKIPS = "skip_connect@0+skip_connect@1/" * 3 + "skip_connect@0+skip_connect@1"
ALL_SKIP = Genotype.from_text(f"normal:2:{SKIPS}//reduction:2:{SKIPS}")


def network(genotype=V2, channels=2, layers=3, classes=10, **options):
    return DartsNetwork(genotype, channels, layers, classes, **options)


@pytest.mark.parametrize(
    ("name", "weights"), [("DARTS_V1", 3_169_414), ("DARTS_V2", 3_349_342), ("darts_pt_s5_3", 3_328_174)]
)
def test_has_the_published_number_of_weights(name, weights):
    # The papers give 3.3 M, 3.3 M (3.35 M in the code's log) and 3.33 M.
    built = network(PUBLISHED[name], channels=36, layers=20, auxiliary=True)
    assert built.parameter_count() == weights
    assert sum(weight.numel() for weight in built.parameters()) == weights + 476_426  # the auxiliary head


@pytest.mark.parametrize(("layers", "reductions"), [(2, [0, 1]), (3, [1, 2]), (8, [2, 5]), (20, [6, 13])])
def test_reductions_stand_at_a_third_and_two_thirds_of_the_depth(layers, reductions):
    built, shapes = network(layers=layers), []
    for cell in built.cells:
        cell.register_forward_hook(lambda module, arguments, out: shapes.append(tuple(out.shape[1:3])))
    assert built.eval()(torch.randn(1, 3, 32, 32)).shape == (1, 10)
    before = [sum(cut <= layer for cut in reductions) for layer in range(layers)]
    assert shapes == [(8 * 2**halvings, 32 // 2**halvings) for halvings in before]


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


def test_the_auxiliary_head_reads_the_second_reduction_and_changes_nothing_else():
    built = network(layers=6, auxiliary=True).eval()
    features = []
    built.cells[4].register_forward_hook(lambda module, arguments, out: features.append(out))
    x = torch.randn(2, 3, 32, 32)
    logits, auxiliary = built.forward_with_auxiliary(x)
    assert built.auxiliary is not None
    torch.testing.assert_close(auxiliary, built.auxiliary(features[0]))
    assert torch.equal(logits, built(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 1}, "layers of a network must be 2 or more, .* got 1"),
        ({"channels": 0}, "The channels of a network must be a whole number above 0; got 0"),
        ({"channels": 2.0}, "channels of a network must be a whole number above 0; got 2.0"),
        ({"classes": 0}, "classes of a network must be a whole number above 0; got 0"),
        ({"stem_multiplier": 0}, "stem_multiplier of a network must be a whole number above 0; got 0"),
        (
            {"genotype": Genotype((V2.cell("normal"),))},
            "normal with 2 inputs, reduction with 2 inputs; the genotype has normal with 2 inputs",
        ),
        ({"genotype": Genotype.parse("|skip_connect~0|")}, "the genotype has cell with 1 inputs"),
        ({"genotype": Genotype.from_text(V2.to_text().replace("dil_conv_3x3", "dil"))}, "'dil' does not exist"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


# The auxiliary head


def pooled(features: torch.Tensor) -> torch.Tensor:
    head, seen = AuxiliaryHead(features.shape[1], 10).eval(), []
    head.layers[0].register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    before = features.clone()
    assert head(features).shape == (features.shape[0], 10)
    assert torch.equal(features, before)  # the next cell reads them
    return seen[0]


def test_the_auxiliary_head_has_the_weights_of_the_official_one():
    # 576 features, 10 classes: Conv1x1 and BN to 128, Conv2x2 and BN to 768, linear.
    weights = sum(weight.numel() for weight in AuxiliaryHead(576, 10).parameters())
    assert weights == 576 * 128 + 256 + 128 * 768 * 4 + 1536 + 768 * 10 + 10 == 476_426


def test_windows_of_five_rows_three_apart():
    rows = torch.arange(8.0)[:, None].expand(1, 1, 8, 8)
    assert pooled(rows)[0, 0, :, 0].tolist() == [2, 5]  # the means of rows 0-4 and 3-7


@pytest.mark.parametrize("resolution", [1, 2, 3, 4, 16])
def test_the_auxiliary_head_takes_features_of_other_sizes(resolution):
    assert pooled(torch.randn(2, 3, resolution, resolution)).shape == (2, 3, 2, 2)
