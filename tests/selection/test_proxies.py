import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.selection.small_cells import leaves_no_trace, norms
from torch import Tensor, nn

from archselect import kernels
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.supernet import Supernet
from archselect.selection.proxies import PROXIES

CLASSES = 3
CANDIDATES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
EDGES = ((0, 1), (0, 2), (1, 2))

generator = torch.Generator().manual_seed(0)
IMAGES = torch.randn(5, 3, 8, 8, generator=generator, dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1, 1, 0])


def nasbench201() -> Supernet:
    """One cell of two nodes per stage; scales, shifts and statistics are as training leaves them."""
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (CANDIDATES,) * 3)
    torch.manual_seed(1)
    return trained(NASBench201Supernet({"cell": space}, channels=2, cells_per_stage=1, classes=CLASSES, alpha_scale=1))


def darts(*operations: str) -> Supernet:
    topology = CellTopology(2, 2, "concat", 2)
    cells = {name: CellSpace(name, topology, (operations,) * 5) for name in ("normal", "reduction")}
    torch.manual_seed(1)
    return trained(DartsSupernet(cells, channels=2, layers=3, classes=CLASSES, alpha_scale=1))


def trained(supernet: Supernet) -> Supernet:
    with torch.no_grad():
        for norm in norms(supernet):
            norm.running_mean.normal_()  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            if norm.affine:
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_()
    return supernet.double()


def proxy(name: str, supernet: Supernet, weights: MixtureWeights | None = None) -> float:
    weights = supernet.mixture_weights() if weights is None else weights
    return PROXIES[name](supernet, weights, IMAGES.to(supernet.alphas[next(iter(supernet.alphas))].dtype), LABELS)


# By hand, on a supernet that is one product: z = 2 a w_0 + 3 b w_1, w_0 = w_1 = 1/2, and the logits are (0, z)


