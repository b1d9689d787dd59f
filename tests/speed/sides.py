"""The two sides of a comparison: the supernet of the package, and the plain one with the same weights."""

from dataclasses import replace
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from tests.reference.correspondence import plain_counterpart
from torch import Tensor

from archselect import kernels
from archselect.search import SearchModule
from archselect.training.cuda_graphs import capture_for

from .conditions import Conditions
from .setting import CLASSES, IMAGE_SIZE, Setting

Batch = tuple[Tensor, Tensor]
SideName = Literal["fast", "reference"]

TOLERANCE = 1e-4
"""Largest difference of the logits in float32, relative to their norm; 6e-6 was measured (tests/reference)."""


class Data(NamedTuple):
    """The batches of one bilevel step: images `(B, 3, 32, 32)` and labels `(B,)`."""

    weights: Batch
    alpha: Batch


class Side(Protocol):
    """A supernet whose step and forward can be timed."""

    memory_format: torch.memory_format

    def step(self, data: Data) -> None:
        """Compute the gradient in `alpha`, then the one in the weights."""
        ...

    def forward(self, data: Data) -> None:
        """Evaluate a batch as scoring does by default: without gradients, in training mode."""
        ...

    def logits(self, data: Data) -> Tensor:
        """Return logits `(B, classes)` in float32."""
        ...


class Fast:
    """The supernet of the package; its steps are those of `SearchModule`, without metrics and optimizers."""

    memory_format = torch.channels_last  # what the data pipeline yields

    def __init__(self, setting: Setting, conditions: Conditions) -> None:
        self.conditions = conditions
        self.supernet = setting.build().to(conditions.device).train()
        method = replace(setting.method(), recompute=conditions.recompute)
        self.module = SearchModule(self.supernet, method, CLASSES, rng_key=())
        device = torch.device(conditions.device)
        self.capture = capture_for(conditions.capture, device, self.supernet)

    def step(self, data: Data) -> None:
        """See `Side`. As in a search, the gradient in `alpha` is left out when every edge is decided."""
        if any(decisions.undecided_edges for decisions in self.supernet.decisions.values()):
            self.alpha(data)
        self.weights(data)

    def alpha(self, data: Data) -> None:
        """Compute the gradient in `alpha`."""
        with self.conditions.entered():
            self.capture("alpha", self.module._architecture_gradients, (*data.weights, *data.alpha))

    def weights(self, data: Data) -> None:
        """Compute the gradient in the weights."""
        with self.conditions.entered():
            self.capture("weights", self.module._weight_gradients, data.weights)

    def forward(self, data: Data) -> None:
        """See `Side`."""
        with torch.no_grad(), self.conditions.entered():
            self.capture("forward", self.supernet, data.alpha[:1])

    @torch.no_grad()
    def logits(self, data: Data) -> Tensor:
        """See `Side`."""
        with kernels.enabled():
            return self.supernet(data.alpha[0])


class Reference:
    """The plain supernet, trained as in the official code: both steps compute the gradients in everything."""

    memory_format = torch.contiguous_format

    def __init__(self, setting: Setting, conditions: Conditions) -> None:
        self.conditions = conditions
        supernet = setting.build()
        plain, _ = plain_counterpart(setting.space(), supernet)
        self.plain = plain.to(conditions.device).train()
        for cell in self.plain.cells:
            cell.call_all = True  # to look for weights of zero halts the host at every operation
        self.alphas = {
            name: alpha.detach().clone().to(conditions.device).requires_grad_()
            for name, alpha in supernet.alphas.items()
        }

    def step(self, data: Data) -> None:
        """See `Side`."""
        for images, labels in (data.alpha, data.weights):
            for parameter in (*self.plain.parameters(), *self.alphas.values()):
                parameter.grad = None
            with self.conditions.entered():
                loss = F.cross_entropy(self._logits(images), labels)
            loss.backward()

    def forward(self, data: Data) -> None:
        """See `Side`."""
        with torch.no_grad(), self.conditions.entered():
            self._logits(data.alpha[0])

    @torch.no_grad()
    def logits(self, data: Data) -> Tensor:
        """See `Side`."""
        return self._logits(data.alpha[0])

    def _logits(self, images: Tensor) -> Tensor:
        # All edges of the supernets of `SUPERNETS` have as many candidates, so that one softmax serves a cell type.
        return self.plain(images, {name: alpha.softmax(-1) for name, alpha in self.alphas.items()})


SIDES: dict[SideName, type[Fast] | type[Reference]] = {"fast": Fast, "reference": Reference}


def data_for(side: Side, conditions: Conditions, images: int | None = None) -> Data:
    """Return batches of `images`, None: as many as the conditions say; the same numbers for either side."""
    count = images or conditions.batch
    generator = torch.Generator().manual_seed(1)

    def batch() -> Batch:
        x = torch.randn(count, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
        labels = torch.randint(CLASSES, (count,), generator=generator)
        return x.to(conditions.device, memory_format=side.memory_format), labels.to(conditions.device)

    return Data(batch(), batch())


def check_agreement(fast: Side, reference: Side, conditions: Conditions) -> None:
    """Raise a ValueError unless both sides give the same logits."""
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        actual, expected = (side.logits(data_for(side, conditions)) for side in (fast, reference))
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
    error = float((actual - expected).norm() / expected.norm())
    if not error <= TOLERANCE:
        raise ValueError(
            f"The two supernets must agree before they are timed: their logits may differ by {TOLERANCE:g} of their "
            f"norm, but differ by {error:.2g}. See `pytest tests/reference`."
        )
