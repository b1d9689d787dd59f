import math

import pytest
import torch
from tests.search.small_search import cell_supernet, darts_supernet, decide, module, partly_decided
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.distributions import Dirichlet as DirichletDistribution

from archselect.data.loader import BilevelBatch
from archselect.models.supernet.relaxation import Dirichlet, Sigmoid, Softmax, SupernetOptions
from archselect.search import L2, DirichletKL, Entropy, ZeroOne
from archselect.search.regularizers import Regularizer, regularizer_gradients

MISSING = -torch.inf


def an_alpha() -> Tensor:
    """Three edges with three, two and one candidates."""
    return torch.tensor(
        [[0.5, -1.0, 2.0], [0.3, 1.2, MISSING], [-0.7, MISSING, MISSING]], dtype=torch.float64, requires_grad=True
    )


# The terms


def test_l2_is_the_sum_of_squares_of_the_candidates_there_are() -> None:
    alpha = an_alpha()
    term = L2(0.1)(alpha, Softmax().mean(alpha))
    assert term.item() == pytest.approx(0.1 * (0.25 + 1 + 4 + 0.09 + 1.44 + 0.49))
    (gradient,) = torch.autograd.grad(term, alpha)
    expected = torch.tensor([[0.1, -0.2, 0.4], [0.06, 0.24, 0], [-0.14, 0, 0]]).double()
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid(), Dirichlet()])
@pytest.mark.parametrize("weight", [1e-2, -3.0])
def test_the_entropy_is_the_mean_over_the_edges(weight: float, relaxation: Softmax | Sigmoid | Dirichlet) -> None:
    alpha = an_alpha()
    weights = relaxation.mean(alpha)
    entropies = [Categorical(row[row > 0]).entropy() for row in weights]
    assert float(Entropy(weight)(alpha, weights)) == pytest.approx(weight * float(sum(entropies)) / 3)
    assert float(entropies[2]) == pytest.approx(0, abs=1e-12)


def test_zero_one_is_the_mean_squared_distance_from_a_half() -> None:
    alpha = torch.tensor([[0.0, math.log(3)], [-math.log(4), MISSING]])  # weights 1/2, 3/4 and 1/5
    term = ZeroOne(10.0)(alpha, Sigmoid().mean(alpha))
    assert term.item() == pytest.approx(-10 * (0 + 0.25**2 + 0.3**2) / 3)


@pytest.mark.parametrize("weight", [1e-3, 2.0])
def test_the_divergence_of_dirichlet_distributions_is_that_of_torch(weight: float) -> None:
    alpha = an_alpha()
    concentrations = [row[row > MISSING] for row in alpha.detach()]
    concentrations = [torch.nn.functional.elu(row) + 1 for row in concentrations]
    expected = sum(
        float(kl_divergence(DirichletDistribution(row), DirichletDistribution(torch.ones_like(row))))
        for row in concentrations
    )
    assert float(DirichletKL(weight)(alpha, Dirichlet().mean(alpha))) == pytest.approx(weight * expected)
    assert expected > 0.1


REGULARIZERS = [L2(1.0), Entropy(1.0), Entropy(-1.0), ZeroOne(10.0), DirichletKL(1.0)]


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid(), Dirichlet()], ids=repr)
def test_gradients_are_those_of_differences_and_0_where_there_is_no_candidate(
    regularizer: Regularizer, relaxation: Softmax | Sigmoid | Dirichlet
) -> None:
    alpha, step = an_alpha(), 1e-6
    (gradient,) = torch.autograd.grad(regularizer(alpha, relaxation.mean(alpha)), alpha)

    def moved(edge: int, operation: int, by: float) -> float:
        there = alpha.detach().clone()
        there[edge, operation] += by
        return float(regularizer(there, relaxation.mean(there)))

    for edge, row in enumerate(alpha.tolist()):
        for operation, value in enumerate(row):
            slope = (moved(edge, operation, step) - moved(edge, operation, -step)) / (2 * step)
            expected = slope if value > MISSING else 0.0
            assert float(gradient[edge, operation]) == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=repr)
def test_gradients_are_finite_where_a_weight_is_lost_in_rounding(regularizer: Regularizer) -> None:
    alpha = torch.tensor([[200.0, 0.0, 0.0], [0.0, 60.0, MISSING]], requires_grad=True)
    for relaxation in (Softmax(), Sigmoid(), Dirichlet()):
        (gradient,) = torch.autograd.grad(regularizer(alpha, relaxation.mean(alpha)), alpha)
        assert gradient.isfinite().all()


# In the search


def test_the_terms_of_all_cell_types_are_added_but_for_decided_and_dropped_edges() -> None:
    supernet = partly_decided("skip_connect", "sep_conv_3x3")
    normal_gradient, reduction_gradient = regularizer_gradients(supernet, [L2(0.5), L2(1.0)])
    expected = 3 * supernet.alphas["normal"].detach()
    expected[[0, 3]] = 0
    torch.testing.assert_close(normal_gradient, expected)
    torch.testing.assert_close(reduction_gradient, 3 * supernet.alphas["reduction"].detach())


def test_they_are_added_to_the_gradient_of_the_loss() -> None:
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    batch = BilevelBatch((images, labels), (images.flip(0), labels.flip(0)))
    (plain,) = module(cell_supernet()).alpha_gradients(batch)
    (regularized,) = module(cell_supernet(), regularizers={"l2": L2(2.0)}).alpha_gradients(batch)
    torch.testing.assert_close(regularized, plain + 4 * cell_supernet().alphas["cell"].detach())


def test_when_only_the_inputs_of_nodes_are_undecided_there_is_nothing_to_regularize() -> None:
    supernet = darts_supernet("skip_connect", "sep_conv_3x3", variant=SupernetOptions(edge_normalization="share"))
    for cell in supernet.cell_spaces:
        decide(supernet, cell, dict.fromkeys(range(5), 1))
    assert module(supernet, regularizers={"l2": L2(1.0)}, edge_normalization="share").has_undecided
    assert not any(gradient.any() for gradient in regularizer_gradients(supernet, [L2(1.0)]))
