"""Whether the processes of a run still hold the same numbers."""

import torch
from torch import Tensor, nn

from archselect.distributed.process_group import all_reduce, gathered, is_sharded, place, synchronises_batch_norm
from archselect.errors import RunError

_AS_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@torch.no_grad()
def average_statistics(network: nn.Module) -> None:
    """Where every process has gathered running statistics of its own, let all have their mean."""
    if not is_sharded() or synchronises_batch_norm():
        return
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None:
            for value in (norm.running_mean, norm.running_var):
                value.copy_(all_reduce(value) / place().world_size)


def assert_in_sync(module: nn.Module, moment: str) -> None:
    """Compare a checksum of the bits of every parameter and buffer over the processes.

    Raises:
        RunError: They are not the same: going on would train several supernets instead of one.
    """
    tensors = [(name, value) for name, value in [*module.named_parameters(), *module.named_buffers()] if value.numel()]
    if place().world_size == 1 or not tensors:
        return
    sums = gathered(torch.stack([_checksum(value) for _, value in tensors]).tolist())
    different = [name for (name, _), *values in zip(tensors, *sums, strict=True) if len(set(values)) > 1]
    if different:
        raise RunError(
            f"The {len(sums)} processes of this run hold different numbers {moment}, first in {different[0]} "
            f"({len(different)} of {len(tensors)} tensors differ). The checkpoint before this is kept. Devices of "
            "different kinds round differently: use equal ones, or trainer.devices=1."
        )


def _checksum(value: Tensor) -> Tensor:
    bits = value.detach().contiguous()
    return (bits.view(_AS_INTEGERS[bits.element_size()]) if bits.is_floating_point() else bits).sum(dtype=torch.int64)
