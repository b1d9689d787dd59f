import pytest
import torch
from torch import Tensor

from archselect.models.supernet.relaxation import Dirichlet, GumbelSoftmax, Relaxation, Sigmoid, Softmax

MISSING = -torch.inf
ALPHA = torch.tensor(
    [[0.5, -1.0, 0.0, 2.0], [1.0, 0.3, MISSING, MISSING], [-0.7, MISSING, MISSING, MISSING]], dtype=torch.float64
)
EXISTS = ALPHA > MISSING
FACTORS = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
DRAWS = 100_000
SOFT, HARD = GumbelSoftmax(False, 1.0, 1.0), GumbelSoftmax(True, 1.0, 1.0)
CHI_SQUARE_3 = 16.27  # exceeded with a probability of 0.001

each_relaxation = pytest.mark.parametrize(
    "relaxation",
    [Softmax(), Sigmoid(), SOFT, HARD, Dirichlet()],
    ids=["softmax", "sigmoid", "soft", "hard", "dirichlet"],
)
each_function = pytest.mark.parametrize("function", ["mean", "sample"])


def drawn(relaxation: Relaxation, alpha: Tensor, draws: int, seed: int = 0) -> Tensor:
    """Return `(draws, *alpha.shape)`."""
    torch.manual_seed(seed)
    return relaxation.sample(alpha.expand(draws, *alpha.shape))


def gradient(relaxation: Relaxation, function: str, alpha: Tensor) -> Tensor:
    leaf = alpha.clone().requires_grad_()
    torch.manual_seed(0)
    (gradient,) = torch.autograd.grad((getattr(relaxation, function)(leaf) * FACTORS).sum(), leaf)
    return gradient


# Candidates that an edge does not have


@each_relaxation
@each_function
def test_only_candidates_that_exist_have_weight(relaxation, function):
    torch.manual_seed(0)
    weights = getattr(relaxation, function)(ALPHA)
    assert not weights[~EXISTS].any()
    assert weights.isfinite().all()
    assert weights.any(dim=1).all()


@each_relaxation
@each_function
def test_candidates_that_do_not_exist_get_the_gradient_zero(relaxation, function):
    got = gradient(relaxation, function, ALPHA)
    assert got.isfinite().all()
    assert not got[~EXISTS].any()
    assert got[:2][EXISTS[:2]].all()


@each_relaxation
@each_function
def test_the_gradient_is_finite_in_float32_however_far_from_0_alpha_is(relaxation, function):
    alpha = torch.tensor([[30.0, -30.0, 5.0, MISSING], [-30.0, -30.0, -30.0, -30.0]]).repeat(1000, 1)
    assert gradient(relaxation, function, alpha).isfinite().all()


# Means


def test_the_softmax_is_over_the_candidates_of_an_edge_and_the_sigmoid_of_each_alone():
    alpha = torch.tensor([[3.0, 1.0, 0.0], [2.0, 1.0, 1.0]]).log()
    torch.testing.assert_close(Softmax().mean(alpha), torch.tensor([[0.75, 0.25, 0], [0.5, 0.25, 0.25]]))
    torch.testing.assert_close(Sigmoid().mean(alpha[1:]), torch.tensor([[2 / 3, 0.5, 0.5]]))


@each_relaxation
def test_softmax_and_sigmoid_draw_nothing_and_only_the_hard_gumbel_softmax_is_sparse(relaxation):
    assert torch.equal(relaxation.sample(ALPHA), relaxation.mean(ALPHA)) == (type(relaxation) in (Softmax, Sigmoid))
    assert relaxation.sparse == (relaxation is HARD)


# Gumbel softmax


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 10.0, 1e9])
def test_an_operation_is_drawn_as_often_as_the_softmax_says_at_any_temperature(temperature):
    relaxation = GumbelSoftmax(True, temperature, temperature)
    counts = drawn(relaxation, ALPHA[0].float(), DRAWS).round().sum(dim=0)
    expected = DRAWS * ALPHA[0].softmax(dim=0)
    assert ((counts - expected).square() / expected).sum() < CHI_SQUARE_3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
