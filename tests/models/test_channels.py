"""Networks take as many channels as the images have."""

import pytest
import torch
from torch import nn

from archselect.search_spaces import DartsSpace, NASBench201Space

SPACES = {
    "darts": DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=2, layers=3),
    "nasbench201": NASBench201Space("two", ["skip_connect", "nor_conv_3x3"], channels=2, cells_per_stage=1),
}
SKELETONS = {"darts": {"channels": 2, "layers": 3, "auxiliary": True}, "nasbench201": {"channels": 2}}


def build(kind: str, family: str, in_channels: int) -> nn.Module:
    torch.manual_seed(0)
    space = SPACES[family]
    if kind == "supernet":
        return space.supernet(8, 5, in_channels=in_channels).double()
    return space.network(space.example(), 8, 5, in_channels, **SKELETONS[family]).double()


@pytest.mark.parametrize("family", SPACES)
@pytest.mark.parametrize("kind", ["supernet", "network"])
@pytest.mark.parametrize("in_channels", [1, 5])
def test_equal_channels_are_one_channel_with_the_sum_of_their_weights(kind, family, in_channels):
    three, other = build(kind, family, 3), build(kind, family, in_channels)
    weights = three.state_dict()
    stem = next(name for name in weights if name.startswith("stem."))
    weights[stem] = weights[stem].sum(dim=1, keepdim=True).repeat(1, in_channels, 1, 1) / in_channels
    other.load_state_dict(weights)
    grey = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    expected = three(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(other(grey.expand(-1, in_channels, -1, -1)), expected)


@pytest.mark.parametrize("family", SPACES)
def test_a_network_refuses_images_of_another_number_of_channels(family):
    with pytest.raises(ValueError, match=r"takes images \(B, 1, H, W\); got \(2, 3, 8, 8\)"):
        build("network", family, 1)(torch.zeros(2, 3, 8, 8))
