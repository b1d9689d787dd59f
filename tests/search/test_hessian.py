from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from archselect.search.early_stopping import dominant_eigenvalue, hessian_product


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(size: int) -> Tensor:
    matrix = torch.randn(size, size, generator=seeded(size), dtype=torch.float64)
    return (matrix + matrix.T) / 2


def with_eigenvalues(*eigenvalues: float) -> Tensor:
    size = len(eigenvalues)
    directions = torch.linalg.qr(torch.randn(size, size, generator=seeded(1)).double()).Q
    return directions @ torch.tensor(eigenvalues).double().diag() @ directions.T


def dominant(matrix: Tensor) -> float:
    eigenvalues = torch.linalg.eigvalsh(matrix)
    return float(eigenvalues[eigenvalues.abs().argmax()])


def lanczos(matrix: Tensor, steps: int) -> float:
    """By a product that overwrites what it returned before."""
    memory = torch.empty(len(matrix), dtype=torch.float64)
    return dominant_eigenvalue(lambda vector: torch.mv(matrix, vector, out=memory), len(matrix), steps, seeded())


# The dominant eigenvalue


@pytest.mark.parametrize(
    ("matrix", "steps", "tolerance"),
    [
        *((sign * symmetric(size), size, 1e-10) for size in (1, 2, 7, 40) for sign in (1, -1)),
        (symmetric(7), 100, 1e-10),
        (with_eigenvalues(2, 1, 0.5, -3), 4, 1e-10),
        (with_eigenvalues(*[1] * 5, *[-4] * 5, *[2] * 10), 20, 1e-6),
        (with_eigenvalues(*(0.9**k for k in range(200))), 20, 0.01),  # a decaying spectrum: few steps suffice
    ],
)
def test_it_is_found_with_its_sign(matrix: Tensor, steps: int, tolerance: float) -> None:
    assert lanczos(matrix, steps) == pytest.approx(dominant(matrix), rel=tolerance)


@pytest.mark.parametrize("factor", [0.0, 1.0, -2.5])
def test_one_product_of_a_multiple_of_the_identity_is_enough(factor: float) -> None:
    seen: list[Tensor] = []

    def product(vector: Tensor) -> Tensor:
        seen.append(vector)
        return factor * vector

    assert dominant_eigenvalue(product, 9, 9, seeded()) == pytest.approx(factor, abs=1e-14)
    assert len(seen) == 1


def test_the_vectors_are_orthonormal_and_as_many_as_steps() -> None:
    matrix, seen = with_eigenvalues(*(0.5**k for k in range(30))), []

    def product(vector: Tensor) -> Tensor:
        seen.append(vector)
        return matrix @ vector

    dominant_eigenvalue(product, 30, 25, seeded())
    vectors = torch.stack(seen)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(25, dtype=torch.float64), rtol=0, atol=1e-13)


def test_a_product_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="is not finite"):
        lanczos(torch.full((3, 3), torch.nan, dtype=torch.float64), steps=3)


# Products of the Hessian


@pytest.mark.parametrize(
    ("loss", "vector", "expected"),
    [
        (lambda a, b: (a * b**2).sum(), [1.0, 0, 0, 3], [0, 6, 2, 6]),  # rows (0, 2 b), (2 b, 2 a)
        (lambda a, b: a.pow(3).sum(), [1.0, 1, 1, 1], [6, 6, 0, 0]),  # it does not depend on b
        (lambda a, b: a.sum() + 2 * b.sum(), [1.0, 2, 3, 4], [0, 0, 0, 0]),
    ],
)
def test_several_parameters_are_one_vector(
    loss: Callable[[Tensor, Tensor], Tensor], vector: list[float], expected: list[float]
) -> None:
    first, second = (torch.ones(2, requires_grad=True) for _ in range(2))
    product, size = hessian_product(loss(first, second), [first, second])
    assert size == 4
    assert product(torch.tensor(vector)).tolist() == expected
