"""What a module must do to be a candidate operation, tried on a few small images when a search space is built.

Besides what every module of a user's own must do (`models.trial`): supernets weight the outputs of operations and sum
them, and discrete networks take their weights.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from archselect.models.ops.own import Operation
from archselect.models.ops.primitives import Primitive
from archselect.models.trial import Trial, trying

SIZE = (8, 8)
ODD = {1: (5, 7), 2: (6, 10)}
"""Stride -> height and width that are neither equal nor powers of two; what is halved in a network is even."""


def checked(operation: Operation, channels: int) -> Primitive:
    """Return an operation as search spaces know it, once it has done what it must at strides 1 and 2.

    Nothing is drawn from PyTorch's generator as far as the caller sees.

    Raises:
        ValueError: It does not; a sentence says what was expected, what came, and what to do.
    """
    with trying():
        trials = [_OperationTrial(operation, channels, stride) for stride in (1, 2)]
        for trial in trials:
            trial.check()
    has_weights = all(any(True for _ in trial.module.parameters()) for trial in trials)
    return replace(operation.primitive, learns=has_weights, draws=any(trial.draws for trial in trials))


def affine_norms(module: nn.Module) -> dict[str, nn.Module]:
    """Return the normalisations of a module that have a scale or shift of their own, by name."""
    affine = ("affine", "elementwise_affine")
    return {name: part for name, part in module.named_modules() if any(getattr(part, one, False) for one in affine)}


class _OperationTrial(Trial):
    """An operation at one stride, tried out as supernets have it; and as discrete networks do, with `affine`."""

    def __init__(self, operation: Operation, channels: int, stride: int) -> None:
        self.channels, self.stride = channels, stride
        self.build_affine = partial(operation.build, channels, stride, True)
        described = f"Operation {operation.name!r}, built as {operation.call(channels, stride, affine=False)},"
        super().__init__(described, partial(operation.build, channels, stride, False), (2, channels, *SIZE))

    def check(self) -> None:
        self._check_affine()
        super().check()
        self.call(self.module.eval(), torch.randn(2, self.channels, *ODD[self.stride]))
        with torch.device("meta"):
            self.call(self.build_affine(), torch.empty(self.shape))

    def check_shape(self, images: Tensor, output: Any) -> list[Tensor]:
        expected = (*images.shape[:2], *(-(-side // self.stride) for side in images.shape[2:]))
        got = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        if got != expected:
            raise self.error(
                f"must map images {tuple(images.shape)} to {expected}, that is (B, C, H / stride, "
                f"W / stride); got {got}",
                "Give as many channels as it is built with"
                if isinstance(output, Tensor) and output.shape[1:2] != images.shape[1:2]
                else "Correct padding and stride: a convolution of kernel k with padding=k // 2 does it",
            )
        return [output]

    def _check_affine(self) -> None:
        for name, part in affine_norms(self.module).items():
            kind = type(part).__name__
            raise self.error(
                f"must have no affine normalisation where it is built with affine=False, as in supernets; its "
                f"{name or 'module'}, a {kind}, is affine",
                f"Hand it on: {kind}(..., affine=affine)",
            )
        plain = {name: tensor.shape for name, tensor in self.module.state_dict().items()}
        made = self.build_affine()
        affine = {name: tensor.shape for name, tensor in made.state_dict().items()}
        norms = affine_norms(made)
        more = {name for name in affine.keys() - plain.keys() if name.rpartition(".")[0] not in norms}
        if other := sorted(more | {name for name, shape in plain.items() if affine.get(name) != shape}):
            raise self.error(
                "must have the same parameters and buffers with affine=True, but for what its normalisations have "
                f"then; {', '.join(other)} differ",
                "Let affine decide about normalisations alone",
            )
