"""When a search ends before its last epoch: too many skip connections (DARTS+), or too sharp a minimum (RobustDARTS).

RobustDARTS (Zela et al., ICLR 2020, arXiv 1909.09656, sec. 4) follows the dominant eigenvalue of the Hessian of the
validation loss in `alpha` through a search: where it is large, the architectures found generalise badly. The Lanczos
method (Lanczos, 1950, J. Res. Natl. Bur. Stand. 45, 255-282) finds it from products of the Hessian with vectors.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

import torch
from torch import Tensor

from archselect import kernels
from archselect.data.loader import Batch
from archselect.models.restored_state import restored_state
from archselect.models.supernet.supernet import Supernet, argmax_alpha
from archselect.tasks import Task
from archselect.training.step import gradients_of
from archselect.utils.validation import FractionOrZero, NonNegativeFloat, PositiveInt, check_fields

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
    """Return the eigenvalue of largest magnitude, with its sign, of a symmetric matrix of so many rows.

    The Lanczos vectors are kept orthogonal to each other, on the CPU and in float64, whatever the product computes in.

    Args:
        product: Takes vectors of norm 1, of this dtype on this device; its next call may overwrite what it returned.
        size: Rows of the matrix.
        steps: Products at most; `size` of them are enough, and fewer do where the largest eigenvalues stand apart.
        generator: Draws the vector that the iteration begins with, on the CPU.
        device: Of what the product takes.
        dtype: Likewise.

    Raises:
        ValueError: A product is not finite.
    """
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    vector /= vector.norm()
    basis = torch.empty(size, 0, dtype=torch.float64)
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    scale = 0.0
    while True:
        basis = torch.cat([basis, vector[:, None]], dim=1)
        image = product(vector.to(device, dtype)).to("cpu", torch.float64)
        if not image.isfinite().all():
            raise ValueError("The product of the matrix with a vector is not finite. Check the gradient it is made of.")
        diagonal.append(float(vector @ image))
        scale = max(scale, float(image.norm()))
        residual = image
        for _ in range(2):  # once leaves the rounding of what was taken away; "twice is enough" (Parlett, 1980, 6.9)
            residual = residual - basis @ (basis.T @ residual)
        beta = float(residual.norm())
        # A residual within the rounding of the products is no new direction: the matrix maps the basis to itself.
        if len(diagonal) == min(steps, size) or beta <= size * torch.finfo(dtype).eps * scale:
            break
        off_diagonal.append(beta)
        vector = residual / beta
    tridiagonal = torch.tensor(diagonal, dtype=torch.float64).diag()
    tridiagonal += torch.tensor(off_diagonal, dtype=torch.float64).diag(-1)
    eigenvalues = torch.linalg.eigvalsh(tridiagonal)  # reads the lower triangle only
    return float(eigenvalues[eigenvalues.abs().argmax()])


def hessian_product(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Product, int]:
    """Return the product of the Hessian of a loss in some parameters with vectors, and the length of these.

    Exact: the gradient is differentiated once more. (A difference of two gradients would be cheaper and need no second
    derivatives, but in a network of ReLUs it measures their kinks: it grows like one over the root of its step.) A
    parameter that the loss does not depend on has a row of zeros.
    """
    flat = torch.cat([gradient.flatten() for gradient in gradients_of(loss, parameters, create_graph=True)])

    def product(vector: Tensor) -> Tensor:
        columns = gradients_of(flat @ vector, parameters, retain_graph=True)
        return torch.cat([column.flatten() for column in columns]).detach()

    return product, len(flat)


@dataclass(frozen=True)
class StoppingRule(ABC):
    """Measures something at the end of every epoch and says when it is enough."""

    def __post_init__(self) -> None:
        check_fields(self, "search.stopping.*")

    @property
    def rollback_window(self) -> int:
        """How many epochs back the supernet may be taken from; 0: it is taken as it is."""
        return 0

    @abstractmethod
    def measure(self, supernet: Supernet, task: Task, validation: Iterable[Batch], generator: torch.Generator) -> float:
        """Return the quantity, which is logged, at the end of an epoch; the supernet ends as it was.

        `validation` are batches of the images that train `alpha`; `generator` is for the rule's own random choices.
        """

    @abstractmethod
    def kept_epochs(self, curve: Sequence[float], epochs: int) -> int | None:
        """Return None to go on, or after how many epochs the supernet is taken.

        `curve` is the quantity after each epoch so far, of so many `epochs` of the whole search.
        """


@dataclass(frozen=True)
class SkipLimit(StoppingRule):
    """Ends the search when the cell that magnitude chooses has this many skip connections (DARTS+, criterion 1).

    Liang et al., arXiv 1909.06035. It looks at the first cell type: the normal cell, or the only one of NAS-Bench-201.
    A space of few operations has skips in its cells from the first epoch on, hence `earliest`.
    """

    skips: PositiveInt
    earliest: FractionOrZero

    def measure(self, supernet: Supernet, task: Task, validation: Iterable[Batch], generator: torch.Generator) -> float:
        return float(len(skip_edges(supernet)))

    def kept_epochs(self, curve: Sequence[float], epochs: int) -> int | None:
        return len(curve) if curve[-1] >= self.skips and len(curve) > self.earliest * epochs else None


@dataclass(frozen=True)
class Curvature(StoppingRule):
    """Ends the search when the dominant eigenvalue of the Hessian of the validation loss in `alpha` grows too fast.

    RobustDARTS, early stopping: where the mean of the last `window` values exceeds `factor` times that of the window
    `lag` values before, the search goes back to the middle of the earlier window, but not to before `earliest`. The
    defaults are the authors' (src/utils.py, `EVLocalAvg`; --report_freq_hessian 2): windows of 10 epochs, 8 apart, and
    12 epochs back; the paper's factor is 1 / 0.75. (Their code adds the weight decay of `alpha` to the Hessian.)

    The loss is the mean over `batches` validation batches of at most `batch_size` images. Its gradient is taken once,
    and each of the `products` of the Hessian with a vector is one more backward pass through it.
    """

    window: PositiveInt = 5
    lag: PositiveInt = 4
    every: PositiveInt = 2
    factor: NonNegativeFloat = 1.3
    earliest: FractionOrZero = 0.2
    batches: PositiveInt = 1
    batch_size: PositiveInt = 64
    products: PositiveInt = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor <= 1:
            raise ValueError(f"search.stopping.*.factor must be above 1; got {self.factor}.")

    @property
    def rollback_window(self) -> int:
        """How many epochs lie between the end of the last window and the middle of the earlier one."""
        return self.every * (self.lag + self.window // 2)

    def measure(self, supernet: Supernet, task: Task, validation: Iterable[Batch], generator: torch.Generator) -> float:
        """Return the eigenvalue of largest size, with its sign; the batches' statistics are those of training."""
        alphas = list(supernet.alphas.values())
        with restored_state(supernet), torch.enable_grad(), kernels.disabled():
            supernet.train()
            losses = []
            for images, labels in islice(validation, self.batches):
                outputs = supernet(images[: self.batch_size].contiguous())
                losses.append(task.loss(outputs, labels[: self.batch_size]))
            product, size = hessian_product(torch.stack(losses).mean(), alphas)
            return dominant_eigenvalue(product, size, self.products, generator, alphas[0].device, alphas[0].dtype)

    def kept_epochs(self, curve: Sequence[float], epochs: int) -> int | None:
        values, kept = curve[:: self.every], len(curve) - self.rollback_window
        newest_counts = (len(curve) - 1) % self.every == 0
        if not newest_counts or len(values) < self.window + self.lag or kept < self.earliest * epochs:
            return None
        now, then = fmean(values[-self.window :]), fmean(values[-self.window - self.lag : -self.lag])
        return kept if now > self.factor * then > 0 else None


def skip_edges(supernet: Supernet) -> list[int]:
    """Return the edges of the first cell type on which the cell that magnitude chooses has skip connections."""
    cell, space = next(iter(supernet.cell_spaces.items()))
    chosen = argmax_alpha(supernet)[cell]
    return [
        edge
        for edge, (operation, kept) in enumerate(zip(chosen.operations, chosen.kept, strict=True))
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
    skip = {edge: names.index("skip_connect") for edge, names in enumerate(space.operations) if "skip_connect" in names}
    while len(skips := skip_edges(supernet)) > most:
        weights = supernet.relaxed(cell)
        yielding = [
            edge for edge in skips if edge in undecided and set(space.operations[edge]) - {"skip_connect", "none"}
        ]
        if not yielding:
            return
        edge = min(yielding, key=lambda edge: float(weights[edge, skip[edge]]))
        others = [index for index in range(len(space.operations[edge])) if index != skip[edge]]
        alpha[edge, skip[edge]] = alpha[edge, others].min() - FAR_BELOW
