"""Where the compiled loops take the place of PyTorch's operators: for which images, and for which modules.

A network is plain PyTorch unless a caller turns them on, as the stages of a run and the benchmarks do. They cannot be
traced, transformed or counted, so they stand back where anything would see or change the operators of a network.

They stand for modules that do what they compute, and nothing besides. That is looked at at every call, since a child
may be replaced and a hook be added at any time; a microsecond each.
"""

import logging
from collections.abc import Collection, Container, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as modules

from archselect.distributed.process_group import synchronises_batch_norm
from archselect.kernels.cpu import native
from archselect.kernels.cpu.native import NormMode, Running
from archselect.kernels.cpu.operations import is_plain

log = logging.getLogger(__name__)

_enabled: ContextVar[bool] = ContextVar("loops", default=False)


@contextmanager
def enabled(wanted: bool = True) -> Iterator[None]:
    """Let supernets and discrete networks on a CPU run on the compiled loops, in this thread.

    The results are equal up to rounding, the gradients too, several times faster. The loops have no second derivatives.
    They leave to PyTorch what they do not compute exactly: modules with hooks, children that were replaced or changed.

    Example:
        with kernels.enabled():
            logits = supernet(images)
    """
    before = _enabled.set(wanted)
    try:
        yield
    finally:
        _enabled.reset(before)


@contextmanager
def disabled() -> Iterator[None]:
    """Let PyTorch's operators do the work of these: they are slower, and can be differentiated twice."""
    with enabled(False):
        yield


def are_enabled() -> bool:
    """Return whether the loops are turned on here."""
    # In this order: while it compiles, Dynamo takes the first for a constant, and cannot read a ContextVar.
    return not torch.compiler.is_compiling() and _enabled.get()


def is_available(*images: Tensor) -> bool:
    """Return whether these are for images of one kind, `(B, C, H, W)` each.

    They are where they are turned on, and can be compiled. They are not under autocast, which does not reach into them,
    nor where a batch is spread over several processes: they take its statistics themselves.
    """
    return (
        are_enabled()
        and all(map(is_plain, images))
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
