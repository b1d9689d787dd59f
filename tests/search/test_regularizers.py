import math

import pytest
import torch
from tests.search.small_search import CLASSES, cell_supernet, darts_supernet, decide, module
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.distributions import Dirichlet as DirichletDistribution

from archselect.data.loader import BilevelBatch
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
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
    term = ZeroOne()(alpha, Sigmoid().mean(alpha))
    assert term.item() == pytest.approx(-10 * (0 + 0.25**2 + 0.3**2) / 3)


def test_zero_one_pushes_the_weights_to_0_and_1() -> None:
    alpha = torch.tensor([[-0.1, 0.1, 0.5], [1e-3, -2.0, MISSING]], requires_grad=True)
    for _ in range(300):
        (gradient,) = torch.autograd.grad(ZeroOne()(alpha, alpha.sigmoid()), alpha)
        with torch.no_grad():
            alpha -= 10 * gradient
    torch.testing.assert_close(alpha.sigmoid(), torch.tensor([[0.0, 1, 1], [1, 0, 0]]), rtol=0, atol=0.02)


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


def test_the_divergence_is_least_and_0_where_alpha_is_0() -> None:
    alpha = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, MISSING]], dtype=torch.float64, requires_grad=True)
    term = DirichletKL(1.0)(alpha, Dirichlet().mean(alpha))
    (gradient,) = torch.autograd.grad(term, alpha)
    torch.testing.assert_close(term, torch.zeros_like(term), rtol=0, atol=1e-14)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-14)


REGULARIZERS = [L2(1.0), Entropy(1.0), Entropy(-1.0), ZeroOne(), DirichletKL(1.0)]


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


def test_decided_and_dropped_edges_are_left_alone() -> None:
    supernet = darts_supernet("skip_connect", "sep_conv_3x3")
    decide(supernet, "normal", {0: 1})
    space, normal = supernet.cell_spaces["normal"], supernet.decisions["normal"]
    supernet.decisions = {**supernet.decisions, "normal": normal.keep_inputs(space, 3, (2, 4))}
    terms = [L2(0.5), Entropy(1.0), ZeroOne()]
    normal_gradient, reduction_gradient = regularizer_gradients(supernet, terms)
    assert [bool(row.any()) for row in normal_gradient] == [False, True, True, False, True]
    assert reduction_gradient.any(dim=1).all()


def test_the_terms_of_all_cell_types_are_added() -> None:
    supernet = darts_supernet("skip_connect", "sep_conv_3x3")
    gradients = regularizer_gradients(supernet, [L2(0.5), L2(1.0)])
    for gradient, alpha in zip(gradients, supernet.architecture_parameters(), strict=True):
        torch.testing.assert_close(gradient, 3 * alpha.detach())


def test_they_are_added_to_the_gradient_of_the_loss() -> None:
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    batch = BilevelBatch((images, labels), (images.flip(0), labels.flip(0)))

    def gradients(**changes: object) -> list[Tensor]:
        return list(module(cell_supernet(), **changes).alpha_gradients(batch))

    alpha = cell_supernet().alphas["cell"].detach()
    for plain, regularized in zip(gradients(), gradients(regularizers={"l2": L2(2.0)}), strict=True):
        torch.testing.assert_close(regularized, plain + 4 * alpha)


def test_when_only_the_inputs_of_nodes_are_undecided_there_is_nothing_to_regularize() -> None:
    topology = CellTopology(2, 2, "concat", 2)
    cells = {name: CellSpace(name, topology, (("skip_connect", "sep_conv_3x3"),) * 5) for name in "ab"}
    cells = {"normal": cells["a"], "reduction": cells["b"]}
    supernet = DartsSupernet(cells, 2, 3, CLASSES, variant=SupernetOptions(edge_normalization="share"))
    for cell in cells:
        decide(supernet, cell, dict.fromkeys(range(5), 1))
    assert module(supernet, regularizers={"l2": L2(1.0)}, edge_normalization="share").has_undecided
    assert not any(gradient.any() for gradient in regularizer_gradients(supernet, [L2(1.0)]))
