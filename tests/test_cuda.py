"""On a GPU a supernet computes what it does on a CPU in float64, and captured what it does eagerly."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from benchmarks.settings import CLASSES, IMAGE_SIZE, Setting, without_tf32
from torch import Tensor

from archselect import kernels
from archselect.data.loader import BilevelBatch
from archselect.models.supernet.supernet import Supernet
from archselect.search import SearchModule
from archselect.selection import Score, Scorer, Scoring
from archselect.tasks import Classification
from archselect.training.cuda_graphs import CaptureName, capture_for
from archselect.training.step import optimizer_step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
each_supernet = pytest.mark.parametrize(
    "setting",
    [Setting("darts", 4, 3), Setting("s2", 4, 3), Setting("nasbench201", 4, 1)],
    ids=lambda setting: setting.supernet,
)

Batch = tuple[Tensor, Tensor]


@pytest.fixture(autouse=True)
def _plain_operators() -> Iterator[None]:
    """Keep TF32, which has three digits, and the compiled loops, which have tests of their own, out of it."""
    with kernels.disabled(), without_tf32():
        yield


def batches(device: str, dtype: torch.dtype, count: int = 2) -> list[Batch]:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(count, 8, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator, dtype=torch.float64)
    return [
        (x.to(device, dtype, memory_format=torch.channels_last), torch.arange(8, device=device) % CLASSES)
        for x in images
    ]


def module_on(setting: Setting, device: str, dtype: torch.dtype, capture: CaptureName = "none") -> SearchModule:
    supernet = setting.build().to(device, dtype).train()
    module = SearchModule(supernet, replace(setting.method(), capture=capture), Classification(), CLASSES, rng_key=())
    module.capture = capture_for(capture, torch.device(device), supernet)
    return module


def tensors_of(supernet: Supernet) -> dict[str, Tensor]:
    """Return copies of all parameters and statistics in float64 on the CPU."""
    named = {**dict(supernet.named_parameters()), **dict(supernet.named_buffers())}
    return {name: value.detach().double().cpu().clone() for name, value in named.items()}


def trained(module: SearchModule, read: Sequence[Batch]) -> dict[str, Tensor]:
    """Return, in float64 on the CPU, the supernet after a bilevel step on each pair of batches."""
    (weights, alpha), _ = module.configure_optimizers()
    supernet = module.supernet
    for batch in map(BilevelBatch, read, reversed(read)):
        optimizer_step(alpha, supernet.architecture_parameters(), module.alpha_gradients(batch))
        *_, of_weights = module.weight_gradients(batch)
        optimizer_step(weights, supernet.weight_parameters(), of_weights, module.method.gradient_clip)
    return tensors_of(supernet)


def check_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = float((found[name] - value).norm() / value.norm().clamp_min(1e-30))
        assert error <= tolerance, f"{name} differs by {error:.2g} of its norm"


@each_supernet
def test_logits_and_gradients_are_those_of_float64_on_a_cpu(setting: Setting) -> None:
    def gradients(device: str) -> dict[str, Tensor]:
        module = module_on(setting, device, torch.float64)
        batch = BilevelBatch(*batches(device, torch.float64))
        of_alpha = module.alpha_gradients(batch)
        _, logits, of_weights = module.weight_gradients(batch)
        found = {"logits": logits, **{f"alpha {number}": one for number, one in enumerate(of_alpha)}}
        found |= {f"weight {number}": one for number, one in enumerate(of_weights) if one is not None}
        return {name: value.double().cpu() for name, value in found.items()}

    check_close(gradients("cuda"), gradients("cpu"), 1e-8)


@each_supernet
def test_bilevel_steps_end_at_the_weights_that_float64_on_a_cpu_ends_at(setting: Setting) -> None:
    found = trained(module_on(setting, "cuda", torch.float64), batches("cuda", torch.float64, 3))
    expected = trained(module_on(setting, "cpu", torch.float64), batches("cpu", torch.float64, 3))
    check_close(found, expected, 1e-6)


@each_supernet
def test_steps_from_cuda_graphs_end_at_the_weights_of_eager_ones(setting: Setting) -> None:
    read = batches("cuda", torch.float64, 3)
    captured, eager = (
        trained(module_on(setting, "cuda", torch.float64, name), read) for name in ("cuda_graphs", "none")
    )
    check_close(captured, eager, 1e-8)


@each_supernet
def test_scores_from_cuda_graphs_are_those_of_eager_passes_and_leave_no_trace(setting: Setting) -> None:
    supernet = setting.build().to("cuda").train()
    before = tensors_of(supernet)
    weights = supernet.mixture_weights().detach()
    cell = next(iter(supernet.cell_spaces))
    candidates = [weights.masked(cell, 0, operation) for operation in range(supernet.cell_spaces[cell].width)]

    def scores(name: CaptureName) -> list[Score]:
        capture = capture_for(name, torch.device("cuda"), supernet)
        return Scorer(supernet, Classification(), batches("cuda", torch.float32, 3), Scoring(), (), (0,), capture)(
            candidates
        )

    eager, captured = scores("none"), scores("cuda_graphs")
    assert [score.metric for score in captured] == [score.metric for score in eager]
    assert [score.loss for score in captured] == pytest.approx([score.loss for score in eager], rel=1e-5)
    check_close(tensors_of(supernet), before, 0)
