"""Where kernels take the place of PyTorch's operators: for which images, and for which modules.

They cannot be traced, transformed or counted, so they stand back where anything would see or change the operators of a
network. They stand for modules that do what they compute, and nothing besides. That is looked at at every call, since a
child may be replaced and a hook be added at any time; a microsecond each.
"""

import logging
from collections.abc import Collection, Container, Iterable, Sequence
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as modules

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.distributed.process_group import synchronises_batch_norm
from archselect.kernels.cpu import native
from archselect.kernels.cpu.autograd import DENSE_KERNELS, SEPARABLE_KERNELS, convolve, mix
from archselect.kernels.interface import Convolution, NormMode, Running, are_enabled

log = logging.getLogger(__name__)


def is_available(*images: Tensor) -> bool:
    """Return whether these are for images of one kind, `(B, C, H, W)` each.

    They are where they are turned on, and can be compiled. They are not under autocast, which does not reach into them,
    nor where a batch is spread over several processes: they take its statistics themselves.
    """
    return (
        are_enabled()
        and all(map(native.is_plain, images))
        and images[0].dim() == 4
        and not torch.is_autocast_enabled("cpu")
        and not synchronises_batch_norm()
        and not _watched()
        and native.is_available(images[0])
    )


def _watched() -> bool:
    """Return whether something would see, record or transform the operators and modules that run here."""
    return bool(
        torch._C._get_tracing_state()  # torch.jit.trace
        or torch._C._len_torch_dispatch_stack()  # FLOP counters, fake tensors, make_fx
        or torch._C._len_torch_function_stack()
        or torch._C._functorch.maybe_current_level() is not None  # torch.func: vmap, grad, jvp
        or forward_ad._current_level >= 0
        or modules._has_any_global_hook()
    )


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
        and all(map(native.is_plain, state["_parameters"].values()))
    ):
        return True
    _say_once(type(module).__name__)
    return False


@lru_cache
def _say_once(kind: str) -> None:
    log.warning(
        "A %s has hooks or is not as the network was built with it: what it is a part of runs on PyTorch's operators, "
        "which is slower.",
        kind,
    )


def made_of(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether the children of `module` are untouched modules of these classes, one each."""
    children = module.__dict__["_modules"].values()
    return len(children) == len(kinds) and all(map(untouched, children, ((kind,) for kind in kinds)))


def norm_mode(norms: Iterable[nn.BatchNorm2d]) -> NormMode | None:
    """Return how normalisations treat a batch; None where the loops cannot do it.

    They cannot where normalisations differ, average cumulatively (`momentum=None`), have no running statistics, or a
    scale without a shift. Of no normalisation at all, any way will do.
    """
    ways = {(norm.training, norm.momentum, norm.eps, _is_whole(norm)) for norm in norms} or {(False, 0.0, 0.0, True)}
    training, momentum, eps, whole = ways.pop()
    if ways or not whole or (training and momentum is None):
        return None
    return NormMode(training, momentum or 0.0, eps)


def _is_whole(norm: nn.BatchNorm2d) -> bool:
    parameters, buffers = norm.__dict__["_parameters"], norm.__dict__["_buffers"]  # their attributes take far longer
    statistics = norm.track_running_stats and all(buffers[name] is not None for name in ("running_mean", "running_var"))
    return statistics and (parameters["weight"] is None) == (parameters["bias"] is None)


def _running(norm: nn.BatchNorm2d) -> Running:
    """Return the running statistics of a normalisation, and count the batch that will move them."""
    if norm.training and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return Running(cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var))


def sequential(module: nn.Sequential, x: Tensor) -> Tensor | None:
    """Return what a sequence gives of `(B, C, H, W)`, in channels_last; None where that is left to PyTorch.

    The sequence is ReLU, convolution, BN; or once or twice ReLU, depthwise convolution, pointwise convolution, BN.
    """
    if not is_available(x):
        return None
    children: list[Any] = list(module)
    size = 3 if len(children) == 3 else 4
    stages = [children[first : first + size] for first in range(0, len(children), size)]
    kinds = (nn.ReLU, *(nn.Conv2d,) * (size - 2), BatchNorm2d)
    if len(stages) not in (1, 2) or not made_of(module, *kinds * len(stages)):
        return None
    convolutions, norms = [stage[1:-1] for stage in stages], [stage[-1] for stage in stages]
    strides, batch = [of_stage[0].stride for of_stage in convolutions], norm_mode(norms)
    if batch is None or not all(map(_is_known, convolutions)) or any(stride != (1, 1) for stride in strides[1:]):
        return None
    return convolve(x, tuple(map(_stage, convolutions, norms)), strides[0][0], batch)


def _is_known(convolutions: Sequence[nn.Conv2d]) -> bool:
    """Return whether the loops know a convolution, or a depthwise and a pointwise one, that keep the channels."""
    *depthwise, mixing = convolutions
    if mixing.weight.shape[0] != mixing.weight.shape[1]:
        return False
    if depthwise:
        return _keeps_size(depthwise[0], SEPARABLE_KERNELS, depthwise=True) and _is_pointwise(mixing)
    return _keeps_size(mixing, DENSE_KERNELS)


def _stage(convolutions: Sequence[nn.Conv2d], norm: BatchNorm2d) -> Convolution:
    first, mixing = convolutions[0], convolutions[-1]
    depthwise = None if first is mixing else first.weight
    affine = None if norm.weight is None else (norm.weight, norm.bias)
    return Convolution(depthwise, mixing.weight, _running(norm), first.dilation[0], affine)


def _keeps_size(convolution: nn.Conv2d, sides: Collection[int], depthwise: bool = False) -> bool:
    """Return whether a convolution maps `(B, C, H, W)` to `(B, D, ceil(H / stride), ceil(W / stride))` as loops do.

    Its kernel is square, of one of these sides, its stride 1 or 2, the images are continued by zeros, and there is no
    bias. With `depthwise` each channel has a kernel of its own, which may be dilated; without, there is one group.
    """
    outs, ins, height, width = convolution.weight.shape
    return (
        height == width
        and height in sides
        and convolution.bias is None
        and (ins, convolution.groups) == ((1, outs) if depthwise else (ins, 1))
        and convolution.stride in ((1, 1), (2, 2))
        and convolution.dilation in (((1, 1), (2, 2)) if depthwise else ((1, 1),))
        and convolution.padding == (convolution.dilation[0] * (height // 2),) * 2
        and convolution.padding_mode == "zeros"
    )


def _is_pointwise(convolution: nn.Conv2d) -> bool:
    return _keeps_size(convolution, (1,)) and convolution.stride == (1, 1)


def preprocess(parts: Sequence[Tensor], convolutions: Sequence[nn.Conv2d], norm: BatchNorm2d) -> Tensor | None:
    """Return `BN(convolution(ReLU(concatenated parts)))`; None where that is left to PyTorch.

    Args:
        parts: Each `(B, C, H, W)`, such that `is_available(*parts)`.
        convolutions: A pointwise one; or the two of a factorized reduction.
        norm: Untouched, as the convolutions are.
    """
    batch = norm_mode([norm])
    odd = len(convolutions) == 2 and any(side % 2 for side in parts[0].shape[2:])
    if batch is None or odd or norm.weight is not None or not all(map(_is_pointwise, convolutions)):
        return None
    return mix(parts, [convolution.weight for convolution in convolutions], _running(norm), batch)
