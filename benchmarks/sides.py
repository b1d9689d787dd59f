"""The two sides of a comparison: the supernet of the package, and the plain one with the same weights."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from tests.reference.correspondence import plain_counterpart
from tests.reference.plain_supernet import PlainCell
from torch import Tensor

from archselect import kernels
from archselect.data import Batch
from archselect.data.loader import BilevelBatch
from archselect.search import SearchMethod, SearchModule
from archselect.tasks import Classification
from archselect.training.cuda_graphs import capture_for
from benchmarks.settings import CLASSES, IMAGE_SIZE, Conditions, Setting, without_tf32

SideName = Literal["package", "plain"]

TOLERANCE = 1e-4
"""Largest difference of the logits in float32, relative to their norm; 6e-6 was measured (tests/reference)."""


class Package:
    """The supernet of the package; its steps are those of `SearchModule`, without metrics and optimizers.

    Args:
        setting: Which supernet.
        conditions: Under which conditions.
        method: None: the default one.
        progress: Where in the search; 0 is its first epoch, 1 its last.
    """

    memory_format = torch.channels_last  # what the data pipeline yields

    def __init__(
        self, setting: Setting, conditions: Conditions, method: SearchMethod | None = None, progress: float = 0.0
    ) -> None:
        self.conditions = conditions
        method = replace(method or setting.method(), recompute=conditions.recompute, capture=conditions.capture)
        self.supernet = setting.build(method).to(conditions.device).train()
        self.module = SearchModule(self.supernet, method, Classification(), CLASSES, rng_key=())
        self.module.capture = capture_for(conditions.capture, torch.device(conditions.device), self.supernet)
        self.module.configure_optimizers()
        self.module.set_progress(progress)

    def step(self, data: BilevelBatch) -> list[Tensor | None]:
        """Return the gradient in `alpha`, unless every edge is decided, then the one in the weights."""
        trains = self.module.method.architecture_gradient is not None and self.module.has_undecided
        alpha = self.alpha(data) if trains else ()
        if self.module.method.freezing is not None:
            self.module.validation_gradients(data)
        return [*alpha, *self.weights(data)]

    def alpha(self, data: BilevelBatch) -> Sequence[Tensor]:
        """Return the gradient in `alpha`, regularisers included."""
        with self.conditions.entered():
            return self.module.alpha_gradients(data)

    def weights(self, data: BilevelBatch) -> Sequence[Tensor | None]:
        """Return the gradient in the weights."""
        with self.conditions.entered():
            _, _, gradients = self.module.weight_gradients(data)
        return gradients

    def forward(self, data: BilevelBatch) -> Tensor:
        """Evaluate a batch as scoring does by default: without gradients, in training mode."""
        with torch.no_grad(), self.conditions.entered():
            return self.module.capture("forward", self.supernet, data.architecture[:1])

    @torch.no_grad()
    def logits(self, data: BilevelBatch) -> Tensor:
        """Return logits `(B, classes)` in float32."""
        with kernels.enabled():
            return self.supernet(data.architecture[0])


class Plain:
    """The plain supernet, trained as in the official code: both steps compute the gradients in everything.

    It runs eagerly, whatever the conditions say, unless `captured`.
    """

    memory_format = torch.contiguous_format

    def __init__(self, setting: Setting, conditions: Conditions, captured: bool = False) -> None:
        self.conditions = conditions
        supernet = setting.build()
        self.network = plain_counterpart(setting.space(), supernet)[0].to(conditions.device).train()
        for cell in self.network.modules():
            if isinstance(cell, PlainCell):
                cell.call_all = True  # to look for weights of zero halts the host at every operation
        self.alphas = {
            name: alpha.detach().clone().to(conditions.device).requires_grad_()
            for name, alpha in supernet.alphas.items()
        }
        capture = conditions.capture if captured else "none"
        self.capture = capture_for(capture, torch.device(conditions.device), self.network)

    def step(self, data: BilevelBatch) -> list[Tensor | None]:
        """Return the gradients on the batch of `alpha`, then those on the batch of the weights."""
        batches = {"alpha": data.architecture, "weights": data.weights}
        return [gradient for key, batch in batches.items() for gradient in self.capture(key, self._gradients, batch)]

    def forward(self, data: BilevelBatch) -> Tensor:
        """Evaluate a batch without gradients, in training mode."""
        with torch.no_grad(), self.conditions.entered():
            return self.capture("forward", self._logits, data.architecture[:1])

    @torch.no_grad()
    def logits(self, data: BilevelBatch) -> Tensor:
        """Return logits `(B, classes)` in float32."""
        return self._logits(data.architecture[0])

    def _gradients(self, images: Tensor, labels: Tensor) -> Sequence[Tensor | None]:
        with self.conditions.entered():
            loss = F.cross_entropy(self._logits(images), labels)
        return torch.autograd.grad(loss, [*self.network.parameters(), *self.alphas.values()], allow_unused=True)

    def _logits(self, images: Tensor) -> Tensor:
        # All edges of the supernets of `SUPERNETS` have as many candidates, so that one softmax serves a cell type.
        return self.network(images, {name: alpha.softmax(-1) for name, alpha in self.alphas.items()})


Side = Package | Plain
SIDES: dict[SideName, type[Package] | type[Plain]] = {"package": Package, "plain": Plain}


def data_for(side: Side, conditions: Conditions, images: int | None = None) -> BilevelBatch:
    """Return batches of `images`, None: as many as the conditions say; the same numbers for either side."""
    count = images or conditions.batch
    generator = torch.Generator().manual_seed(1)

    def batch() -> Batch:
        x = torch.randn(count, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
        labels = torch.randint(CLASSES, (count,), generator=generator)
        return x.to(conditions.device, memory_format=side.memory_format), labels.to(conditions.device)

    return BilevelBatch(batch(), batch())


def check_agreement(package: Side, plain: Side, conditions: Conditions) -> None:
    """Raise a ValueError unless both sides give the same logits."""
    with without_tf32():
        actual, expected = (side.logits(data_for(side, conditions)) for side in (package, plain))
    error = float((actual - expected).norm() / expected.norm())
    if not error <= TOLERANCE:
        raise ValueError(
            f"The two supernets must agree before they are timed: their logits may differ by {TOLERANCE:g} of their "
            f"norm, but differ by {error:.2g}. See `pytest tests/reference`."
        )
