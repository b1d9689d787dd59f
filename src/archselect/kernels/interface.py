"""When the compiled loops take the place of PyTorch's operators: where they were turned on, and nothing looks on.

A network is plain PyTorch unless a caller turns them on, as the stages of a run and the benchmarks do. They cannot be
traced, transformed or counted, so they stand back where anything would see or change the operators of a network.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as modules

from archselect.distributed.process_group import synchronises_batch_norm
from archselect.kernels.cpu import native as calls

_PLAIN = (nn.Parameter, Tensor)
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
        and calls.is_available(images[0])
    )


def is_plain(x: Tensor | None) -> bool:
    """Return whether `x` is memory of numbers on the CPU: no subclass, such as a fake tensor, and no lazy negation."""
    return x is None or (type(x) in _PLAIN and x.is_cpu and not x.is_neg())


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
