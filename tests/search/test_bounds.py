"""What `alpha` learns does not depend on what a framework takes for the derivative of a clamp at its bound.

PyTorch 2.13 gives `clamp_max` the gradient 1 at its bound, 2.14.1 gives it 0; `alpha` begins at 0 where
`search_space.alpha_scale=0`.
"""

import re
from collections.abc import Iterator

import pytest
import torch
from tests.costs.test_expected import MODEL, WIDE
from tests.search.test_golden_steps import METHODS, s2_supernet, search_method
from tests.selection.small_cells import apply, undecided
from torch import Tensor

from archselect.models.supernet.relaxation import Softmax
from archselect.search import L2, DirichletKL, Entropy, SearchMethod, ZeroOne
from archselect.search.regularizers import Regularizer
from archselect.selection import TopologyDecision

KINKED = re.compile(
    r"(Clamp|Relu|Elu|Hardtanh|Threshold|Abs|Sgn|Sign|Maximum|Minimum|Fmax|Fmin|Max|Min|Amax|Amin|Cummax|Cummin|Sort|Topk"
    r"|Median|Norm|LinalgVectorNorm|NanToNum)\w*Backward"
)
"""Operators whose derivative somewhere is a convention of the framework."""


def operators(value: Tensor) -> Iterator[str]:
    """Yield the names of all operators that autograd goes back through."""
    left, seen = [value.grad_fn], set()
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node.name()
            left += [before for before, _ in node.next_functions]


def of_mixtures(method: SearchMethod) -> Tensor:
    """Return a scalar of all that a step of `alpha` makes of it before the network is evaluated."""
    supernet = s2_supernet(method)
    parts = [supernet.mixture_weights(), supernet.sampled_weights()]
    total = torch.stack([row.sum() for part in parts for row in (*part.values(), *part.edges.values())]).sum()
    for regularizer in method.regularizers.values():
        for name in supernet.cell_spaces:
            total = total + regularizer(supernet.masked_alpha(name), supernet.relaxed(name))
    return total


@pytest.mark.parametrize("name", [name for name in METHODS if name != "fixed_alpha"])
def test_alpha_is_read_by_smooth_operators_only(name: str) -> None:
    names = list(operators(of_mixtures(search_method(name))))
    assert len(names) > 5
    assert [found for found in names if KINKED.match(found)] == []


@pytest.mark.parametrize("regularizer", [L2(1.0), Entropy(1.0), ZeroOne(1.0), DirichletKL(1.0)])
def test_so_does_every_regulariser(regularizer: Regularizer) -> None:
    alpha = torch.zeros(2, 3, requires_grad=True)
    names = list(operators(regularizer(alpha, Softmax().mean(alpha))))
    assert [found for found in names if KINKED.match(found)] == []


def test_so_does_the_mean_cost_of_a_mixture_with_a_dropped_edge() -> None:
    supernet = undecided(WIDE)
    apply(TopologyDecision("wide", 3, (2, 4)), supernet)
    mean = MODEL.expected(supernet.mixture_weights(), supernet.decisions)
    assert [found for found in operators(mean) if KINKED.match(found)] == []
    (gradient,) = torch.autograd.grad(mean, supernet.alphas["wide"])
    assert gradient.isfinite().all() and gradient[3].eq(0).all() and gradient[4].ne(0).all()


def test_the_operators_of_clamps_and_their_like_are_recognised() -> None:
    x = torch.ones(3, requires_grad=True)
    kinked = [x.clamp(0, 1), x.clamp_max(0), x.relu(), x.abs(), x.max(), x.amax(), x.sort().values, x.norm()]
    kinked += [torch.maximum(x, x), torch.nn.functional.elu(x), torch.nn.functional.hardtanh(x)]
    assert all(KINKED.match(next(operators(value))) for value in kinked)
    assert not any(KINKED.match(name) for name in operators(x.softmax(0).masked_fill(x > 0, 0).log().sum()))


@pytest.mark.parametrize("share", [0.0, 1e-45, 1e-38, 2.3509887e-38])
def test_the_entropy_of_an_operation_of_nearly_no_share_has_a_finite_gradient(share: float) -> None:
    weights = torch.tensor([[1.0, share]], requires_grad=True)
    (gradient,) = torch.autograd.grad(Entropy(1.0)(torch.zeros(1, 2), weights), weights)
    assert gradient.isfinite().all()
    assert gradient[0, 0] == pytest.approx(0, abs=1e-30)
    if share:
        assert gradient[0, 1] == pytest.approx(-torch.tensor(share).log().item(), rel=1e-3)
