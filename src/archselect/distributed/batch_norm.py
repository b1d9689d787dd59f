"""Batch normalisation with the statistics of the whole batch, also where that is spread over several processes."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules._functions import SyncBatchNorm

from archselect.distributed.process_group import all_reduce, place, synchronises_batch_norm


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`; in training, several processes normalise by the statistics of all their images."""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and synchronises_batch_norm()):
            return super().forward(x)
        mean, variance, momentum = self.running_mean, self.running_var, self.momentum
        assert mean is not None and variance is not None and momentum is not None
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return batch_norm(x, mean, variance, self.weight, self.bias, True, momentum, self.eps)


def convert_batch_norm(module: nn.Module) -> None:
    """Let every `nn.BatchNorm2d` of a module be the class above, in place: the module may hold one elsewhere too."""
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = BatchNorm2d


def batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Return what `F.batch_norm` returns for the whole batch, of which `x`, `(B, C, H, W)`, is this process's part.

    Of GPUs by the function of `nn.SyncBatchNorm`, which has one derivative and no other devices; else by plain
    operators, which have as many derivatives as one likes.
    """
    if not (training and synchronises_batch_norm()):
        return F.batch_norm(x, running_mean, running_variance, weight, bias, training, momentum, eps)
    if x.is_cuda:
        others = dist.group.WORLD, place().world_size
        out: Tensor = SyncBatchNorm.apply(x, weight, bias, running_mean, running_variance, eps, momentum, *others)
        return out
    values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    mean, variance, count = _statistics(values)
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_variance.lerp_((variance * count / (count - 1)).to(running_variance.dtype), momentum)
    scale = (variance + eps).rsqrt() if weight is None else weight * (variance + eps).rsqrt()
    out = (values - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)
    return (out if bias is None else out + bias.view(-1, 1, 1)).to(x.dtype)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance `(C,)` over all processes, and of how many values.

    Each writes its own into its row of a table whose sum over the processes is everybody's: one message, and no
    difference of large squares.
    """
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    own, here = torch.cat([mean, variance, mean.new_full((1,), x.numel() / x.shape[1])]), place()
    table = torch.stack([own if rank == here.rank else torch.zeros_like(own) for rank in range(here.world_size)])
    means, variances, counts = all_reduce(table).split([len(mean), len(mean), 1], dim=1)
    count = counts.detach().sum()
    shares = counts.detach() / count
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean).square())).sum(dim=0), count
