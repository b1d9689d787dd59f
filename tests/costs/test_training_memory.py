import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from tests.costs.test_count import Chain
from tests.models.small_networks import darts, nasbench201
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim import SGD, Adam

from archselect.costs.training_memory import TrainingMemory, training_memory

MOMENTUM = partial(SGD, lr=0.1, momentum=0.9)

# The growth of a process by a step of a supernet of S2, in bytes, by the highest that Linux has seen it.
MEASURED = """
import re
from pathlib import Path
import torch
from archselect import DartsSpace

def bytes_of(name):
    return 1024 * int(re.search(rf"{name}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

supernet = DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=8, layers=4).supernet(32, 10)
images = torch.zeros(IMAGES, 3, 32, 32)
weights, before = supernet.mixture_weights().detach(), bytes_of("VmRSS")
torch.autograd.grad(supernet(images, weights).sum(), supernet.weight_parameters(), allow_unused=True)
print(bytes_of("VmHWM") - before)
"""


def on_meta(make: Callable[[], nn.Module], images: int, size: int, **options: bool) -> TrainingMemory:
    with torch.device("meta"):
        supernet = make()
        supernet.recompute = options.get("backward", False)  # type: ignore[assignment]
    weights = supernet.mixture_weights().detach()  # type: ignore[operator]
    return training_memory(supernet, lambda x: supernet(x, weights), (images, 3, size, size), MOMENTUM, **options)


@pytest.mark.parametrize(("optimizer", "copies"), [(partial(SGD, lr=0.1), 1), (MOMENTUM, 2), (Adam, 3)])
def test_a_step_of_a_chain_takes_what_is_worked_out_by_hand(optimizer: type, copies: int) -> None:
    with torch.device("meta"):
        chain = Chain()
    found = training_memory(chain, chain, (3, 2, 4, 4), optimizer)
    weights = 4 * ((4 * 2 * 9 + 4) + (4 + 1) + (16 * 10 + 10))
    # Most is there when the ReLU has been computed: the images and what both layers gave.
    assert found == TrainingMemory(weights, copies * weights, activations=3 * (128 + 256 + 256))
    assert found.total == (1 + copies) * weights + 1920


def test_the_activations_are_the_tensors_that_autograd_saves() -> None:
    supernet, images, saved = darts(), torch.zeros(4, 3, 16, 16), dict[int, int]()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = supernet.mixture_weights().detach()
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = supernet(images, weights)
    for tensor in (*supernet.parameters(), *supernet.buffers()):
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    assert outputs.requires_grad
    assert sum(saved.values()) == pytest.approx(on_meta(darts, 4, 16).activations, rel=0.1)


def test_recomputation_of_cells_keeps_less() -> None:
    kept, recomputed = on_meta(nasbench201, 4, 16), on_meta(nasbench201, 4, 16, backward=True)
    assert recomputed.activations < 0.8 * kept.activations


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how large a process was")
def test_a_process_grows_by_what_is_told() -> None:
    from archselect import DartsSpace

    space = DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=8, layers=4)
    code = MEASURED.replace("IMAGES", "64")
    grown = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    told = on_meta(partial(space.supernet, 32, 10), 64, 32)
    assert told.activations > 200e6
    assert 0.9 * told.total < grown < 1.4 * told.total
