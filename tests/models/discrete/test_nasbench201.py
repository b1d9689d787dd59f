import pytest
import torch

from archselect.genotype import PUBLISHED, Genotype
from archselect.models.discrete.nasbench201 import NASBench201Network

CELL_6111 = Genotype.parse(
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
)
ALL_SKIP = Genotype.parse(
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
)
ALL_NONE = Genotype.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")


def network(genotype=CELL_6111, channels=4, cells_per_stage=1, classes=10):
    return NASBench201Network(genotype, channels, cells_per_stage, classes)


def test_has_the_number_of_weights_counted_by_hand():
    stem = 3 * 16 * 9 + 32
    first_block = (16 * 32 * 9 + 64) + (32 * 32 * 9 + 64) + 16 * 32
    second_block = (32 * 64 * 9 + 128) + (64 * 64 * 9 + 128) + 32 * 64
    skeleton = stem + first_block + second_block + 2 * 64 + 64 * 10 + 10
    # One 1x1 convolution with its normalisation per cell, two cells per stage.
    cells = 2 * ((16 * 16 + 32) + (32 * 32 + 64) + (64 * 64 + 128))
    genotype = Genotype.parse("|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|skip_connect~2|")
    assert network(genotype, channels=16, cells_per_stage=2).parameter_count() == skeleton + cells == 84_506


def test_the_cell_gives_its_last_node():
    # With skip connections alone the nodes are x, 2x and 4x: every cell multiplies by four.
    built, seen = network(ALL_SKIP).eval(), []
    for block in built.blocks[:2]:
        block.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    built(torch.randn(2, 3, 8, 8))
    torch.testing.assert_close(seen[1], 4 * seen[0][0])


def test_a_cell_of_none_passes_nothing_on():
    built = network(ALL_NONE).eval()
    logits = built(torch.randn(3, 3, 8, 8))
    torch.testing.assert_close(logits, logits[:1].expand(3, -1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "channels of a network must be a whole number above 0; got 0"),
        ({"cells_per_stage": 0}, "cells_per_stage of a network must be a whole number above 0; got 0"),
        ({"classes": 0}, "classes of a network must be a whole number above 0; got 0"),
        (
            {"genotype": PUBLISHED["DARTS_V2"]},
            "cell with 1 inputs; the genotype has normal with 2 inputs, reduction with 2 inputs",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)
