import torch

from archselect.models.ops.drop_path import drop_path


def test_drops_whole_samples_with_the_probability_and_keeps_the_mean():
    torch.manual_seed(0)
    out = drop_path(torch.ones(20_000, 2, 2, 2), 0.2)
    per_sample = out.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert per_sample[:, 0].unique().tolist() == [0, 1.25]
    assert abs((per_sample[:, 0] == 0).float().mean().item() - 0.2) < 0.01
    assert abs(out.mean().item() - 1) < 0.015


def test_drops_anew_at_each_call():
    x = torch.ones(64, 1, 1, 1)
    assert not torch.equal(drop_path(x, 0.5), drop_path(x, 0.5))
