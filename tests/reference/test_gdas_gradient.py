"""The gradient that GDAS gives alpha in each family, against its formula written out on the plain supernets.

In NAS-Bench-201 the authors' edge is `sum_o w_o * (op_o(x) if o was drawn else 1)` with hard weights `w`, whose values
are 1 and 0 and whose gradients are those of the soft ones (AutoDL-Projects, `NAS201SearchCell.forward_gdas`). In the
DARTS space it is `w_o * op_o(x)` of the drawn operation alone (`NASNetSearchCell.forward_gdas`).
"""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.reference.correspondence import plain_counterpart

from archselect.models.supernet.relaxation import GumbelSoftmax, SupernetOptions

CONFIGS = Path(__file__).parents[2] / "configs" / "search_space"
CLASSES, TEMPERATURE, SEED = 5, 1.0, 4
SIZES = {"nasbench201": {"cells_per_stage": 1}, "s3": {"layers": 3}}


def made(name, undrawn, dtype=torch.float64, **variant):
    """Return a supernet of the space whose alpha is far from uniform, and its plain counterpart."""
    torch.manual_seed(0)
    space = instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), channels=4, alpha_scale=1.0, **SIZES[name])
    relaxation = GumbelSoftmax(True, TEMPERATURE, TEMPERATURE, undrawn=undrawn)
    supernet = space.supernet(8, CLASSES, SupernetOptions(relaxation, **variant)).to(dtype)
    return supernet, plain_counterpart(space, supernet)[0] if not variant else None


def images(dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(8, 3, 8, 8, generator=generator).to(dtype), torch.randint(CLASSES, (8,), generator=generator)


def gradients(supernet):
    """Return the gradient in every alpha of a loss under a draw."""
    x, labels = images()
    torch.manual_seed(SEED)
    loss = F.cross_entropy(supernet(x, supernet.sampled_weights()), labels)
    return torch.autograd.grad(loss, supernet.architecture_parameters(), materialize_grads=True)


def hard_weights(supernet):
    """Return alphas as leaves and, of the same draw as the supernet's, the weights of the authors' formula."""
    torch.manual_seed(SEED)
    alphas, weights = {}, {}
    for name, alpha in supernet.alphas.items():
        alphas[name] = alpha.detach().clone().requires_grad_()
        noise = -torch.empty_like(alpha).exponential_().log()
        soft = ((alphas[name].log_softmax(dim=1) + noise) / TEMPERATURE).softmax(dim=1)
        drawn = F.one_hot(soft.argmax(dim=1), soft.shape[1])
        weights[name] = drawn - soft.detach() + soft
    return alphas, weights


def authors_cell(cell, inputs, weights, constants):
    """Return the nodes of a plain cell by the authors' formula."""
    states, edge = list(inputs), 0
    for _ in range(max(node for _, node in cell.edges) + 1 - cell.inputs):
        arriving = []
        for state in states:
            drawn = int(weights[edge].argmax())
            output = weights[edge, drawn] * cell.operations[edge][drawn](state)
            if constants:
                output = output + sum(weights[edge, other] for other in range(weights.shape[1]) if other != drawn)
            arriving.append(output)
            edge += 1
        states.append(sum(arriving))
    return states[cell.inputs :]


def authors_gradients(supernet, plain, constants):
    alphas, weights = hard_weights(supernet)
    for cell in plain.cells:
        cell.forward = lambda inputs, own, cell=cell: authors_cell(cell, inputs, own, constants)
    x, labels = images()
    loss = F.cross_entropy(plain(x, weights), labels)
    return torch.autograd.grad(loss, list(alphas.values()), materialize_grads=True)


@pytest.mark.parametrize(("undrawn", "constants"), [("constant", True), ("omitted", False)])
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.usefixtures("evaluation")
def test_the_gradient_is_that_of_the_formula(name, undrawn, constants):
    supernet, plain = made(name, undrawn)
    for got, expected in zip(gradients(supernet), authors_gradients(supernet, plain, constants), strict=True):
        assert expected.any()
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("evaluation")
def test_the_constants_change_no_output():
    (constant, _), (omitted, _) = (made("nasbench201", undrawn, torch.float32) for undrawn in ("constant", "omitted"))
    logits = []
    for supernet in (constant, omitted):
        torch.manual_seed(SEED)
        logits.append(supernet(images(torch.float32)[0], supernet.sampled_weights()))
    assert torch.equal(*logits)


def test_the_step_of_the_weights_adds_nothing():
    supernet, _ = made("nasbench201", "constant")
    weights = supernet.sampled_weights()
    assert weights.undrawn["cell"].tolist() == [0] * 6
    assert not weights.detach().undrawn


@pytest.mark.parametrize("recompute", [True, False])
def test_edge_normalisation_weighs_the_constants_too(recompute):
    """An edge's output is its weight times what its operations and constants give: by finite differences in beta."""
    supernet, _ = made("nasbench201", "constant", edge_normalization="share")
    supernet.recompute = recompute
    torch.manual_seed(SEED)
    weights = supernet.sampled_weights()
    weights = weights.replaced(undrawn={"cell": weights.undrawn["cell"] + 0.3})
    x, labels = images()
    loss = F.cross_entropy(supernet(x, weights), labels)
    in_edges = torch.autograd.grad(loss, weights.edges["cell"])[0]
    step = torch.zeros(6, dtype=torch.float64)
    step[2] = 1e-6  # small enough to carry no activation over the kink of a ReLU
    sides = []
    for sign in (1, -1):
        moved = weights.detach().replaced(undrawn={"cell": weights.undrawn["cell"].detach()})
        moved.edges = {"cell": weights.edges["cell"].detach() + sign * step}
        sides.append(F.cross_entropy(supernet(x, moved), labels).item())
    assert (sides[0] - sides[1]) / 2e-6 == pytest.approx(float(in_edges[2]), rel=1e-4)
