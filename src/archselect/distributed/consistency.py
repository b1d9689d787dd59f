"""Whether the processes of a run still hold the same numbers."""

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from archselect.distributed.process_group import (
    all_reduce,
    is_distributed,
    is_sharded,
    synchronises_batch_norm,
    world_size,
)
from archselect.errors import RunError

_AS_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class InSync(Callback):
    """Lets the processes of a fit have the same running statistics where each has gathered its own."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Average them for the checkpoint."""
        average_statistics(pl_module)

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Average them for the scores."""
        average_statistics(pl_module)


def assert_in_sync(module: nn.Module, moment: str) -> None:
    """Compare a checksum of the bits of every parameter and buffer over the processes.

    Raises:
        RunError: They are not the same: going on would train several supernets instead of one.
    """
    named = [(name, value) for name, value in [*module.named_parameters(), *module.named_buffers()] if value.numel()]
    if not is_distributed() or not named:
        return
    sums = torch.stack([_checksum(value) for _, value in named])
    lowest, highest = sums.clone(), sums.clone()
    dist.all_reduce(lowest, dist.ReduceOp.MIN)
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    different = [name for (name, _), same in zip(named, (lowest == highest).tolist(), strict=True) if not same]
    if different:
        raise RunError(
            f"The {world_size()} processes of this run hold different numbers {moment}, first in {different[0]} "
            f"({len(different)} of {len(named)} tensors differ). The checkpoint before this is kept. Devices of "
            "different kinds round differently: use equal ones, or trainer.devices=1."
        )


@torch.no_grad()
def average_statistics(network: nn.Module) -> None:
    """Where every process has gathered running statistics of its own, let all have their mean."""
    if not is_sharded() or synchronises_batch_norm():
        return
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    statistics = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
    means = all_reduce(torch.cat(statistics)) / world_size()
    for value, mean in zip(statistics, means.split([len(value) for value in statistics]), strict=True):
        value.copy_(mean)


def _checksum(value: Tensor) -> Tensor:
    bits = value.detach().contiguous()
    if bits.is_floating_point():
        bits = bits.view(_AS_INTEGERS[bits.element_size()])
    return bits.sum(dtype=torch.int64)
