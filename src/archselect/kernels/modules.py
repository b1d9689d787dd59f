"""Which modules the loops may stand for: those that do what they compute, and nothing besides.

Looked at at every call, since a child may be replaced and a hook be added at any time; a microsecond each.
"""

import logging
from collections.abc import Collection, Container, Iterable
from functools import lru_cache

from torch import Tensor, nn

from archselect.kernels.native.calls import Batch, Running
from archselect.kernels.switch import is_plain

log = logging.getLogger(__name__)

STATISTICS = ("running_mean", "running_var")


def untouched(module: nn.Module, kinds: Container[type[nn.Module]]) -> bool:
    """Return whether calling `module` runs the `forward` of one of these classes on tensors in the CPU's memory only.

    It does not with hooks, with a `forward` of its own, or as another class: a subclass, or what a parametrization
    makes of it. A module that was changed is slower than it could be, which is said once.
    """
    state = module.__dict__
    if (
        type(module) in kinds
        and not state["_forward_hooks"]
        and not state["_forward_pre_hooks"]
        and not state["_backward_hooks"]
        and not state["_backward_pre_hooks"]
        and "forward" not in state
        and all(map(is_plain, state["_parameters"].values()))
    ):
        return True
    _say_once(type(module).__name__)
    return False


def made_of(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether the children of `module` are untouched modules of these classes, one each."""
    children = module.__dict__["_modules"].values()
    return len(children) == len(kinds) and all(map(untouched, children, ((kind,) for kind in kinds)))


def keeps_size(convolution: nn.Conv2d, sides: Collection[int], depthwise: bool = False) -> bool:
    """Return whether a convolution maps `(B, C, H, W)` to `(B, C, ceil(H / stride), ceil(W / stride))` as loops do.

    Its kernel is square, of one of these sides, its stride 1 or 2, the images are continued by zeros, and there is no
    bias. With `depthwise` each channel has a kernel of its own, which may be dilated; without, there is one group.
    """
    outs, ins, height, width = convolution.weight.shape
    if height != width or height not in sides or convolution.bias is not None:
        return False
    dilations = ((1, 1), (2, 2)) if depthwise else ((1, 1),)
    return (
        (ins, convolution.groups) == ((1, outs) if depthwise else (outs, 1))
        and convolution.stride in ((1, 1), (2, 2))
        and convolution.dilation in dilations
        and convolution.padding == (convolution.dilation[0] * (height // 2),) * 2
        and convolution.padding_mode == "zeros"
    )


def is_pointwise(convolution: nn.Conv2d) -> bool:
    """Return whether a convolution reads each pixel by itself."""
    return (
        convolution.weight.shape[2:] == (1, 1)
        and convolution.bias is None
        and convolution.groups == 1
        and convolution.stride == (1, 1)
        and convolution.padding == (0, 0)
        and convolution.padding_mode == "zeros"
    )


def batch(norms: Iterable[nn.BatchNorm2d]) -> Batch | None:
    """Return how normalisations treat a batch; None where the loops cannot do it.

    They cannot where normalisations differ, average cumulatively (`momentum=None`), have no running statistics, or a
    scale without a shift. Of no normalisation at all, any way will do.
    """
    ways = {(norm.training, norm.momentum, norm.eps, _is_whole(norm)) for norm in norms} or {(False, 0.0, 0.0, True)}
    training, momentum, eps, whole = ways.pop()
    if ways or not whole or (training and momentum is None):
        return None
    return Batch(training, momentum or 0.0, eps)


def _is_whole(norm: nn.BatchNorm2d) -> bool:
    parameters, buffers = norm.__dict__["_parameters"], norm.__dict__["_buffers"]  # their attributes take far longer
    statistics = norm.track_running_stats and all(buffers[name] is not None for name in STATISTICS)
    return statistics and (parameters["weight"] is None) == (parameters["bias"] is None)


def running(norm: nn.BatchNorm2d) -> Running:
    """Return the running statistics of a normalisation, and count the batch that will move them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return Running(norm.running_mean, norm.running_var)


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor] | None:
    """Return scale and shift of a normalisation, if it has any."""
    return None if norm.weight is None else (norm.weight, norm.bias)


@lru_cache
def _say_once(kind: str) -> None:
    log.warning(
        "A %s has hooks or is not as the network was built with it: what it is a part of runs on PyTorch's operators, "
        "which is slower.",
        kind,
    )
