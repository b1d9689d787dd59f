"""Evaluating a network without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def restored_state(network: nn.Module) -> Iterator[None]:
    """Put modes, statistics and the random state of `network` back as they were."""
    modes = [(module, module.training) for module in network.modules()]
    momenta = [(module, module.momentum) for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    devices = {buffer.device.index for buffer, _ in buffers if buffer.device.type == "cuda"}
    with torch.random.fork_rng(devices=[index for index in devices if index is not None]):
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            for norm, momentum in momenta:
                norm.momentum = momentum
            for buffer, before in buffers:
                buffer.copy_(before)


@contextmanager
def frozen_bn_stats(network: nn.Module) -> Iterator[None]:
    """Leave running statistics alone, in training mode too: a batch that is evaluated again was counted before."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, momentum, tracked in before:
            norm.momentum, norm.num_batches_tracked = momentum, tracked