def test_the_gradient_of_a_hard_draw_is_that_of_the_soft_weights(temperature):
    hard, soft = (GumbelSoftmax(hard, temperature, temperature) for hard in (True, False))
    assert torch.equal(gradient(hard, "sample", ALPHA), gradient(soft, "sample", ALPHA))


def test_a_hard_draw_is_one_hot_where_the_soft_weights_are_largest():
    hard, soft = drawn(HARD, ALPHA, 1000), drawn(SOFT, ALPHA, 1000)
    assert ((hard != 0).sum(dim=-1) == 1).all()
    torch.testing.assert_close(hard.amax(dim=-1), torch.ones(1000, 3, dtype=torch.float64))
    assert torch.equal(hard.argmax(dim=-1), soft.argmax(dim=-1))
    assert not torch.equal(hard, drawn(HARD, ALPHA, 1000, seed=1))


def test_a_soft_draw_follows_the_formula():
    temperature = 0.7
    torch.manual_seed(0)
    noise = -torch.empty_like(ALPHA).exponential_().log()
    torch.manual_seed(0)
    weights = GumbelSoftmax(False, temperature, temperature).sample(ALPHA)
    unnormalised = ((ALPHA.softmax(dim=-1).log() + noise) / temperature).exp()
    torch.testing.assert_close(weights, unnormalised / unnormalised.sum(dim=-1, keepdim=True))


def test_the_temperature_goes_linearly_from_the_first_to_the_last():
    relaxation = GumbelSoftmax(False, first=10.0, last=0.1)
    temperatures = [relaxation.at(progress).temperature for progress in (0, 0.5, 1)]
    assert temperatures == pytest.approx([10.0, 5.05, 0.1])
    assert relaxation.at(0.9).at(0.5) == relaxation.at(0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hard": "yes"}, r"search\.relaxation\.hard must be true or false; got 'yes'\."),
        ({"first": 0}, r"search\.relaxation\.first must be a finite number above 0; got 0\."),
        ({"last": -1.0}, r"search\.relaxation\.last must be a finite number above 0; got -1\.0\."),
        ({"last": float("inf")}, r"search\.relaxation\.last must be a finite number above 0; got inf\."),
        ({"undrawn": "kept"}, r"search\.relaxation\.undrawn must be one of omitted, constant; got 'kept'\."),
    ],
    ids=["hard", "first", "last", "infinite", "undrawn"],
)
def test_impossible_options_are_refused(changes, message):
    options: dict[str, object] = {"hard": True, "first": 1.0, "last": 0.1}
    with pytest.raises(ValueError, match=f"^{message}$"):
        GumbelSoftmax(**{**options, **changes})


# Dirichlet


def test_the_concentration_is_elu_plus_1():
    concentration = Dirichlet.concentration(torch.tensor([2.0, 0.0, -1.0, MISSING]))
    assert concentration.tolist() == pytest.approx([3, 1, 0.36788, 0], rel=1e-4)


def test_the_moments_of_dirichlet_draws_are_the_closed_forms():
    draws = drawn(Dirichlet(), ALPHA, DRAWS)
    a = Dirichlet.concentration(ALPHA)
    total = a.sum(dim=1, keepdim=True)
    variance = a * (total - a) / (total**2 * (total + 1))
    error = 4 * (variance / DRAWS).sqrt()
    assert ((draws.mean(dim=0) - Dirichlet().mean(ALPHA)).abs() <= error).all()
    torch.testing.assert_close(draws.var(dim=0), variance, rtol=0.03, atol=1e-12)
    torch.testing.assert_close(Dirichlet().mean(ALPHA), a / total)


def test_the_gradient_of_dirichlet_draws_is_on_average_that_of_their_mean():
    average = gradient(Dirichlet(), "sample", ALPHA[0].expand(DRAWS, 4)).mean(dim=0)
    torch.testing.assert_close(average, gradient(Dirichlet(), "mean", ALPHA[0]), rtol=0, atol=0.015)
