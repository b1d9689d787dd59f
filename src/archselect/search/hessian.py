"""The curvature of a loss: the dominant eigenvalue of a Hessian that is never formed.

RobustDARTS (Zela et al., ICLR 2020, arXiv 1909.09656, sec. 4) follows the dominant eigenvalue of the Hessian of the
validation loss in `alpha` through a search: where it is large, the architectures found generalise badly. The Lanczos
method (Lanczos, 1950, J. Res. Natl. Bur. Stand. 45, 255-282) finds it from products of the Hessian with vectors.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from archselect.checks import check_positive
from archselect.gradients import gradients_of

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
