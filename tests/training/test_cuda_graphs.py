"""Capturing steps: a replay equals the plain step, and what cannot be captured is refused."""

import pytest
import torch
from torch import nn

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.supernet import Supernet
from archselect.training.cuda_graphs import CudaGraphs, NoCapture, capture_for

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")


def test_without_capture_a_function_is_evaluated_at_every_call() -> None:
    calls = []

    def double(x: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return 2 * x

    capture = NoCapture()
    assert [capture("key", double, [torch.tensor(v)]).item() for v in (1.0, 2.0)] == [2.0, 4.0]
    assert len(calls) == 2


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
def test_another_shape_is_captured_anew_and_forget_frees_everything() -> None:
    capture = CudaGraphs(list)
    for size in (2, 3):
        x = torch.arange(float(size), device="cuda")
        assert capture("sum", lambda x: x.sum(), [x]).item() == x.sum().item()
    assert len(capture._graphs) == 2
    capture.forget()
    assert not capture._graphs


@needs_cuda
def test_a_function_of_nested_batches_is_replayed_on_the_new_ones() -> None:
    capture = CudaGraphs(list)
    for seed in range(3):
        torch.manual_seed(seed)
        pairs = [(torch.randn(4, device="cuda"), torch.randn(2, device="cuda")) for _ in range(2)]
        got = capture(
            "sum", lambda batch, pair: batch[0][0].sum() + batch[1][1].prod() + pair[0].max(), (pairs, pairs[1])
        )
        assert got.item() == (pairs[0][0].sum() + pairs[1][1].prod() + pairs[1][0].max()).item()
    assert len(capture._graphs) == 1


def small_supernet() -> Supernet:
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (("skip_connect", "nor_conv_1x1"),) * 3)
    torch.manual_seed(0)
    return NASBench201Supernet({"cell": space}, channels=4, cells_per_stage=1, classes=3)


@pytest.mark.slow
def test_compiled_cells_give_the_same_up_to_rounding_until_they_are_forgotten() -> None:
    plain, compiled = small_supernet(), small_supernet()
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
