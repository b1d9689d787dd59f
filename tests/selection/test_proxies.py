import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.reference.correspondence import plain_counterpart
from tests.selection.small_cells import leaves_no_trace, norms
from torch import Tensor, nn

from archselect import kernels
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.search_spaces import DartsSpace, NASBench201Space, SearchSpace
from archselect.selection.proxies import PROXIES
from archselect.tasks import Classification

CLASSES = 3
IMAGES = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1, 1, 0])

SMALL: Any = {"channels": 2, "alpha_scale": 1}
OF_DARTS = ["avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5"]
OF_NASBENCH201 = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3"]
SPACES: dict[str, SearchSpace] = {
    "darts": DartsSpace("darts", OF_DARTS, layers=3, **SMALL),
    "s4": DartsSpace("s4", ["noise", "sep_conv_3x3"], layers=3, **SMALL),
    "nasbench201": NASBench201Space("nasbench201", OF_NASBENCH201, cells_per_stage=1, **SMALL),
}
every_proxy = pytest.mark.parametrize("name", PROXIES)


def supernet_of(space: str) -> Supernet:
    """Scales, shifts and statistics are as training leaves them."""
    torch.manual_seed(1)
    supernet = SPACES[space].supernet(8, CLASSES)
    with torch.no_grad():
        for norm in norms(supernet):
            norm.running_mean.normal_()  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            if norm.affine:
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_()
    return supernet.double()


def proxy(name: str, supernet: Supernet, weights: MixtureWeights | None = None) -> float:
    images = IMAGES.to(next(iter(supernet.alphas.values())).dtype)
    return PROXIES[name](supernet, weights or supernet.mixture_weights(), images, LABELS, Classification())


# Against a plain network, in which every operation of every edge has parameters of its own


def gradients(plain: nn.Module, value: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Every parameter that `value` depends on, with its gradient."""
    parameters = list(plain.parameters())
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return ((w.detach(), g) for w, g in zip(parameters, found, strict=True) if g is not None)


def plain_snip(plain: nn.Module, weights: MixtureWeights) -> float:
    loss = F.cross_entropy(plain(IMAGES, weights), LABELS)
    return sum(float((w * g).abs().sum()) for w, g in gradients(plain, loss))


def plain_grad_norm(plain: nn.Module, weights: MixtureWeights) -> float:
    loss = F.cross_entropy(plain(IMAGES, weights), LABELS)
    return sum(float(g.square().sum().sqrt()) for _, g in gradients(plain, loss))


def plain_synflow(plain: nn.Module, weights: MixtureWeights) -> float:
    for module in list(plain.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    for parameter in plain.parameters():
        parameter.data.abs_()
    total = plain(torch.ones(1, 3, 8, 8, dtype=torch.float64), weights).sum()
    return sum(float((w * g).abs().sum()) for w, g in gradients(plain, total))


def plain_jacobian_covariance(plain: nn.Module, weights: MixtureWeights) -> float:
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    plain(IMAGES, weights)
    x = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(plain.eval()(x, weights).sum(), x)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(gradient.reshape(5, -1).numpy()))
    return -float(np.sum(np.log(eigenvalues + 1e-5) + 1 / (eigenvalues + 1e-5)))


PLAIN: dict[str, Callable[[nn.Module, MixtureWeights], float]] = {
    "snip": plain_snip,
    "grad_norm": plain_grad_norm,
    "synflow": plain_synflow,
    "jacobian_covariance": plain_jacobian_covariance,
}


@pytest.mark.parametrize("on_cpu", [True, False], ids=["by_loops", "edges_together"])
@pytest.mark.parametrize("space", ["darts", "nasbench201"])
@every_proxy
def test_proxies_are_those_of_a_plain_network(name: str, space: str, on_cpu: bool) -> None:
    supernet = supernet_of(space)
    cell, whole = next(iter(supernet.cell_spaces)), supernet.mixture_weights().detach()
    mixtures = [whole, whole.masked(cell, 1, 3), whole.masked(cell, 0)]  # an operation less, an edge less
    expected = [PLAIN[name](plain_counterpart(SPACES[space], supernet)[0], weights) for weights in mixtures]
    with kernels.enabled(on_cpu):
        assert [proxy(name, supernet, weights) for weights in mixtures] == pytest.approx(expected, rel=1e-7)
    assert len({round(value, 6) for value in expected}) == 3, "each mixture has a proxy of its own"


def test_each_image_has_a_jacobian_of_its_own_where_every_path_ends_in_a_normalisation() -> None:
    # Were the statistics of the batch differentiated too, the logits would sum to a constant, and the images' gradients
    # would be rounding noise: another in float32, where the eigenvalues would be others.
    supernet = supernet_of("darts")
    value = proxy("jacobian_covariance", supernet)
    assert proxy("jacobian_covariance", supernet.float()) == pytest.approx(value, rel=1e-3)


# What a proxy leaves alone, and what it does not see


@pytest.mark.parametrize("space", ["nasbench201", "s4"])
@every_proxy
def test_a_proxy_leaves_no_trace_and_every_call_sees_the_same_noise(name: str, space: str) -> None:
    supernet, values = supernet_of(space).eval(), []
    for random_state in (1, 2):
        torch.manual_seed(random_state)
        with leaves_no_trace(supernet):
            values.append(proxy(name, supernet))
    assert values[0] == values[1]
    assert not IMAGES.requires_grad


@every_proxy
def test_a_proxy_reads_no_running_statistics_and_can_be_asked_for_without_gradients(name: str) -> None:
    supernet = supernet_of("nasbench201")
    value = proxy(name, supernet)
    for norm in norms(supernet):
        norm.running_mean.zero_()  # type: ignore[union-attr]
        norm.running_var.fill_(2)  # type: ignore[union-attr]
    with torch.no_grad():
        assert proxy(name, supernet.eval()) == value


def test_synflow_of_a_supernet_in_float32_is_computed_in_float64() -> None:
    supernet = supernet_of("nasbench201")
    for parameter in supernet.weight_parameters():
        parameter.data.mul_(1e8)  # the product of the layers leaves float32, which ends at 3e38
    value = proxy("synflow", supernet)
    assert value > 1e39
    assert proxy("synflow", supernet.float()) == pytest.approx(value, rel=1e-4)


@every_proxy
def test_a_supernet_that_diverged_has_no_proxy(name: str) -> None:
    supernet = supernet_of("nasbench201")
    supernet.classifier.weight.data.fill_(torch.nan)  # type: ignore[union-attr]
    assert math.isnan(proxy(name, supernet))


def test_one_image_alone_correlates_with_nothing() -> None:
    supernet = supernet_of("nasbench201")
    with pytest.raises(ValueError, match=r"one in it\. Raise selection\.scoring\.batch_size"):
        PROXIES["jacobian_covariance"](supernet, supernet.mixture_weights(), IMAGES[:1], LABELS[:1], Classification())