class Product(Supernet):
    """Two candidates that multiply the first pixel by a = 2 and by b = 3."""

    def __init__(self) -> None:
        candidates = (("skip_connect", "nor_conv_1x1"),)
        super().__init__({"cell": CellSpace("cell", CellTopology(1, 1, "last", None), candidates)}, alpha_scale=0.0)
        self.a, self.b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(-3.0))

    def forward(self, x: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        assert weights is not None
        z = (weights["cell"][0] * torch.stack([self.a, self.b]) * torch.tensor([1.0, -1.0])).sum() * x[:, 0, 0, 0]
        return torch.stack([torch.zeros_like(z), z], dim=1)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


@pytest.mark.parametrize("masked", [None, 0, 1], ids=["unmasked", "without a", "without b"])
def test_proxies_are_those_worked_out_by_hand(masked: int | None) -> None:
    # One image of ones that belongs to class 0: dL/dz = sigmoid(z), z = 1 + 1.5. The loss's gradients in a and b are
    # dL/dz / 2 and -dL/dz / 2, so |a * gradient| = 2/2 dL/dz and |b * gradient| = 3/2 dL/dz. In synflow b counts as 3,
    # so that R = 1 - 1.5, and |a dR/da| + |b dR/db| = 1 + 1.5.
    supernet = Product()
    weights = supernet.mixture_weights().detach()
    weights = weights if masked is None else weights.masked("cell", 0, masked)
    parts = [part for part, index in ((1.0, 0), (1.5, 1)) if index != masked]
    expected = {
        "snip": sum(parts) * sigmoid(sum(parts)),
        "grad_norm": 0.5 * len(parts) * sigmoid(sum(parts)),
        "synflow": sum(parts),
    }
    for name, value in expected.items():
        assert PROXIES[name](supernet, weights, torch.ones(1, 3, 1, 1), torch.zeros(1).long()) == pytest.approx(value)


# Against a plain network


class Plain:
    """The NAS-Bench-201 supernet as formulas in the parameters of every single operation, nothing stacked."""

    def __init__(self, supernet: Supernet, absolute: bool = False, norm: Callable[..., Tensor] | None = None) -> None:
        self.values: dict[str, Tensor] = {}
        for name, value in supernet.named_parameters():
            if not name.startswith("alphas"):
                edges = {"0": (0, 1), "1": (2,)}[name.split(".")[3]] if ".operations." in name else (None,)
                for edge, part in zip(edges, value.detach().chunk(len(edges)), strict=True):
                    leaf = part.abs() if absolute else part.clone()
                    self.values[name if edge is None else f"{name} of edge {edge}"] = leaf.requires_grad_()
        self.norm = norm or self._batch_norm

    def _batch_norm(self, x: Tensor, name: str | None) -> Tensor:
        affine = (self.values[f"{name}.weight"], self.values[f"{name}.bias"]) if name else (None, None)
        return F.batch_norm(x, None, None, *affine, training=True)

    def __call__(self, x: Tensor, weights: Tensor) -> Tensor:
        values, norm = self.values, self.norm
        x = norm(F.conv2d(x, values["stem.0.weight"], padding=1), "stem.1")
        for layer in range(5):
            block = f"blocks.{layer}"
            if layer % 2 == 0:
                x = self._cell(x, block, weights)
            else:
                out = norm(
                    F.conv2d(x.relu(), values[f"{block}.block.0.1.weight"], stride=2, padding=1), f"{block}.block.0.2"
                )
                out = norm(F.conv2d(out.relu(), values[f"{block}.block.1.1.weight"], padding=1), f"{block}.block.1.2")
                x = out + F.conv2d(F.avg_pool2d(x, 2), values[f"{block}.shortcut.1.weight"])
        x = norm(x, "last.0").relu().mean((2, 3))
        return F.linear(x, values["classifier.weight"], values["classifier.bias"])

    def _cell(self, x: Tensor, block: str, weights: Tensor) -> Tensor:
        states = [x, torch.zeros_like(x), torch.zeros_like(x)]
        for edge, (source, target) in enumerate(EDGES):
            terms = [torch.zeros_like(x), states[source]]
            for name, padding in (("nor_conv_1x1", 0), ("nor_conv_3x3", 1)):
                weight = self.values[f"{block}.operations.{source}.{name}.conv.weight of edge {edge}"]
                terms.append(self.norm(F.conv2d(states[source].relu(), weight, padding=padding), None))
            states[target] = states[target] + sum(w * term for w, term in zip(weights[edge], terms, strict=True))
        return states[2]

    def gradients(self, value: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Every parameter that `value` depends on, with its gradient."""
        found = torch.autograd.grad(value, list(self.values.values()), allow_unused=True)
        return ((w, g) for w, g in zip(self.values.values(), found, strict=True) if g is not None)


def plain_snip(supernet: Supernet, weights: Tensor) -> float:
    plain = Plain(supernet)
    gradients = plain.gradients(F.cross_entropy(plain(IMAGES, weights), LABELS))
    return sum(float((w * g).detach().abs().sum()) for w, g in gradients)


def plain_grad_norm(supernet: Supernet, weights: Tensor) -> float:
    plain = Plain(supernet)
    gradients = plain.gradients(F.cross_entropy(plain(IMAGES, weights), LABELS))
    return sum(float(g.square().sum().sqrt()) for _, g in gradients)


def plain_synflow(supernet: Supernet, weights: Tensor) -> float:
    plain = Plain(supernet, absolute=True, norm=lambda x, name: x)
    ones = torch.ones(1, 3, 8, 8, dtype=torch.float64)
    return sum(float((w * g).detach().abs().sum()) for w, g in plain.gradients(plain(ones, weights).sum()))


def plain_jacobian_covariance(supernet: Supernet, weights: Tensor) -> float:
    seen: list[tuple[Tensor, Tensor]] = []
    plain = Plain(supernet)
    batch_norm = plain.norm

    def remember(x: Tensor, name: str | None) -> Tensor:
        seen.append((x.detach().mean((0, 2, 3)), x.detach().var((0, 2, 3))))
        return batch_norm(x, name)

    def recall(x: Tensor, name: str | None) -> Tensor:
        affine = (plain.values[f"{name}.weight"], plain.values[f"{name}.bias"]) if name else (None, None)
        return F.batch_norm(x, *seen.pop(0), *affine)

    plain.norm = remember
    plain(IMAGES, weights)
    plain.norm = recall
    x = IMAGES.clone().requires_grad_()
    plain(x, weights).sum().backward()
    assert not seen
    assert x.grad is not None
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(x.grad.reshape(5, -1).numpy()))
    return -float(np.sum(np.log(eigenvalues + 1e-5) + 1 / (eigenvalues + 1e-5)))


PLAIN = {
    "snip": plain_snip,
    "grad_norm": plain_grad_norm,
    "synflow": plain_synflow,
    "jacobian_covariance": plain_jacobian_covariance,
}


def mixtures(supernet: Supernet) -> list[MixtureWeights]:
    """The whole mixture, one operation less on an edge that shares its source, and an edge less."""
    weights = supernet.mixture_weights().detach()
    name = next(iter(supernet.cell_spaces))
    return [weights, weights.masked(name, 1, len(weights[name][1]) - 1), weights.masked(name, 0)]


@pytest.mark.parametrize("on_cpu", [True, False], ids=["by_loops", "edges_together"])
@pytest.mark.parametrize("name", PROXIES)
def test_proxies_are_those_of_a_plain_network(name: str, on_cpu: bool) -> None:
    supernet = nasbench201()
    expected = [PLAIN[name](supernet, weights["cell"]) for weights in mixtures(supernet)]
    with kernels.enabled(on_cpu):
        found = [proxy(name, supernet, weights) for weights in mixtures(supernet)]
    assert found == pytest.approx(expected, rel=1e-8)
    assert len({round(value, 6) for value in expected}) == 3, "each mixture has a proxy of its own"


@pytest.mark.parametrize("name", PROXIES)
def test_the_loops_of_a_cpu_change_no_proxy_of_the_darts_family(name: str) -> None:
    supernet = darts("avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5")
    with kernels.enabled():
        by_loops = [proxy(name, supernet, weights) for weights in mixtures(supernet)]
    assert by_loops == pytest.approx([proxy(name, supernet, weights) for weights in mixtures(supernet)], rel=1e-7)


def test_each_image_has_a_jacobian_of_its_own_where_every_path_ends_in_a_normalisation() -> None:
    # Were the statistics of the batch differentiated too, the logits would sum to a constant, and the images' gradients
    # would be rounding noise: another in float32, where the eigenvalues would be others.
    supernet = darts("avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5")
    value = proxy("jacobian_covariance", supernet)
    assert proxy("jacobian_covariance", supernet.float()) == pytest.approx(value, rel=1e-3)


# What a proxy leaves alone, and what it does not see


@pytest.mark.parametrize("make", [nasbench201, lambda: darts("noise", "sep_conv_3x3")], ids=["nasbench201", "s4"])
@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_leaves_no_trace(name: str, make: Callable[[], Supernet]) -> None:
    supernet = make().eval()
    with leaves_no_trace(supernet):
        proxy(name, supernet)
    assert not IMAGES.requires_grad


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_reads_no_running_statistics_and_can_be_asked_for_without_gradients(name: str) -> None:
    supernet = nasbench201()
    value = proxy(name, supernet)
    for norm in norms(supernet):
        norm.running_mean.zero_()  # type: ignore[union-attr]
        norm.running_var.fill_(2)  # type: ignore[union-attr]
    with torch.no_grad():
        assert proxy(name, supernet.eval()) == value


def test_synflow_of_a_supernet_in_float32_is_computed_in_float64() -> None:
    supernet = nasbench201()
    for parameter in supernet.weight_parameters():
        parameter.data.mul_(1e8)  # the product of the fourteen layers leaves float32, which ends at 3e38
    value = proxy("synflow", supernet)
    assert value > 1e39
    assert proxy("synflow", supernet.float()) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("name", PROXIES)
def test_a_supernet_that_diverged_has_no_proxy(name: str) -> None:
    supernet = nasbench201()
    supernet.classifier.weight.data.fill_(torch.nan)  # type: ignore[union-attr]
    assert math.isnan(proxy(name, supernet))


def test_one_image_alone_correlates_with_nothing() -> None:
    supernet = nasbench201()
    with pytest.raises(ValueError, match=r"one in it\. Raise selection\.scoring\.batch_size"):
        PROXIES["jacobian_covariance"](supernet, supernet.mixture_weights(), IMAGES[:1], LABELS[:1])
