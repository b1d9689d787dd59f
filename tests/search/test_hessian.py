import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from archselect.search.hessian import difference_product, dominant_eigenvalue


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


@pytest.mark.parametrize(("size", "steps", "name"), [(0, 3, "size"), (3, 0, "steps")])
def test_numbers_that_leave_nothing_to_compute_are_refused(size: int, steps: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number above 0; got 0"):
        dominant_eigenvalue(lambda vector: vector, size, steps, seeded())


# Products by differences


def classification_loss(alpha: Tensor) -> Tensor:
    """Cross-entropy of 6 images whose logits of 4 classes are linear in the softmax of `alpha`, three edges of four."""
    features = 3 * torch.randn(6, 4, 12, generator=seeded(2), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    return F.cross_entropy(features @ alpha.view(3, 4).softmax(dim=-1).flatten(), labels)


def classification_gradient(alpha: Tensor) -> Tensor:
    alpha = alpha.clone().requires_grad_()
    return torch.autograd.grad(classification_loss(alpha), alpha)[0]


def a_point() -> Tensor:
    return 0.5 * torch.randn(12, generator=seeded(4), dtype=torch.float64)


def exact_hessian() -> Tensor:
    hessian = torch.autograd.functional.hessian(classification_loss, a_point())
    assert isinstance(hessian, Tensor)
    return hessian


@pytest.mark.parametrize("step", [1e-3, 1.0, 10.0])
@pytest.mark.parametrize("norm", [1e-3, 1.0, 1e3])
def test_the_product_of_a_quadratic_is_exact_whatever_the_step(step: float, norm: float) -> None:
    matrix, vector = symmetric(12), norm * F.normalize(a_point(), dim=0)
    product = difference_product(lambda point: matrix @ point + 1, torch.ones(12, dtype=torch.float64), step)
    torch.testing.assert_close(product(vector), matrix @ vector, rtol=0, atol=1e-11 * norm)


def test_the_product_is_that_of_the_exact_hessian_at_the_point() -> None:
    vector = torch.randn(12, generator=seeded(5), dtype=torch.float64)
    exact = exact_hessian() @ vector
    found = difference_product(classification_gradient, a_point(), step=1e-4)(vector)
    assert (found - exact).norm() < 1e-6 * exact.norm()


def test_the_gradient_is_taken_one_step_to_either_side_of_the_point() -> None:
    points: list[Tensor] = []

    def gradient(point: Tensor) -> Tensor:
        points.append(point)
        return point

    difference_product(gradient, torch.tensor([1.0, 1.0]), step=0.5)(torch.tensor([0.0, 8.0]))
    assert [point.tolist() for point in points] == [[1, 1.5], [1, 0.5]]


def test_the_product_with_the_zero_vector_is_zero() -> None:
    zero = torch.zeros(12, dtype=torch.float64)
    assert difference_product(classification_gradient, a_point(), step=1e-4)(zero).tolist() == [0] * 12


def test_a_gradient_may_overwrite_what_it_returned() -> None:
    memory = torch.empty(2)
    product = difference_product(lambda point: torch.mul(point, 3, out=memory), torch.zeros(2), step=1.0)
    assert product(torch.tensor([0.0, 2.0])).tolist() == [0, 6]


def test_the_point_stays_where_it_was_when_the_gradient_moves_the_parameter_it_was_read_from() -> None:
    alpha = torch.nn.Parameter(torch.ones(1, 2))

    def gradient_of_cubes(point: Tensor) -> Tensor:
        alpha.data.copy_(point.view_as(alpha))
        return 3 * point**2

    product = difference_product(gradient_of_cubes, alpha.flatten(), step=0.5)
    assert product(torch.tensor([0.0, 1.0])).tolist() == [0, 6]


@pytest.mark.parametrize("step", [0.0, -1e-3, float("inf")])
def test_a_step_that_goes_nowhere_is_refused(step: float) -> None:
    with pytest.raises(ValueError, match="step must be a finite number above 0"):
        difference_product(classification_gradient, a_point(), step)


def test_the_dominant_eigenvalue_by_differences_is_that_of_the_exact_hessian() -> None:
    product = difference_product(classification_gradient, a_point(), step=1e-4)
    found = dominant_eigenvalue(product, 12, 12, seeded())
    assert found == pytest.approx(dominant(exact_hessian()), rel=1e-5)
