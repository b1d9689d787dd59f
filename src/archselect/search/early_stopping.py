"""When a search ends before its last epoch: too many skip connections, or too sharp a minimum.

RobustDARTS (Zela et al., ICLR 2020, arXiv 1909.09656, sec. 4) follows the dominant eigenvalue of the Hessian of the
validation loss in `alpha` through a search: where it is large, the architectures found generalise badly. The Lanczos
method (Lanczos, 1950, J. Res. Natl. Bur. Stand. 45, 255-282) finds it from products of the Hessian with vectors.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from archselect import kernels
from archselect.models.restored_state import restored_state
from archselect.models.supernet.supernet import Supernet, argmax_alpha
from archselect.search.alpha_gradient import Batch
from archselect.training.step import gradients_of
from archselect.utils.validation import FRACTION_OR_ZERO, NON_NEGATIVE_FLOAT, POSITIVE_INT

Product = Callable[[Tensor], Tensor]
"""Multiplies a symmetric matrix by a vector `(size,)`."""


def dominant_eigenvalue(
    product: Product,
    size: int,
    steps: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> float:
    """Return the eigenvalue of largest magnitude, with its sign, of a symmetric matrix known by its products.

    The Lanczos vectors are kept orthogonal to each other, on the CPU and in float64, whatever the product computes in.

    Args:
        product: Takes vectors of norm 1. What it returned may be overwritten by its next call.
        size: Rows of the matrix.
        steps: Products at most; `size` of them are enough, and fewer do where the largest eigenvalues stand apart.
        generator: Draws the vector that the iteration begins with, on the CPU.
        device: Where the product takes its vectors.
        dtype: What the product takes its vectors in.

    Raises:
        ValueError: `size` or `steps` is not a whole number above 0, or a product is not finite.
    """
    POSITIVE_INT.check("size", size)
    POSITIVE_INT.check("steps", steps)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    vector /= vector.norm()
    basis = torch.empty(size, 0, dtype=torch.float64)
    diagonal: list[float] = []
    beside: list[float] = []
    scale = 0.0
    while True:
        basis = torch.cat([basis, vector[:, None]], dim=1)
        image = product(vector.to(device, dtype)).to("cpu", torch.float64)
        if not image.isfinite().all():
            raise ValueError("The product of the matrix with a vector is not finite. Check the gradient it is made of.")
        diagonal.append(float(vector @ image))
        scale = max(scale, float(image.norm()))
        residual = _orthogonal(image, basis)
        beta = float(residual.norm())
        # A residual within the rounding of the products is no new direction: the matrix maps the basis to itself.
        if len(diagonal) == min(steps, size) or beta <= size * torch.finfo(dtype).eps * scale:
            return _dominant(diagonal, beside)
        beside.append(beta)
        vector = residual / beta


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """Return what of a vector `(size,)` is orthogonal to the orthonormal columns of `basis`, `(size, k)`."""
    for _ in range(2):  # once leaves the rounding of what was taken away; "twice is enough" (Parlett, 1980, sec. 6.9)
        vector = vector - basis @ (basis.T @ vector)
    return vector


def _dominant(diagonal: list[float], beside: list[float]) -> float:
    """Return the eigenvalue of largest magnitude of the tridiagonal matrix with these entries."""
    matrix = torch.tensor(diagonal, dtype=torch.float64).diag() + torch.tensor(beside, dtype=torch.float64).diag(-1)
    eigenvalues = torch.linalg.eigvalsh(matrix)  # reads the lower triangle only
    return float(eigenvalues[eigenvalues.abs().argmax()])


def hessian_product(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Product, int]:
    """Return the product of the Hessian of a loss in some parameters with vectors, and the length of these.

    Exact: the gradient is differentiated once more. (A difference of two gradients would be cheaper and need no second
    derivatives, but in a network of ReLUs it measures their kinks: it grows like one over the root of its step.)

    Args:
        loss: A scalar, evaluated with operators that can be differentiated twice.
        parameters: What it depends on; one that it does not depend on has a row of zeros.
    """
    flat = torch.cat([gradient.flatten() for gradient in gradients_of(loss, parameters, create_graph=True)])

    def product(vector: Tensor) -> Tensor:
        columns = gradients_of(flat @ vector, parameters, retain_graph=True)
        return torch.cat([column.flatten() for column in columns]).detach()

    return product, len(flat)


class StoppingRule(Protocol):
    """Measures something at the end of every epoch and says when it is enough.

    Attributes:
        looks_back: So many epochs back a supernet may be asked for; 0: the rule takes it as it is.
    """

    @property
    def rollback_window(self) -> int: ...

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
    rollback_window = 0

    def __post_init__(self) -> None:
        POSITIVE_INT.check("search.stopping: skips", self.skips)
        FRACTION_OR_ZERO.check("search.stopping: earliest", self.earliest)

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
            POSITIVE_INT.check(f"search.stopping: {option}", getattr(self, option))
        NON_NEGATIVE_FLOAT.check("search.stopping: factor", self.factor)
        if self.factor <= 1:
            raise ValueError(f"search.stopping: factor must be above 1; got {self.factor}.")
        FRACTION_OR_ZERO.check("search.stopping: earliest", self.earliest)

    @property
    def rollback_window(self) -> int:
        """See `StoppingRule`."""
        return self.every * (self.lag + self.window // 2)

    def measure(self, supernet: Supernet, validation: Iterable[Batch], generator: torch.Generator) -> float:
        """Return the eigenvalue of largest size, with its sign; the batches' statistics are those of training."""
        alphas = list(supernet.alphas.values())
        with restored_state(supernet), torch.enable_grad(), kernels.disabled():
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
        values, kept = curve[:: self.every], len(curve) - self.rollback_window
        counts = (len(curve) - 1) % self.every == 0  # the newest one
        if not counts or len(values) < self.window + self.lag or kept < self.earliest * epochs:
            return None
        now, then = fmean(values[-self.window :]), fmean(values[-self.window - self.lag : -self.lag])
        return kept if now > self.factor * then > 0 else None


