import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from tests.search.small_search import (
    CLASSES,
    bilevel,
    cell_supernet,
    darts_supernet,
    method,
    module,
    sgas,
    trainer,
)
from torch import Tensor

from archselect.models.cell_space import CellDecisions, CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.supernet import Supernet
from archselect.search import SGAS

THREE_EDGES = CellTopology(1, 2, "last", None)
WITH_NONE = CellSpace("cell", THREE_EDGES, (("none", "skip_connect", "sep_conv_3x3"),) * 3)
WITHOUT_NONE = CellSpace("cell", THREE_EDGES, (("skip_connect", "sep_conv_3x3"),) * 3)


def certainty(*shares: float) -> float:
    return 1 - sum(-share * math.log(share) for share in shares) / math.log(len(shares))


# The criteria

SHARP, MIDDLE = certainty(0.8, 0.2), certainty(0.25, 0.75)
NOW = [[0.5, 0.5], [0.8, 0.2], [0.25, 0.75]]


@pytest.mark.parametrize(
    ("space", "mixture", "earlier", "expected"),
    [
        # Importance 0.8, 0.5, 0.4, so 1, 1/4, 0; certainty 0 of (1/2, 1/2), and of (4/5, 1/5) and (1/4, 3/4).
        (WITH_NONE, [[0.2, 0.4, 0.4], [0.5, 0.4, 0.1], [0.6, 0.1, 0.3]], [], [1 * 0, 0.25 * 1, 0 * MIDDLE / SHARP]),
        (WITHOUT_NONE, NOW, [], [0, 1, MIDDLE / SHARP]),
        # Overlaps 1, 0.7, 1 and 0.6, 0.7, 0.9: means 0.8, 0.7, 0.95, so 0.4, 0, 1.
        (
            WITHOUT_NONE,
            NOW,
            [[[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]], [[0.1, 0.9], [0.5, 0.5], [0.35, 0.65]]],
            [0.4 * 0, 0 * 1, 1 * MIDDLE / SHARP],
        ),
        # Importance 1, 0, 2/3; overlaps of what is left without `none` 1, 1, 4/7.
        (
            WITH_NONE,
            [[0.2, 0.4, 0.4], [0.5, 0.4, 0.1], [0.3, 0.5, 0.2]],
            [[[0.8, 0.1, 0.1], [0.0, 0.8, 0.2], [0.3, 0.2, 0.5]]],
            [1 * 0 * 1, 0 * 1 * 1, 2 / 3 * certainty(5 / 7, 2 / 7) / SHARP * 0],
        ),
        # Factors that are alike on all edges leave it to the others.
        (
            WITH_NONE,
            [[0.5, 0.4, 0.1], [0.5, 0.3, 0.2], [0.5, 0.25, 0.25]],
            [[[0.5, 0.4, 0.1], [0.5, 0.3, 0.2], [0.5, 0.25, 0.25]]],
            [1, certainty(0.6, 0.4) / SHARP, 0],
        ),
    ],
    ids=["importance and certainty", "without none", "stability", "stability without none", "alike"],
)
def test_a_score_is_the_product_of_importance_certainty_and_stability_each_scaled_over_the_edges(
    space: CellSpace, mixture: Any, earlier: Any, expected: list[float]
) -> None:
    scores = sgas(criterion=2).scores(space, torch.tensor(mixture), [torch.tensor(one) for one in earlier])
    assert scores == pytest.approx(expected, abs=1e-6)
    if earlier and space is WITHOUT_NONE:
        assert sgas(criterion=1).scores(space, torch.tensor(mixture), [torch.tensor(earlier[0])])[1] == 1


def test_a_table_of_equal_edges_and_an_edge_of_one_operation_give_numbers() -> None:
    assert sgas(criterion=2).scores(WITH_NONE, torch.full((3, 3), 1 / 3), [torch.full((3, 3), 1 / 3)]) == [1, 1, 1]
    space = CellSpace("cell", THREE_EDGES, (("none", "skip_connect"), ("none",), ("skip_connect", "sep_conv_3x3")))
    mixture = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5]])
    assert all(math.isfinite(score) for score in sgas(criterion=2).scores(space, mixture, [mixture]))


# When, and how many


def darts_space(name: str = "normal") -> CellSpace:
    return CellSpace(name, CellTopology(2, 4, "concat", 2), (("none", "skip_connect", "sep_conv_3x3"),) * 14)


def test_of_50_epochs_the_10th_is_the_first_and_every_5th_from_there_on_decides() -> None:
    assert list(sgas().due(50)) == [9, 14, 19, 24, 29, 34, 39, 44, 49]


@pytest.mark.parametrize(
    ("changes", "edges", "everything"),
    [({"share": 1.0}, 8, True), ({}, 4, False), ({"share": 0.01}, 1, False), ({"share": 1.0, "every": 0.2}, 8, False)],
    ids=["all", "half", "one", "too few epochs are due"],
)
def test_a_share_of_the_edges_that_a_cell_keeps_is_decided(
    changes: dict[str, Any], edges: int, everything: bool
) -> None:
    assert sgas(**changes).limit(darts_space()) == edges
    cells = {"normal": darts_space(), "reduction": darts_space("reduction")}
    assert method(greedy=sgas(**changes), epochs=50).decides_all(cells) is everything


def whole_search(supernet: Supernet, greedy: SGAS, epochs: int = 50) -> list[dict[str, CellDecisions]]:
    """Decide over all epochs, with another `alpha` in each; return the decisions after each."""
    generator, past, decisions = torch.Generator().manual_seed(0), [], []
    for epoch in range(epochs):
        for alpha in supernet.alphas.values():
            alpha.data = torch.randn(alpha.shape, generator=generator)
        supernet.decisions = greedy.decide(supernet, epoch, epochs, past)
        past.append({name: supernet.relaxed(name).tolist() for name in supernet.cell_spaces})
        decisions.append(dict(supernet.decisions))
    return decisions


