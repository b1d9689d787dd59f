"""What a module must do to be a candidate operation, tried on a few small images when a search space is built.

Supernets weight outputs and sum them, take gradients through them, evaluate them again and copy them. An operation that
does not go along with that would make a search wrong without a word, or stop it hours later.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.models.ops.own import Operation
from archselect.models.ops.primitives import Primitive

SIZE = (8, 8)
ODD = {1: (5, 7), 2: (6, 10)}
"""Stride -> height and width that are neither equal nor powers of two; what is halved in a network is even."""


def checked(operation: Operation, channels: int) -> Primitive:
    """Return an operation as search spaces know it, once it has done what it must at strides 1 and 2.

    Nothing is drawn from PyTorch's generator as far as the caller sees.

    Raises:
        ValueError: It does not; a sentence says what was expected, what came, and what to do.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad(), torch.device("cpu"):
        torch.manual_seed(0)
        trials = [_Trial(operation, channels, stride) for stride in (1, 2)]
        for trial in trials:
            trial.check()
    has_weights = all(any(True for _ in trial.module.parameters()) for trial in trials)
    return replace(operation.primitive, learns=has_weights, draws=any(trial.draws for trial in trials))


class _Trial:
    """An operation at one stride, tried out."""

    def __init__(self, operation: Operation, channels: int, stride: int) -> None:
        self.operation, self.channels, self.stride = operation, channels, stride
        self.module = operation.build(channels, stride, affine=False)
        self.uncalled = deepcopy(self.module)
        self.draws = False

    def check(self) -> None:
        self._check_normalisations()
        self._check_gradients()
        self._check_state()
        images = torch.randn(2, self.channels, *ODD[self.stride])
        self._check_output(images, self._call(self.module.eval(), images))
        with torch.device("meta"):  # as networks are counted
            for affine in (False, True):
                module = self.operation.build(self.channels, self.stride, affine)
                images = torch.empty(2, self.channels, *SIZE)
                self._check_output(images, self._call(module, images))

    def _check_normalisations(self) -> None:
        for name, part in self.module.named_modules():
            kind = type(part).__name__
            if getattr(part, "affine", False) or getattr(part, "elementwise_affine", False):
                raise self._error(
                    f"must have no affine normalisation where it is built with affine=False, as in supernets; its "
                    f"{name or 'module'}, a {kind}, is affine",
                    f"Hand it on: {kind}(..., affine=affine)",
                )
            tracks = isinstance(part, BatchNorm2d) and part.track_running_stats and part.momentum is not None
            if isinstance(part, _BatchNorm) and not tracks:
                raise self._error(
                    f"must take batch normalisation from nn.BatchNorm2d, with running statistics and a momentum; its "
                    f"{name or 'module'} is {part}",
                    "Use nn.BatchNorm2d, on (B, C, 1, 1) where there are no images, or another normalisation",
                )

    def _check_gradients(self) -> None:
        leaf = torch.randn(2, self.channels, *SIZE).contiguous(memory_format=torch.channels_last).requires_grad_()
        images = leaf.clone(memory_format=torch.preserve_format)
        output = self._call(self.module.train(), images)
        self._check_output(images, output)
        if not torch.equal(images, leaf):
            raise self._error(
                "must leave the state that it reads as it is, since other edges read it too; it changes it in place",
                "Leave inplace=True out of what comes first",
            )
        if not output.requires_grad:
            raise self._error(
                "must be differentiable; its output has no gradient",
                "Make it of differentiable operators, without detach(), .data or no_grad()",
            )
        named = dict(self.module.named_parameters())
        tensors = [leaf, *named.values()]
        of_images, *of_parameters = torch.autograd.grad(output, tensors, torch.randn_like(output), allow_unused=True)
        if of_images is None or not of_images.isfinite().all() or not of_images.any():
            what = "none" if of_images is None else "zero" if of_images.isfinite().all() else "not finite"
            raise self._error(
                f"must have a gradient in its input that is finite, and not zero everywhere; it is {what}",
                "Make it of differentiable operators that read the input; correct what divides by zero",
            )
        for name, gradient in zip(named, of_parameters, strict=True):
            if gradient is None or not gradient.isfinite().all():
                what = "none" if gradient is None else "one that is not finite"
                raise self._error(
                    f"must give each of its parameters a finite gradient; {name} gets {what}",
                    "Use the parameter in forward, or do not make it",
                )

    def _check_state(self) -> None:
        images = torch.randn(2, self.channels, *SIZE)
        for mode, training, may_change in (("training", True, set(self._statistics())), ("evaluation", False, set())):
            before = dict(self._state())
            first, drawn = self._again(self.uncalled if training else self.module, images, training)
            second, _ = self._again(self.module, images, training)
            after = dict(self._state())
            self.draws |= drawn
            changed = {name for name, now in after.items() if not _same(before.get(name), now)}
            if more := sorted(changed - may_change):
                raise self._error(
                    "must keep no state between calls, but for statistics of nn.BatchNorm2d in training; a call in "
                    f"{mode} mode changes {', '.join(more)}",
                    "Compute it anew from the input",
                )
            if not torch.equal(first, second):
                raise self._error(
                    f"must give the same for the same images in {mode} mode; after other calls it gives something else",
                    "Keep no state between calls, and draw random numbers in training mode alone, from PyTorch",
                )

    def _again(self, module: nn.Module, images: Tensor, training: bool) -> tuple[Tensor, bool]:
        """Return the output, and whether random numbers were drawn: in training from the same state at every call."""
        if training:
            torch.manual_seed(1)
        before = torch.get_rng_state()
        with torch.no_grad():
            output = self._call(module.train(training), images.clone())
        return output, not torch.equal(before, torch.get_rng_state())

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        """Yield copies of all parameters and buffers, by name."""
        for tensors in (self.module.named_parameters(), self.module.named_buffers()):
            yield from ((name, tensor.detach().clone()) for name, tensor in tensors)

    def _statistics(self) -> Iterator[str]:
        """Yield the names of the buffers of batch normalisations."""
        for name, part in self.module.named_modules():
            if isinstance(part, BatchNorm2d):
                yield from (f"{name}.{buffer}".lstrip(".") for buffer, _ in part.named_buffers())

    def _call(self, module: nn.Module, images: Tensor) -> Any:
        try:
            return module(images)
        except Exception as error:
            kind = "without memory (on PyTorch's device meta)" if images.is_meta else f"in {_words(images)}"
            raise self._error(
                f"must take images {tuple(images.shape)}; for some {kind} it raises {type(error).__name__}: {error}",
                "Correct its forward; tensors that it makes belong on the input's device, and no value may be read",
            ) from error

    def _check_output(self, images: Tensor, output: Any) -> None:
        expected = (*images.shape[:2], *(-(-side // self.stride) for side in images.shape[2:]))
        got = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        if got != expected:
            raise self._error(
                f"must map images {tuple(images.shape)} to {expected}, that is (B, C, H / stride, "
                f"W / stride); got {got}",
                "Correct padding and stride: a convolution of kernel k with padding=k // 2 does it",
            )

    def _error(self, expected: str, advice: str) -> ValueError:
        built = self.operation.call(self.channels, self.stride, affine=False)
        return ValueError(f"Operation {self.operation.name!r}, built as {built}, {expected}. {advice}.")


def _same(before: Tensor | None, after: Tensor) -> bool:
    return before is not None and before.shape == after.shape and torch.equal(before, after)


def _words(images: Tensor) -> str:
    return "channels_last" if images.is_contiguous(memory_format=torch.channels_last) else "contiguous memory"