def skip_edges(supernet: Supernet) -> list[int]:
    """Return the edges of the first cell type on which the cell that magnitude chooses has skip connections."""
    cell, space = next(iter(supernet.cell_spaces.items()))
    chosen = argmax_alpha(supernet)[cell]
    pairs = enumerate(zip(chosen.operations, chosen.kept, strict=True))
    return [
        edge
        for edge, (operation, kept) in pairs
        if kept and operation is not None and space.operations[edge][operation] == "skip_connect"
    ]


FAR_BELOW = 10.0
"""Under a softmax, e^-10 of the weight of the edge's weakest other operation."""


@torch.no_grad()
def cap_skips(supernet: Supernet, most: int) -> None:
    """Take weight from skip connections until the cell that magnitude chooses has no more than `most` of them.

    The weakest of them loses its weight, which may make another edge's operation one of the cell's, and so on (P-DARTS,
    Chen et al., ICCV 2019, arXiv 1904.12760, "search space regularization"). As there, the normal cell is looked at, or
    the only one of NAS-Bench-201: the first cell type. Edges without another candidate stay as they are. Since it is
    `alpha` that changes, the edge's other operations take the weight over; P-DARTS changes the weights themselves.
    """
    cell, space = next(iter(supernet.cell_spaces.items()))
    alpha = supernet.alphas[cell]
    undecided = supernet.decisions[cell].undecided_edges

    def weight(edge: int) -> float:
        return float(supernet.relaxed(cell)[edge, space.operations[edge].index("skip_connect")])

    while len(skips := skip_edges(supernet)) > most:
        yielding = [
            edge for edge in skips if edge in undecided and set(space.operations[edge]) - {"skip_connect", "none"}
        ]
        if not yielding:
            return
        edge = min(yielding, key=weight)
        skip = space.operations[edge].index("skip_connect")
        others = [index for index in range(len(space.operations[edge])) if index != skip]
        alpha[edge, skip] = alpha[edge, others].min() - FAR_BELOW
