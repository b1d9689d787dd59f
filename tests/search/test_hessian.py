import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from archselect.search.early_stopping import dominant_eigenvalue, hessian_product


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(size: int) -> Tensor:
    matrix = torch.randn(size, size, generator=seeded(size), dtype=torch.float64)
    return (matrix + matrix.T) / 2


def with_eigenvalues(eigenvalues: Tensor) -> Tensor:
    directions = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues), generator=seeded(1)).double()).Q
    return directions @ eigenvalues.double().diag() @ directions.T


def dominant(matrix: Tensor) -> float:
    eigenvalues = torch.linalg.eigvalsh(matrix)
    return float(eigenvalues[eigenvalues.abs().argmax()])


def lanczos(matrix: Tensor, steps: int, seed: int = 0) -> float:
    return dominant_eigenvalue(matrix.matmul, len(matrix), steps, seeded(seed))


# The dominant eigenvalue


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_as_many_steps_as_rows_give_the_dominant_eigenvalue_with_its_sign(size: int, sign: int) -> None:
    matrix = sign * symmetric(size)
    assert lanczos(matrix, steps=size) == pytest.approx(dominant(matrix), rel=1e-10)


def test_few_steps_suffice_where_the_spectrum_decays() -> None:
    matrix = with_eigenvalues(0.9 ** torch.arange(200))
    assert lanczos(matrix, steps=20) == pytest.approx(1, rel=0.01)


def test_a_negative_eigenvalue_of_larger_magnitude_is_preferred() -> None:
    matrix = with_eigenvalues(torch.tensor([2.0, 1.0, 0.5, -3.0]))
    assert lanczos(matrix, steps=4) == pytest.approx(-3)


@pytest.mark.parametrize("factor", [0.0, 1.0, -2.5])
def test_one_product_of_a_multiple_of_the_identity_is_enough(factor: float) -> None:
    seen: list[Tensor] = []

    def product(vector: Tensor) -> Tensor:
        seen.append(vector)
        return factor * vector

    assert dominant_eigenvalue(product, 9, 9, seeded()) == pytest.approx(factor, abs=1e-14)
    assert len(seen) == 1


def test_more_steps_than_rows_change_nothing() -> None:
    assert lanczos(symmetric(7), steps=100) == lanczos(symmetric(7), steps=7)


def test_an_eigenvalue_that_occurs_several_times_is_found() -> None:
    matrix = with_eigenvalues(torch.tensor([1.0] * 5 + [-4.0] * 5 + [2.0] * 10))
    assert lanczos(matrix, steps=20) == pytest.approx(-4)


def test_the_vectors_are_orthonormal_and_as_many_as_steps() -> None:
    matrix, seen = with_eigenvalues(0.5 ** torch.arange(30)), []

    def product(vector: Tensor) -> Tensor:
        seen.append(vector)
        return matrix @ vector

    dominant_eigenvalue(product, 30, 25, seeded())
    vectors = torch.stack(seen)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(25, dtype=torch.float64), rtol=0, atol=1e-13)


def test_the_seed_decides_the_estimate() -> None:
    matrix = symmetric(40)
    assert lanczos(matrix, steps=5, seed=3) == lanczos(matrix, steps=5, seed=3) != lanczos(matrix, steps=5, seed=4)


def test_a_product_in_single_precision_gets_its_own_dtype() -> None:
    matrix = symmetric(40)
    found = dominant_eigenvalue(matrix.float().matmul, 40, 40, seeded(), dtype=torch.float32)
    assert found == pytest.approx(dominant(matrix), rel=1e-5)


def test_a_product_may_overwrite_what_it_returned() -> None:
    matrix, memory = symmetric(7), torch.empty(7, dtype=torch.float64)
    found = dominant_eigenvalue(lambda vector: torch.mv(matrix, vector, out=memory), 7, 7, seeded())
    assert found == pytest.approx(dominant(matrix), rel=1e-10)


def test_a_product_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="is not finite"):
        lanczos(torch.full((3, 3), torch.nan, dtype=torch.float64), steps=3)


# Products by differences


def classification_loss(alpha: Tensor) -> Tensor:
    """Cross-entropy of 6 images whose logits of 4 classes are linear in the softmax of `alpha`, three edges of four."""
    features = 3 * torch.randn(6, 4, 12, generator=seeded(2), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    return F.cross_entropy(features @ alpha.view(3, 4).softmax(dim=-1).flatten(), labels)


def a_point() -> Tensor:
    return 0.5 * torch.randn(12, generator=seeded(4), dtype=torch.float64)


def exact_hessian() -> Tensor:
    hessian = torch.autograd.functional.hessian(classification_loss, a_point())
    assert isinstance(hessian, Tensor)
    return hessian


def test_the_product_of_a_quadratic_is_that_of_its_matrix() -> None:
    matrix, vector = symmetric(12), a_point()
    alpha = torch.ones(12, dtype=torch.float64, requires_grad=True)
    product, size = hessian_product(alpha @ matrix @ alpha / 2 + alpha.sum(), [alpha])
    assert size == 12
    torch.testing.assert_close(product(vector), matrix @ vector)


def test_several_parameters_are_one_vector() -> None:
    first, second = (torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    product, size = hessian_product((first * second**2).sum(), [first, second])  # rows: (0, 2 b), (2 b, 2 a)
    assert size == 4
    assert product(torch.tensor([1.0, 0, 0, 3], dtype=torch.float64)).tolist() == [0, 6, 2, 6]


def test_a_parameter_that_the_loss_does_not_depend_on_has_zeros() -> None:
    used, unused = (torch.ones(1, requires_grad=True) for _ in range(2))
    product, _ = hessian_product(used.pow(3).sum(), [used, unused])
    assert product(torch.ones(2)).tolist() == [6, 0]


def test_a_linear_loss_has_no_curvature() -> None:
    alpha = torch.ones(3, requires_grad=True)
    product, size = hessian_product(alpha.sum(), [alpha])
    assert dominant_eigenvalue(product, size, size, seeded(), dtype=torch.float32) == 0


def test_the_dominant_eigenvalue_of_a_loss_is_that_of_its_exact_hessian() -> None:
    alpha = a_point().requires_grad_()
    product, size = hessian_product(classification_loss(alpha), [alpha])
    assert dominant_eigenvalue(product, size, size, seeded()) == pytest.approx(dominant(exact_hessian()), rel=1e-10)
