import copy
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from tests.search.small_search import (
    Memory,
    bilevel,
    cell_supernet,
    darts_supernet,
    matching,
    module,
    trainer,
)
from torch import Tensor

from archselect.models.supernet.supernet import Supernet
from archselect.search import GradientMatching
from archselect.search.oles import FrozenOperations


def names(supernet: Supernet) -> list[str]:
    by_id = {id(weight): name for name, weight in supernet.named_parameters()}
    return [by_id[id(weight)] for weight in supernet.weight_parameters()]


def made_up(supernet: Supernet, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(weight.shape, generator=generator) for weight in supernet.weight_parameters()]


def separable() -> Supernet:
    """Every operation has four tensors, each with the weights of all edges out of a state."""
    return cell_supernet("sep_conv_3x3", "skip_connect")


def cosines(supernet: Supernet, training: Sequence[Tensor], validation: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return per stacked operation the cosine of each of its edges, over all its tensors as one vector."""
    rows: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, ours, theirs in zip(names(supernet), training, validation, strict=True):
        if ".operations." in name:
            operation, state = name.split(".sep_conv_3x3")[0], name.split(".operations.")[1][0]
            edges = {"0": 2, "1": 1}[state]
            rows.setdefault(operation, []).append((ours.reshape(edges, -1), theirs.reshape(edges, -1)))
    found = {}
    for operation, pairs in rows.items():
        assert len(pairs) == 4
        one, other = (torch.cat(side, dim=1) for side in zip(*pairs, strict=True))
        found[operation] = torch.cosine_similarity(one, other, dim=1)
    return found


def frozen_by_operation(freezing: FrozenOperations, supernet: Supernet) -> dict[str, list[bool]]:
    by_id = {id(weight): name for name, weight in supernet.named_parameters()}
    return {
        by_id[id(stack.weights[0])].split(".sep_conv_3x3")[0]: freezing.frozen[stack.rows].tolist()
        for stack in freezing._stacks
    }


# When an operation is frozen


def test_where_no_operation_has_weights_there_is_nothing_to_freeze() -> None:
    supernet = cell_supernet("none", "skip_connect", "avg_pool_3x3")
    with pytest.raises(ValueError, match=r"no operation of this search space has weights\. Leave search\.freezing out"):
        matching().start(supernet)


def test_those_whose_gradients_have_a_mean_cosine_below_the_threshold_freeze() -> None:
    supernet = separable()
    steps = [(made_up(supernet, seed), made_up(supernet, seed + 100)) for seed in range(3)]
    by_step = [cosines(supernet, *step) for step in steps]
    means = {operation: sum(step[operation] for step in by_step) / 3 for operation in by_step[0]}
    threshold = float(torch.cat(list(means.values())).sort().values[3:5].mean())
    freezing = GradientMatching(threshold, 3).start(supernet)
    assert len(freezing.frozen) == 3 * 3  # of three edges, one cell per stage
    for step in steps:
        assert freezing.frozen.sum() == 0
        freezing.observe(*step)
    assert frozen_by_operation(freezing, supernet) == {
        operation: (mean < threshold).tolist() for operation, mean in means.items()
    }
    assert freezing.frozen.sum() == 4  # of 9


def test_each_interval_begins_anew_and_what_is_frozen_stays_so() -> None:
    supernet = separable()
    freezing = GradientMatching(threshold=0.0, interval=2).start(supernet)
    ours = made_up(supernet, 0)
    opposite = [-gradient for gradient in ours]
    for validation, frozen in ((ours, 0), (ours, 0), (opposite, 0), (opposite, 9), (ours, 9), (ours, 9)):
        freezing.observe(ours, validation)
        assert freezing.frozen.sum() == frozen


@pytest.mark.parametrize(
    ("threshold", "frozen"), [(0.32, 0), (0.35, 9)], ids=["below the mean cosine of 1/3", "above it"]
)
def test_neither_the_length_of_a_gradient_counts_nor_a_step_without_one(threshold: float, frozen: int) -> None:
    supernet = separable()
    ours = made_up(supernet, 0)
    nothing: list[Any] = [None] * len(ours)
    steps: list[tuple[Any, Any]] = [([1000 * gradient for gradient in ours], [-gradient for gradient in ours])]
    steps += [(ours, ours), (ours, ours), (nothing, nothing), (ours, [torch.zeros_like(one) for one in ours])]
    freezing = GradientMatching(threshold, interval=5).start(supernet)
    for step in steps:  # the cosines are -1, 1 and 1
        freezing.observe(*step)
    assert freezing.frozen.sum() == frozen
    for _ in range(5):
        freezing.observe(nothing, nothing)
    assert freezing.frozen.sum() == frozen


# What freezing does


def test_weights_that_are_frozen_do_not_move_and_the_others_move_as_without() -> None:
    supernet, free = separable(), separable()
    freezing = GradientMatching(threshold=0.0, interval=1).start(supernet)
    momentum = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1)
    optimizers = [momentum(network.weight_parameters()) for network in (supernet, free)]

    def step(seed: int) -> None:
        for network, optimizer in zip((supernet, free), optimizers, strict=True):
            for weight, gradient in zip(network.weight_parameters(), made_up(network, seed), strict=True):
                weight.grad = gradient
            with freezing.hold_frozen_weights() if network is supernet else nullcontext():
                optimizer.step()

    step(0)
    ours = made_up(supernet, 0)
    other_way_on_edge_1 = [
        torch.cat([gradient[: len(gradient) // 2], -gradient[len(gradient) // 2 :]])
        if ".operations.0." in name
        else gradient
        for name, gradient in zip(names(supernet), ours, strict=True)
    ]
    freezing.observe(ours, other_way_on_edge_1)
    assert sorted(frozen_by_operation(freezing, supernet).values()) == [[False]] * 3 + [[False, True]] * 3
    before = [weight.detach().clone() for weight in supernet.weight_parameters()]
    step(1)
    step(2)
    rows = {id(weight): (freezing.frozen[one.rows], one.edges) for one in freezing._stacks for weight in one.weights}
    for weight, was, other in zip(supernet.weight_parameters(), before, free.weight_parameters(), strict=True):
        frozen, edges = rows.get(id(weight), (torch.tensor([False]), 1))
        now, old, expected = (x.detach().view(edges, -1) for x in (weight, was, other))
        assert torch.equal(now[frozen], old[frozen])
        assert torch.equal(now[~frozen], expected[~frozen])
        assert not torch.equal(now[~frozen], old[~frozen]) or frozen.all()


# In the search


def test_when_everything_freezes_the_operations_stay_and_stem_and_classifier_train() -> None:
    supernet, memory = darts_supernet("skip_connect", "sep_conv_3x3"), Memory()
    before = copy.deepcopy(dict(supernet.named_parameters()))
    trainer(1, logger=memory).fit(module(supernet, freezing=GradientMatching(threshold=1.1, interval=1)), bilevel())
    assert memory.epochs[0]["frozen_share"] == 1
    for name, parameter in supernet.named_parameters():
        assert torch.equal(parameter, before[name]) is (".operations." in name), name
