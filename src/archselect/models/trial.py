"""What every module of a user's own must do, tried on a few images: operations (`ops.contract`), stems and heads.

Networks take gradients through it, evaluate it again, copy it, and load it from a file. A module that does not go along
with that would make a search wrong without a word, or stop it hours later.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archselect.distributed.batch_norm import BatchNorm2d


@contextmanager
def trying() -> Iterator[None]:
    """Compute on the CPU with gradients; nothing is drawn from PyTorch's generator as far as the caller sees."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad(), torch.device("cpu"):
        torch.manual_seed(0)
        yield


class Trial(ABC):
    """A module of a user's own, tried out within `trying`.

    Args:
        described: What messages call it.
        build: Makes it.
        shape: Of what it is tried on, `(B, C, H, W)`.

    Attributes:
        draws: Whether it draws random numbers in training; known after `check`.
    """

    passes_gradients = True
    """Whether what stands before it has weights, which learn through it."""

    def __init__(self, described: str, build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
        self.described, self.build, self.shape = described, build, shape
        self.module = build()
        self.uncalled = deepcopy(self.module)
        self.draws = False

    def check(self) -> None:
        """Raise a ValueError unless it does what it must."""
        self._check_normalisations()
        self._check_gradients()
        self._check_state()
        self._check_loads()
        self._check_without_memory()

    @abstractmethod
    def check_shape(self, images: Tensor, output: Any) -> list[Tensor]:
        """Return the tensors of an output; a ValueError if they have not the shapes that they must have."""

    def error(self, expected: str, advice: str) -> ValueError:
        """Return what to raise: a sentence says what was expected and what came, another what to do."""
        return ValueError(f"{self.described} {expected}. {advice}.")

    def call(self, module: nn.Module, images: Tensor) -> list[Tensor]:
        """Return the tensors that a module gives for images, once they are what they must be."""
        try:
            output = module(images)
        except Exception as error:
            kind = "without memory (on PyTorch's device meta)" if images.is_meta else f"in {_words(images)}"
            raise self.error(
                f"must take {tuple(images.shape)}; for some {kind} it raises {type(error).__name__}: "
                f"{str(error).rstrip('.')}",
                "Correct its forward; tensors that it makes belong on the input's device, and no value may be read",
            ) from error
        tensors = self.check_shape(images, output)
        for tensor in tensors:
            if (tensor.dtype, tensor.device) != (images.dtype, images.device):
                raise self.error(
                    f"must give {images.dtype} on {images.device} where its input is that; got {tensor.dtype} on "
                    f"{tensor.device}",
                    "Leave conversions out, or convert the output back by .to(x)",
                )
        return tensors

    def _check_normalisations(self) -> None:
        for name, part in self.module.named_modules():
            tracks = isinstance(part, BatchNorm2d) and part.track_running_stats and part.momentum is not None
            if isinstance(part, _BatchNorm) and not tracks:
                raise self.error(
                    f"must take batch normalisation from nn.BatchNorm2d, with running statistics and a momentum; its "
                    f"{name or 'module'} is {part}",
                    "Use nn.BatchNorm2d, on (B, C, 1, 1) where there are no images, or another normalisation",
                )

    def _check_gradients(self) -> None:
        leaf = torch.randn(self.shape).contiguous(memory_format=torch.channels_last)
        leaf.requires_grad_(self.passes_gradients)
        images = leaf.clone(memory_format=torch.preserve_format)
        outputs = self.call(self.module.train(), images)
        if not torch.equal(images, leaf):
            raise self.error(
                "must leave the state that it reads as it is, since others read it too; it changes it in place",
                "Leave inplace=True out of what comes first",
            )
        named = dict(self.module.named_parameters())
        outputs = [output for output in outputs if output.requires_grad]
        if not outputs and (self.passes_gradients or named):
            raise self.error(
                "must be differentiable; its output has no gradient",
                "Make it of differentiable operators, without detach(), .data or no_grad()",
            )
        learning = {name: tensor for name, tensor in named.items() if tensor.requires_grad}
        tensors = [*learning.values(), *([leaf] if self.passes_gradients else [])]
        if not tensors:
            return
        found = torch.autograd.grad(outputs, tensors, [torch.randn_like(one) for one in outputs], allow_unused=True)
        if self.passes_gradients:
            self._check_gradient_of_input(found[-1], outputs[0])
        of_parameters = dict(zip(learning, found, strict=False))
        for name in named:
            gradient = of_parameters.get(name)
            if gradient is None or not gradient.isfinite().all():
                what = "none" if gradient is None else "one that is not finite"
                raise self.error(
                    f"must give each of its parameters a finite gradient; {name} gets {what}",
                    "Use the parameter in forward, or do not make it; what is not learnt is a buffer",
                )

    def _check_gradient_of_input(self, gradient: Tensor | None, output: Tensor) -> None:
        if gradient is None or not gradient.isfinite().all() or not (gradient.any() or self.may_start_at_zero(output)):
            what = "none" if gradient is None else "zero" if gradient.isfinite().all() else "not finite"
            raise self.error(
                f"must have a gradient in its input that is finite, and not zero everywhere; it is {what}",
                "Make it of differentiable operators that read the input; correct what divides by zero",
            )

    def may_start_at_zero(self, output: Tensor) -> bool:
        """Return whether, given its output, no gradient in its input is what a new module may have."""
        return False

    def _check_state(self) -> None:
        images = torch.randn(self.shape)
        for mode, training, may_change in (("training", True, set(self._statistics())), ("evaluation", False, set())):
            before = dict(self._state())
            first, drawn = self._again(self.uncalled if training else self.module, images, training)
            second, _ = self._again(self.module, images, training)
            after = dict(self._state())
            self.draws |= drawn
            changed = {name for name, now in after.items() if not _same(before.get(name), now)}
            if more := sorted(changed - may_change):
                raise self.error(
                    "must keep no state between calls, but for statistics of nn.BatchNorm2d in training; a call in "
                    f"{mode} mode changes {', '.join(more)}",
                    "Compute it anew from the input",
                )
            if not all(map(torch.equal, first, second)):
                raise self.error(
                    f"must give the same for the same images in {mode} mode; after other calls it gives something else",
                    "Keep no state between calls, and draw random numbers in training mode alone, from PyTorch",
                )

    def _again(self, module: nn.Module, images: Tensor, training: bool) -> tuple[list[Tensor], bool]:
        """Return the output, and whether random numbers were drawn: in training from the same state at every call."""
        if training:
            torch.manual_seed(1)
        before = torch.get_rng_state()
        with torch.no_grad():
            outputs = self.call(module.train(training), images.clone())
        return outputs, not torch.equal(before, torch.get_rng_state())

    def _check_loads(self) -> None:
        """See that the `state_dict` holds all that was drawn when the module was built."""
        torch.manual_seed(2)
        other, images = self.build(), torch.randn(self.shape)
        try:
            other.load_state_dict(self.module.state_dict())
        except RuntimeError as error:
            raise self.error(
                f"must take the state_dict of another that was built alike; it raises {str(error).rstrip('.')}",
                "Let nothing that is drawn or counted decide which parameters and buffers there are",
            ) from error
        (first, _), (second, _) = (self._again(module, images, training=False) for module in (self.module, other))
        if not all(map(torch.equal, first, second)):
            raise self.error(
                "must compute what another computes whose state_dict it loads; built with another seed it computes "
                "something else",
                "Register what is drawn in __init__ as parameters or as buffers, not with persistent=False",
            )

    def _check_without_memory(self) -> None:
        """Call it on PyTorch's device meta: built on it, as networks are counted, and moved to it, as to a GPU."""
        moved = self.build().to("meta")
        with torch.device("meta"):
            made = self.build()
        for module in (made, moved):
            self.call(module, torch.empty(self.shape, device="meta"))

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield copies of all parameters and buffers, by name."""
        for tensors in (self.module.named_parameters(), self.module.named_buffers()):
            yield from ((name, tensor.detach().clone()) for name, tensor in tensors)

    def _statistics(self) -> Iterator[str]:
        """Yield the names of the buffers of batch normalisations."""
        for name, part in self.module.named_modules():
            if isinstance(part, BatchNorm2d):
                yield from (f"{name}.{buffer}".lstrip(".") for buffer, _ in part.named_buffers())


def _same(before: Tensor | None, after: Tensor) -> bool:
    return before is not None and before.shape == after.shape and torch.equal(before, after)


def _words(images: Tensor) -> str:
    return "channels_last" if images.is_contiguous(memory_format=torch.channels_last) else "contiguous memory"
