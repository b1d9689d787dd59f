"""The curvature of a loss: the dominant eigenvalue of a Hessian that is never formed.

RobustDARTS (Zela et al., ICLR 2020, arXiv 1909.09656, sec. 4) follows the dominant eigenvalue of the Hessian of the
validation loss in `alpha` through a search: where it is large, the architectures found generalise badly. The Lanczos
method (Lanczos, 1950, J. Res. Natl. Bur. Stand. 45, 255-282) finds it from products of the Hessian with vectors.

The products are finite differences of the gradient, because the kernels for CPUs have first derivatives only. Every
difference costs two first-order gradients.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from archselect.checks import check_number, check_positive

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
    check_positive("size", size)
    check_positive("steps", steps)
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


def difference_product(gradient: Callable[[Tensor], Tensor], at: Tensor, step: float) -> Product:
    """Return the product of the Hessian at a point with vectors `v`: `(g(a + h v) - g(a - h v)) / (2 h)`.

    Where the gradient is smooth, the error is of order `step` squared, plus the rounding of the gradient divided by
    `step`. Across the kink of a ReLU the gradient jumps, and the difference adds the jump divided by the step.

    Args:
        gradient: Maps a point `(size,)` to the gradient there. What it returned may be overwritten by its next call.
        at: The point `a`, flattened to `(size,)`. The vectors have its device and dtype.
        step: Distance from `at` to where the gradient is taken, whatever the norm of the vector: `h = step / ||v||`.

    Raises:
        ValueError: `step` is not a finite number above 0.
    """
    check_number("step", step, zero=False)
    at = at.detach().clone()  # may be a view of the parameters that the gradient sets

    def product(vector: Tensor) -> Tensor:
        norm = vector.norm()
        if norm == 0:
            return torch.zeros_like(vector)
        h = step / norm
        above = gradient(at + h * vector).clone()  # a recorded gradient (`Capture`) returns the same memory every time
        return (above - gradient(at - h * vector)) / (2 * h)

    return product
