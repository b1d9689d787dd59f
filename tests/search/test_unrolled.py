from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from tests.search.small_search import cell_supernet, darts_supernet, method, parameters_of, resident, unrolled
from torch import Tensor, nn

from archselect import kernels
from archselect.data.loader import BilevelBatch
from archselect.models.supernet.supernet import Supernet
from archselect.search import FirstOrder, Unrolled, alpha_gradient
from archselect.search.alpha_gradient import next_step, unrolled_gradient
from archselect.tasks import Classification
from archselect.training.step import mean_loss

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "weight decay": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "dampening": {"momentum": 0.9, "weight_decay": 0.1, "dampening": 0.3},
    "nesterov": {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
}
every_optimizer = pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=OPTIMIZERS)
first_and_later = pytest.mark.parametrize("steps_before", [0, 1, 3])


def a_batch(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    images, labels = next(iter(resident(6, 6, (seed, "batch"))))
    return images.contiguous().to(dtype), labels


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained_a_little(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor], steps: int) -> None:
    """Fill the optimizer's memory."""
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    optimizer.zero_grad()


# The step


@every_optimizer
@first_and_later
def test_the_step_is_the_one_that_sgd_makes(options: dict[str, Any], steps_before: int) -> None:
    weights = [nn.Parameter(random(3, seed=1)), nn.Parameter(random(2, 2, seed=2))]
    optimizer = torch.optim.SGD(weights, lr=0.05, **options)

    def loss() -> Tensor:
        return sum((weight**4).sum() for weight in weights)  # type: ignore[return-value]

    trained_a_little(optimizer, loss, steps_before)
    gradients = torch.autograd.grad(loss(), weights)
    rate, directions, _ = next_step(optimizer, weights, gradients)
    announced = [weight.detach() - rate * v for weight, v in zip(weights, directions, strict=True)]
    trained_a_little(optimizer, loss, 1)
    for weight, expected in zip(weights, announced, strict=True):
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-14, atol=1e-15)


def test_a_method_that_would_unroll_another_optimizer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unrolls a step of SGD, but search\.weight_optimizer is Adam"):
        method(architecture_gradient=unrolled(), weight_optimizer=partial(torch.optim.Adam, lr=1e-3))


# A quadratic problem: L_train = |w - A a|^2 / 2, L_val = |w - b|^2 / 2 + <c, a>


@every_optimizer
@first_and_later
@pytest.mark.parametrize("length", [1e-3, 10.0])
def test_on_a_quadratic_problem_it_is_the_hypergradient(
    options: dict[str, Any], steps_before: int, length: float
) -> None:
    matrix, target, slope = random(4, 3, seed=1), random(4, seed=2), random(3, seed=3)
    weight, alpha = nn.Parameter(random(4, seed=4)), nn.Parameter(random(3, seed=5))
    optimizer = torch.optim.SGD([weight], lr=0.05, **options)

    def train_loss() -> Tensor:
        return (weight - matrix @ alpha).square().sum() / 2

    def val_loss() -> Tensor:
        return (weight - target).square().sum() / 2 + slope @ alpha

    trained_a_little(optimizer, train_loss, steps_before)
    alpha.grad = None
    (gradient,) = unrolled_gradient(train_loss, val_loss, [weight], [alpha], optimizer, length)
    trained_a_little(optimizer, train_loss, 1)
    # A step moves w by -0.05 k (w - A a) and by terms without a, so d w' / d a = 0.05 k A.
    momentum, kept = options.get("momentum", 0), 1 - options.get("dampening", 0) if steps_before else 1
    k = 1 + momentum * kept if options.get("nesterov") else kept
    torch.testing.assert_close(gradient, 0.05 * k * matrix.T @ (weight.detach() - target) + slope)


# Supernets


