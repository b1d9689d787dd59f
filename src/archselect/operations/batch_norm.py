"""Batch normalisation with the statistics of the whole batch, also where that is spread over several processes."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.distributed.process_group import all_reduce_autograd, processes, synchronises_batch_norm


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`; in training, several processes normalise by the statistics of all their images."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, C, H, W)`, normalised."""
        if not (self.training and synchronises_batch_norm()):
            return super().forward(x)
        momentum = self.momentum or 0.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # a cumulative average, as of `nn.BatchNorm2d`
                momentum = 1 / float(self.num_batches_tracked)
        mean, variance = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        return batch_norm(x, mean, variance, self.weight, self.bias, True, momentum, self.eps)


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

    Of plain operators, so that it can be differentiated as often as they can, on any device.
    """
    if not (training and synchronises_batch_norm()):
        return F.batch_norm(x, running_mean, running_variance, weight, bias, training, momentum, eps)
    mean, variance, values = _statistics(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)
    with torch.no_grad():
        running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
        unbiased = variance.detach() * (values / (values - 1))
        running_variance.lerp_(unbiased.to(running_variance.dtype), momentum)
    scale = (variance + eps).rsqrt() if weight is None else weight * (variance + eps).rsqrt()
    out = (x - _per_channel(mean)) * _per_channel(scale)
    return (out if bias is None else out + _per_channel(bias)).to(x.dtype)


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and biased variance `(C,)` over all processes, and of how many values.

    Each writes its own mean, variance and number of values into its row of a table whose sum over the processes is
    everybody's: one message, and no difference of large squares.
    """
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    own = torch.cat([mean, variance, mean.new_full((1,), x.numel() / x.shape[1])])
    here = processes()
    rows = [own if index == here.index else torch.zeros_like(own) for index in range(here.count)]
    table = all_reduce_autograd(torch.stack(rows))
    means, variances, values = table.split([len(mean), len(mean), 1], dim=1)  # (processes, C), and (processes, 1)
    total = values.detach().sum()
    shares = values.detach() / total
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean).square())).sum(dim=0), total


def _per_channel(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)
