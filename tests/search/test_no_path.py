"""Steps in which every path from the images to the logits leads through `none`: their loss depends on no `alpha`."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tests.search.small_search import (
    CLASSES,
    adversarial,
    bilevel,
    decide,
    matching,
    method,
    parameters_of,
    random_smoothing,
    resident,
    sgas,
    skip_limit,
    trainer,
    unrolled,
)

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.relaxation import SupernetOptions
from archselect.models.supernet.supernet import Supernet
from archselect.search import (
    L2,
    Curvature,
    Dirichlet,
    DirichletKL,
    Entropy,
    FirstOrder,
    GumbelSoftmax,
    SearchModule,
    Unrolled,
    ZeroOne,
)
from archselect.tasks import Classification

PARTS: Mapping[str, Mapping[str, Any]] = {
    "first order": {},
    "second order": {"architecture_gradient": unrolled()},
    "an adversarial perturbation": {"smoothing": adversarial(steps=2)},
    "a random perturbation": {"smoothing": random_smoothing()},
    "one drawn operation": {"relaxation": GumbelSoftmax(hard=True, first=10.0, last=0.1)},
    "a drawn mixture": {"relaxation": Dirichlet(), "regularizers": {"kl": DirichletKL(1e-3)}},
    "regularisers": {"regularizers": {"l2": L2(0.1), "entropy": Entropy(0.1), "zero_one": ZeroOne(1.0)}},
    "frozen operations": {"freezing": matching(interval=1)},
    "curvature": {"stopping": {"curvature": Curvature(window=1, batch_size=4)}},
    "a limit of skips": {"stopping": {"skips": skip_limit()}, "skip_cap": 1},
    "recomputed cells": {"recompute": True},
    "edges with weights": {"edge_normalization": "share"},
    "partial channels": {"partial_channels": 2},
    "auxiliary skips": {"auxiliary_skip": True},
    "greedy decisions": {"greedy": sgas(first=0.0, every=0.5)},
}


def without_a_path(variant: SupernetOptions = SupernetOptions()) -> Supernet:  # noqa: B008
    """Three edges, of which the two into the last node are decided to be `none`."""
    candidates = ("none", "skip_connect", "nor_conv_1x1")
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (candidates,) * 3)
    torch.manual_seed(1)
    supernet = NASBench201Supernet({"cell": space}, 2, 1, CLASSES, alpha_scale=0.5, variant=variant)
    decide(supernet, "cell", {1: 0, 2: 0})
    return supernet


@pytest.mark.parametrize("gradient", [FirstOrder(), unrolled()], ids=["first order", "second order"])
def test_a_step_has_gradients_of_zero(gradient: FirstOrder | Unrolled) -> None:
    supernet = without_a_path()
    optimizer = torch.optim.SGD(supernet.weight_parameters(), lr=0.1, momentum=0.9)
    (found,) = gradient(supernet, next(iter(bilevel())), Classification(), optimizer)
    assert found.tolist() == torch.zeros(3, 3).tolist()


@pytest.mark.parametrize("name", PARTS)
def test_a_search_goes_on_with(name: str) -> None:
    settings = method(epochs=1, **PARTS[name])
    supernet = without_a_path(settings.variant)
    before = supernet.classifier.bias.detach().clone()  # type: ignore[union-attr,operator]
    trainer(1).fit(
        SearchModule(supernet, settings, Classification(), CLASSES, (0, "search")), bilevel(), resident(8, 4)
    )
    assert all(value.isfinite().all() for _, value in parameters_of(supernet))
    assert not torch.equal(supernet.classifier.bias, before)  # type: ignore[arg-type]
