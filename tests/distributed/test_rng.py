import torch

from archselect.distributed.rng import seed_generators


def test_pytorchs_numbers_are_those_of_its_own_seeding() -> None:
    torch.manual_seed(2**62 + 1)
    expected = torch.rand(3)
    seed_generators(2**62 + 1)
    assert torch.equal(torch.rand(3), expected)
