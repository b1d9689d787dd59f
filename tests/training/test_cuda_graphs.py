"""Capturing steps: a replay equals the plain step, and what cannot be captured is refused."""

import pytest
import torch
from tests.search.small_search import cell_supernet
from torch import nn

from archselect.models.supernet.mixed_cell import MixedCell
from archselect.training.cuda_graphs import CudaGraphs, capture_for

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")


def test_cuda_graphs_are_refused_on_a_cpu() -> None:
    with pytest.raises(ValueError, match=r"capture=cuda_graphs needs a CUDA device.*cpu.*capture=none"):
        capture_for("cuda_graphs", torch.device("cpu"), nn.Identity())


@needs_cuda
def test_a_replayed_step_equals_the_plain_one_and_moves_the_statistics_as_often() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(8, 3, 8, 8, device="cuda") for _ in range(4)]
    networks = []
    for _ in range(2):
        torch.manual_seed(1)
        networks.append(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).cuda())

    def gradients(network: nn.Module):
        return lambda x: torch.autograd.grad(network(x).square().mean(), list(network.parameters()))

    plain, captured = networks
    capture = CudaGraphs(lambda: list(captured.buffers()))
    for x in batches:
        expected = gradients(plain)(x)
        got = capture("step", gradients(captured), [x])
        for one, other in zip(expected, got, strict=True):
            torch.testing.assert_close(one, other)
    for one, other in zip(plain.buffers(), captured.buffers(), strict=True):
        torch.testing.assert_close(one, other)


@needs_cuda
def test_a_function_of_nested_batches_is_replayed_on_the_new_ones_and_captured_anew_for_another_shape() -> None:
    def function(batch: list[tuple[torch.Tensor, torch.Tensor]], pair: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return batch[0][0].sum() + batch[1][1].prod() + pair[0].max()

    capture = CudaGraphs(list)
    for size in (4, 4, 5):
        pairs = [(torch.randn(size, device="cuda"), torch.randn(2, device="cuda")) for _ in range(2)]
        assert capture("sum", function, (pairs, pairs[1])).item() == function(pairs, pairs[1]).item()
    assert len(capture._graphs) == 2
    capture.forget()
    assert not capture._graphs


@pytest.mark.slow
def test_compiled_cells_give_the_same_up_to_rounding_until_they_are_forgotten() -> None:
    plain, compiled = (cell_supernet("skip_connect", "nor_conv_1x1") for _ in range(2))
    capture = capture_for("compile", torch.device("cpu"), compiled)
    cells = [module for module in compiled.modules() if isinstance(module, MixedCell)]
    x = torch.randn(4, 3, 8, 8)
    for _ in range(2):
        results = []
        for supernet in (plain, compiled):
            parameters = [*supernet.architecture_parameters(), *supernet.weight_parameters()]
            loss = capture("step", lambda x, supernet=supernet: supernet(x).square().mean(), [x])
            results.append([loss, *torch.autograd.grad(loss, parameters), *supernet.buffers()])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert all("forward" in vars(cell) for cell in cells)
    capture.forget()
    assert not any("forward" in vars(cell) for cell in cells)
    torch.testing.assert_close(compiled(x), plain(x), rtol=1e-4, atol=1e-5)