def by_double_backward(supernet: Supernet, batch: BilevelBatch, optimizer: torch.optim.SGD) -> list[Tensor]:
    """The exact derivative of the validation loss at the weights of SGD's next step."""
    weights = supernet.weight_parameters()
    names = {id(weight): name for name, weight in supernet.named_parameters()}
    group = optimizer.param_groups[0]
    images, labels = batch.weights
    loss = F.cross_entropy(supernet(images), labels)
    stepped = {}
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, create_graph=True), strict=True):
        buffer = optimizer.state[weight].get("momentum_buffer", torch.zeros_like(weight))
        direction = group["momentum"] * buffer + gradient + group["weight_decay"] * weight
        stepped[names[id(weight)]] = weight - group["lr"] * direction
    images, labels = batch.architecture
    logits = torch.func.functional_call(supernet, stepped, (images,))
    return list(torch.autograd.grad(F.cross_entropy(logits, labels), supernet.architecture_parameters()))


@pytest.fixture(params=["cell", "darts"])
def supernet(request: pytest.FixtureRequest) -> Iterator[Supernet]:
    made = cell_supernet() if request.param == "cell" else darts_supernet("skip_connect", "sep_conv_3x3")
    yield made.double()


def a_step(supernet: Supernet) -> tuple[BilevelBatch, torch.optim.SGD]:
    """A step after which the weights' optimizer has a memory."""
    optimizer = torch.optim.SGD(supernet.weight_parameters(), lr=0.5, momentum=0.9, weight_decay=3e-4)
    dtype = supernet.weight_parameters()[0].dtype
    images, labels = a_batch(3, dtype)
    trained_a_little(optimizer, lambda: F.cross_entropy(supernet(images), labels), 2)
    supernet.zero_grad()
    return BilevelBatch(a_batch(1, dtype), a_batch(2, dtype)), optimizer


def test_it_is_the_exact_gradient_through_the_step_of_the_weights(supernet: Supernet) -> None:
    batch, optimizer = a_step(supernet)
    exact = by_double_backward(supernet, batch, optimizer)
    found = Unrolled(1e-5)(supernet, batch, Classification(), optimizer)
    first_order = FirstOrder()(supernet, batch, Classification(), optimizer)
    optimizer.param_groups[0]["lr"] = 0.0
    at_rest = Unrolled(1e-5)(supernet, batch, Classification(), optimizer)
    for one, expected, other, still in zip(found, exact, first_order, at_rest, strict=True):
        assert (one - expected).norm() < 1e-4 * expected.norm()
        assert (other - expected).norm() > 1e-2 * expected.norm(), "the second order matters here"
        torch.testing.assert_close(still, other, rtol=1e-12, atol=1e-14)


def test_the_compiled_loops_give_the_same(supernet: Supernet) -> None:
    batch, optimizer = a_step(supernet.float())
    with kernels.enabled():
        by_loops = unrolled()(supernet, batch, Classification(), optimizer)
    for found, expected in zip(by_loops, unrolled()(supernet, batch, Classification(), optimizer), strict=True):
        assert (found - expected).norm() < 1e-3 * expected.norm()


@pytest.mark.parametrize("fails", [False, True])
def test_weights_and_statistics_end_bit_for_bit_as_they_were(
    fails: bool, supernet: Supernet, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, optimizer = a_step(supernet)
    before = {name: value.clone() for name, value in parameters_of(supernet)}
    if fails:  # where a loss is evaluated at moved weights for the first time
        losses = mock.Mock(side_effect=[mean_loss, RuntimeError("out of memory")])
        monkeypatch.setattr(alpha_gradient, "mean_loss", lambda *given: losses()(*given))
    with pytest.raises(RuntimeError, match="out of memory") if fails else nullcontext():
        unrolled()(supernet, batch, Classification(), optimizer)
    for name, value in parameters_of(supernet):
        assert name.endswith("num_batches_tracked") or torch.equal(value, before[name]), name
    assert all(parameter.grad is None and parameter.requires_grad for parameter in supernet.parameters())
