import pytest
import torch
import torch.nn.functional as F

from archselect.models.discrete.darts import AuxiliaryHead


def pooled(features: torch.Tensor) -> torch.Tensor:
    head, seen = AuxiliaryHead(features.shape[1], 10).eval(), []
    head.layers[0].register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    assert head(features).shape == (features.shape[0], 10)
    return seen[0]


def test_has_the_weights_of_the_official_head():
    # 576 features, 10 classes: Conv1x1 and BN to 128, Conv2x2 and BN to 768, linear.
    weights = sum(weight.numel() for weight in AuxiliaryHead(576, 10).parameters())
    assert weights == 576 * 128 + 256 + 128 * 768 * 4 + 1536 + 768 * 10 + 10 == 476_426


@pytest.mark.parametrize(("resolution", "stride"), [(8, 3), (7, 2)])
def test_pools_as_the_official_head_does(resolution, stride):
    features = torch.randn(2, 3, resolution, resolution)
    torch.testing.assert_close(pooled(features), F.avg_pool2d(features.relu(), 5, stride=stride, padding=0))


def test_windows_of_five_rows_three_apart():
    rows = torch.arange(8.0)[:, None].expand(1, 1, 8, 8)
    assert pooled(rows)[0, 0, :, 0].tolist() == [2, 5]  # the means of rows 0-4 and 3-7


@pytest.mark.parametrize("resolution", [1, 2, 3, 4, 16])
def test_takes_features_of_other_sizes(resolution):
    assert pooled(torch.randn(2, 3, resolution, resolution)).shape == (2, 3, 2, 2)


def test_leaves_the_features_alone_because_the_next_cell_reads_them():
    features = torch.randn(2, 3, 8, 8)
    before = features.clone()
    AuxiliaryHead(3, 10)(features)
    assert torch.equal(features, before)
