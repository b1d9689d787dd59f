"""The costs of a space against those that are counted of each network, and the mean over a mixture against sums."""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from tests.selection.small_cells import CONFIGS, WithoutNetwork, apply, cell, undecided

from archselect.costs.count import count
from archselect.costs.expected import CostModel, Skeleton, counted_models
from archselect.genotype import Genotype
from archselect.models.cell_space import CellTopology
from archselect.models.supernet.supernet import Supernet
from archselect.search_spaces import DartsSpace
from archselect.selection import OperationDecision, Random, TopologyDecision

SIZES: Mapping[str, Mapping[str, int]] = {
    "darts": {"channels": 4, "layers": 3},
    "s1": {"channels": 4, "layers": 3},
    "s4": {"channels": 6, "layers": 3},
    "s2": {"channels": 8, "layers": 4},
    "nasbench201": {"channels": 4, "cells_per_stage": 1},
}
every_space = pytest.mark.parametrize("name", SIZES)


def skeleton_of(name: str) -> Skeleton:
    space: Any = instantiate(OmegaConf.load(CONFIGS / f"{name}.yaml"), _convert_="all")
    return Skeleton.of(space, image_size=16, outputs=7, in_channels=1, **SIZES[name])


def at_random(skeleton: Skeleton, count: int) -> Iterator[Supernet]:
    """Yield supernets in which everything has been decided at random."""
    for seed in range(count):
        supernet = WithoutNetwork(skeleton.space.cells)
        (step,) = Random().steps(skeleton.space.cells)
        for decision in Random().decide(step, supernet, None, seed):  # type: ignore[arg-type]
            apply(decision, supernet)
        yield supernet


def counted(skeleton: Skeleton, genotype: Genotype) -> dict[str, int]:
    with torch.device("meta"):
        costs = count(skeleton.network(genotype), skeleton.image_size, in_channels=1)
    return {"macs": costs.macs, "params": costs.params}


@every_space
def test_an_architecture_costs_what_is_counted_of_its_network_and_so_does_its_one_hot_mixture(name: str) -> None:
    skeleton, costs = skeleton_of(name), set[tuple[int, ...]]()
    models = counted_models(skeleton)
    for supernet in at_random(skeleton, 3):
        found = counted(skeleton, supernet.genotype())
        assert {measure: model.cost(supernet.genotype()) for measure, model in models.items()} == found
        weights = supernet.mixture_weights()
        assert {n: int(model.expected(weights, supernet.decisions)) for n, model in models.items()} == found
        costs.add(tuple(found.values()))
    assert len(costs) > 1


def test_the_sizes_are_those_of_the_supernet_where_none_are_given() -> None:
    space = DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=4, layers=3)
    assert Skeleton.of(space, 8, 10).description["network"] == {"channels": 4, "layers": 3}
    assert Skeleton.of(space, 8, 10).example().parameter_count() == 8822


WIDE = cell("wide", ("skip_connect", "sep_conv_3x3"), CellTopology(2, 2, "concat", 2))  # node 3 drops one of 2, 3, 4
MODEL = CostModel({"wide": WIDE}, 1000, {"wide": ((1, 2), (3, 5), (7, 11), (13, 17), (19, 23))})


def test_the_mean_is_that_over_all_architectures_where_inputs_are_kept_alike() -> None:
    weights = [[0.5, 0.5], [0.25, 0.75], [0.9, 0.1], [0.3, 0.7], [0.6, 0.4]]
    supernet = undecided(WIDE, weights={"wide": weights})
    expected = 0.0
    for operations in product(range(2), repeat=5):
        chance = torch.tensor([weights[edge][kept] for edge, kept in enumerate(operations)]).prod()
        added = [MODEL.operations["wide"][edge][kept] for edge, kept in enumerate(operations)]
        for dropped in (2, 3, 4):
            expected += float(chance) / 3 * (1000 + sum(added) - added[dropped])
    mean = MODEL.expected(supernet.mixture_weights().detach(), supernet.decisions)
    assert float(mean) == pytest.approx(expected, rel=1e-6)


def test_decisions_count_as_far_as_they_go() -> None:
    supernet = undecided(WIDE)
    for decision in (OperationDecision("wide", 0, 1), OperationDecision("wide", 2, 0), OperationDecision("wide", 3, 1)):
        apply(decision, supernet)
    half_decided = 1000 + 2 + 4 + 2 / 3 * (7 + 17 + 21)
    assert float(MODEL.expected(supernet.mixture_weights(), supernet.decisions)) == pytest.approx(half_decided)
    apply(TopologyDecision("wide", 3, (2, 4)), supernet)
    assert float(MODEL.expected(supernet.mixture_weights(), supernet.decisions)) == 1000 + 2 + 4 + 7 + 21


def test_the_dearest_architecture_keeps_the_dearest_inputs_and_the_cheapest_the_cheapest() -> None:
    assert MODEL.highest == 1000 + 2 + 5 + 17 + 23
    assert MODEL.lowest == 1000 + 1 + 3 + 7 + 13


def test_the_gradient_is_that_of_differences() -> None:
    supernet = undecided(WIDE)
    alpha = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def mean(alpha: torch.Tensor) -> torch.Tensor:
        return MODEL.expected({"wide": alpha.softmax(dim=1)}, supernet.decisions)

    assert torch.autograd.gradcheck(mean, alpha)
    (gradient,) = torch.autograd.grad(mean(alpha), alpha)
    # By hand: d/d alpha_0 of (1 - s) a + s b with s = sigmoid(alpha_1 - alpha_0) is (a - b) s (1 - s).
    share = (alpha[:, 1] - alpha[:, 0]).sigmoid()
    kept = torch.tensor([1, 1, 2 / 3, 2 / 3, 2 / 3])
    torch.testing.assert_close(gradient[:, 0], kept * torch.tensor([-1, -2, -4, -4, -4]) * share * (1 - share))