def large_supernet() -> Supernet:
    cells = {name: darts_space(name) for name in ("normal", "reduction")}
    return DartsSupernet(cells, channels=2, layers=3, classes=CLASSES)


def decided(state: CellDecisions) -> list[int]:
    return [edge for edge, operation in enumerate(state.operations) if operation is not None]


def test_one_edge_per_cell_type_is_decided_in_each_epoch_that_is_due_until_half_of_them_are() -> None:
    counts = [[len(decided(state[cell])) for cell in state] for state in whole_search(large_supernet(), sgas())]
    assert counts == [[0, 0]] * 9 + [[1, 1]] * 5 + [[2, 2]] * 5 + [[3, 3]] * 5 + [[4, 4]] * 26


@pytest.mark.parametrize("criterion", [1, 2])
def test_what_is_decided_stays_so_and_all_of_it_makes_a_genotype_without_none(criterion: Any) -> None:
    supernet = large_supernet()
    for before, after in pairwise(whole_search(supernet, sgas(criterion=criterion, share=1.0))):
        pairs = [zip(before[cell].operations, after[cell].operations, strict=True) for cell in before]
        assert all(was in (None, now) for cell in pairs for was, now in cell)
    for cell in supernet.genotype().cells:
        assert [len(node) for node in cell.nodes] == [2, 2, 2, 2]
        assert all(operation != "none" for node in cell.nodes for operation, _ in node)


def supernet_with(rows: Sequence[Sequence[float]]) -> Supernet:
    """Both cells' mixtures are given: five edges, of which the last three lead to the second node."""
    supernet = darts_supernet("none", "skip_connect", "sep_conv_3x3")
    for alpha in supernet.alphas.values():
        alpha.data = torch.tensor(rows).log()
    return supernet


def test_the_edge_with_the_highest_score_keeps_its_strongest_operation_but_none() -> None:
    supernet = supernet_with([[0.4, 0.5, 0.1], [0.5, 0.3, 0.2], [0.55, 0.15, 0.3], [0.5, 0.01, 0.49], [0.6, 0.2, 0.2]])
    decisions = sgas(first=0.0).decide(supernet, 0, 50, [])
    # Importance x certainty: edge 0 is the most important one, but edge 3 is far more certain.
    assert decisions["normal"].operations == (None, None, None, 2, None)
    assert decisions["normal"].undecided_edges == (0, 1, 2, 4)


def test_a_node_that_has_its_inputs_drops_its_other_edges() -> None:
    supernet = supernet_with([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0.2, 0.4, 0.4], [0.5, 0.01, 0.49], [0.3, 0.6, 0.1]])
    decisions = supernet.decisions["normal"].keep_operation(3, 2)
    supernet.decisions = {**supernet.decisions, "normal": decisions}
    after = sgas(first=0.0, share=1.0).decide(supernet, 0, 50, [])["normal"]
    assert after.operations == (None, None, None, 2, 1)
    assert after.kept == (True, True, False, True, True)
    assert after.nodes == (3,)
    assert after.undecided_edges == (0, 1)


@pytest.mark.parametrize(("memory", "epochs"), [(4, 4), (20, 9)])
def test_only_as_many_epochs_as_it_remembers_are_looked_back_at(memory: int, epochs: int) -> None:
    past = [{"cell": [[1 / 3] * 3] * 3}] * 9
    with mock.patch.object(SGAS, "scores", return_value=[0.0] * 3) as scores:
        sgas(criterion=2, memory=memory).decide(cell_supernet(), 9, 50, past)
    assert len(scores.call_args.args[2]) == epochs


@pytest.mark.parametrize("criterion", [0, 3, "2", None])
def test_another_criterion_is_refused(criterion: Any) -> None:
    with pytest.raises(ValueError, match=f"search.greedy.criterion must be one of 1, 2; got {criterion!r}"):
        replace(sgas(), criterion=criterion)


# In the search

EVERY_EPOCH = {"first": 0.25, "every": 0.25, "share": 1.0}


class Alphas(pl.Callback):
    """Notes `alpha` after every epoch, and the edges that were undecided in it."""

    def __init__(self) -> None:
        self.after: list[tuple[Tensor, tuple[int, ...]]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        supernet: Any = pl_module.supernet
        undecided = supernet.decisions["normal"].undecided_edges
        self.after.append((supernet.alphas["normal"].detach().clone(), undecided))


def test_the_alpha_of_a_decided_edge_gets_no_gradient_from_then_on() -> None:
    supernet, alphas = darts_supernet("none", "skip_connect", "sep_conv_3x3"), Alphas()
    # Without momentum and weight decay, `alpha` moves if and only if it has a gradient.
    plain = {"architecture_optimizer": lambda alphas, lr=1.0: torch.optim.SGD(alphas, lr)}
    trainer(4, callbacks=[alphas]).fit(module(supernet, greedy=sgas(**EVERY_EPOCH), **plain), bilevel())
    moved = [
        (after != before).any(dim=1).nonzero().flatten().tolist() for (before, _), (after, _) in pairwise(alphas.after)
    ]
    undecided = [list(edges) for _, edges in alphas.after]
    assert moved == undecided[1:]
    assert undecided[1] == [0, 1, 2, 3, 4]
    assert len(undecided[3]) < len(undecided[2]) < 5
