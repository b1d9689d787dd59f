"""When a search ends before its last epoch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Protocol

import torch
import torch.nn.functional as F

from archselect import kernels
from archselect.checks import check_number, check_positive, check_share
from archselect.networks.preserved import preserved
from archselect.networks.strongest import strongest
from archselect.networks.supernet import Supernet
from archselect.search.architecture_gradient import Batch
from archselect.search.hessian import dominant_eigenvalue, hessian_product


class StoppingRule(Protocol):
    """Measures something at the end of every epoch and says when it is enough.

    Attributes:
        looks_back: So many epochs back a supernet may be asked for; 0: the rule takes it as it is.
    """

    @property
    def looks_back(self) -> int: ...

    def measure(self, supernet: Supernet, validation: Iterable[Batch], generator: torch.Generator) -> float:
        """Return the quantity, which is logged.

        Args:
            supernet: At the end of an epoch; it ends as it was.
            validation: Batches of the images that train `alpha`.
            generator: For the rule's own random choices.
        """
        ...

    def kept_epochs(self, curve: Sequence[float], epochs: int) -> int | None:
        """Return None to go on, or after how many epochs the supernet is taken.

        Args:
            curve: The quantity after each epoch so far.
            epochs: Of the whole search.
        """
        ...


@dataclass(frozen=True)
class SkipLimit:
    """Ends the search when the cell that magnitude chooses has this many skip connections (DARTS+, criterion 1).

    Liang et al., arXiv 1909.06035. It looks at the first cell type: the normal cell, or the only one of NAS-Bench-201.

    Attributes:
        skips: 2 in the paper.
        earliest: Share of the epochs before which the search does not end; 0 in the paper. A space of few operations
            has skips in its cells from the first epoch on.
    """

    skips: int = 2
    earliest: float = 0.2
    looks_back = 0

    def __post_init__(self) -> None:
        check_positive("search.stopping: skips", self.skips)
        check_share("search.stopping: earliest", self.earliest, zero=True)

    def measure(self, supernet: Supernet, validation: Iterable[Batch], generator: torch.Generator) -> float:
        """Return the number of skip connections."""
        return float(len(skip_edges(supernet)))

    def kept_epochs(self, curve: Sequence[float], epochs: int) -> int | None:
        """See `StoppingRule`."""
        return len(curve) if curve[-1] >= self.skips and len(curve) > self.earliest * epochs else None


@dataclass(frozen=True)
class Curvature:
    """Ends the search when the dominant eigenvalue of the Hessian of the validation loss in `alpha` grows too fast.

    RobustDARTS (Zela et al., ICLR 2020, early stopping): where the mean of the last `window` values exceeds `factor`
    times that of the window `lag` values before, the search goes back to the middle of the earlier window. The defaults
    are the authors' (src/utils.py, `EVLocalAvg`; --report_freq_hessian 2): windows of 10 epochs, 8 apart, and 12 epochs
    back. (Their code adds the weight decay of `alpha` to the Hessian.)

    Attributes:
        window: In values of those that count.
        lag: How many of these the two windows are apart.
        every: The value of every so many epochs counts, from the first on; all are logged.
        factor: Above 1; 1.3 in the authors' code, 1 / 0.75 in the paper.
        earliest: Share of the epochs to which the search does not go back; 10 of 50 in the authors' code.
        batches: Validation batches that the loss is the mean over.
        batch_size: Of the images of each, at most.
        products: Of the Hessian with a vector, at most, per epoch. The gradient is taken once, each product is one more
            backward pass through it.
    """

    window: int = 5
    lag: int = 4
    every: int = 2
    factor: float = 1.3
    earliest: float = 0.2
    batches: int = 1
    batch_size: int = 64
    products: int = 10

    def __post_init__(self) -> None:
        for option in ("window", "lag", "every", "batches", "batch_size", "products"):
            check_positive(f"search.stopping: {option}", getattr(self, option))
        check_number("search.stopping: factor", self.factor)
        if self.factor <= 1:
            raise ValueError(f"search.stopping: factor must be above 1; got {self.factor}.")
        check_share("search.stopping: earliest", self.earliest, zero=True)

    @property
    def looks_back(self) -> int:
        """See `StoppingRule`."""
        return self.every * (self.lag + self.window // 2)

    def measure(self, supernet: Supernet, validation: Iterable[Batch], generator: torch.Generator) -> float:
        """Return the eigenvalue of largest size, with its sign; the batches' statistics are those of training."""
        alphas = list(supernet.alphas.values())
        with preserved(supernet), torch.enable_grad(), kernels.left_out():
            supernet.train()
            losses = []
            for images, labels in islice(validation, self.batches):
                some = images[: self.batch_size].contiguous(), labels[: self.batch_size]
                losses.append(F.cross_entropy(supernet(some[0]), some[1]))
            product, size = hessian_product(torch.stack(losses).mean(), alphas)
            steps = min(self.products, size)
            return dominant_eigenvalue(product, size, steps, generator, alphas[0].device, alphas[0].dtype)

    def kept_epochs(self, curve: Sequence[float], epochs: int) -> int | None:
        """See `StoppingRule`."""
        values, kept = curve[:: self.every], len(curve) - self.looks_back
        counts = (len(curve) - 1) % self.every == 0  # the newest one
        if not counts or len(values) < self.window + self.lag or kept < self.earliest * epochs:
            return None
        now, then = fmean(values[-self.window :]), fmean(values[-self.window - self.lag : -self.lag])
        return kept if now > self.factor * then > 0 else None


def skip_edges(supernet: Supernet) -> list[int]:
    """Return the edges of the first cell type on which the cell that magnitude chooses has skip connections."""
    cell, space = next(iter(supernet.cell_spaces.items()))
    chosen = strongest(supernet)[cell]
    pairs = enumerate(zip(chosen.operations, chosen.kept, strict=True))
    return [
        edge
        for edge, (operation, kept) in pairs
        if kept and operation is not None and space.operations[edge][operation] == "skip_connect"
    ]
