import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.autograd.graph import saved_tensors_hooks

from archselect import kernels


def made(name, recompute):
    tiny = {"cells_per_stage": 2} if name == "nasbench201" else {"layers": 4}
    space = instantiate(OmegaConf.load(f"configs/search_space/{name}.yaml"), channels=4, **tiny)
    torch.manual_seed(0)
    supernet = space.supernet(8, 5).double()
    supernet.recompute = recompute
    return supernet


def step(supernet):
    """Return logits, gradients and statistics of one step, and the bytes that it keeps for its backward pass."""
    torch.manual_seed(1)
    x = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = supernet(x)
    parameters = supernet.architecture_parameters() + supernet.weight_parameters()
    gradients = torch.autograd.grad(logits.square().sum(), parameters)
    return [logits, *gradients, *supernet.buffers()], sum(kept.values())


@pytest.mark.parametrize("on_cpu", [True, False], ids=["by_loops", "edges_together"])
@pytest.mark.parametrize("name", ["darts", "s2", "s4", "nasbench201"])
def test_recomputing_changes_no_number(name, on_cpu):
    with kernels.enabled(on_cpu):
        expected, _ = step(made(name, recompute=False))
        recomputed, _ = step(made(name, recompute=True))
    for one, other in zip(recomputed, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_recomputing_keeps_less_than_half(name):
    _, plain = step(made(name, recompute=False))
    _, less = step(made(name, recompute=True))
    assert less < 0.5 * plain


def test_cells_are_evaluated_again_as_before_wherever_the_backward_pass_runs():
    for by_loops in (True, False):
        supernet = made("s2", recompute=True).train()
        images = torch.randn(2, 3, 16, 16, dtype=supernet.alphas["normal"].dtype)
        with kernels.enabled(by_loops):
            logits = supernet(images)
        with kernels.enabled(not by_loops):
            logits.square().sum().backward()
        assert supernet.stem[0].weight.grad.any()
