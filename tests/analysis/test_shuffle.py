from copy import deepcopy
from pathlib import Path

import pytest
import torch
from tests.analysis.tables import rows_of
from tests.command import analyze
from torch import Tensor, nn

from archselect.analysis.optimal_alpha import operation_outputs
from archselect.analysis.shuffle import kept, swap_edges, swappable, swapped_edges, swapped_layers, with_rows_swapped
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.discrete.vgg_resnet import ReferenceKind, ReferenceNetwork
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixed_ops import CellState
from archselect.models.supernet.mixture import Mixture
from archselect.models.supernet.nasbench201 import NASBench201Supernet

OPERATIONS = ("none", "skip_connect", "nor_conv_3x3", "avg_pool_3x3")
SPACE = CellSpace("cell", CellTopology(1, 3, "last", None), (OPERATIONS,) * 6)


def supernet() -> NASBench201Supernet:
    torch.manual_seed(0)
    made = NASBench201Supernet({"cell": SPACE}, channels=4, cells_per_stage=1, classes=3, alpha_scale=1.0)
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
    return made.eval()


def images() -> Tensor:
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("first", "second"), [(0, 1), (2, 5), (1, 4)])
@torch.no_grad()
def test_an_edge_computes_on_its_source_what_the_other_computed_on_its_own(first: int, second: int) -> None:
    cell = next(module for module in supernet().modules() if isinstance(module, MixedCell))
    x = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    before = deepcopy(cell)
    swap_edges(cell, first, second)
    own = operation_outputs(cell, [x], Mixture(SPACE, torch.ones(6, 4)))
    state = own[first]["skip_connect"]  # what the edge reads
    other_source = SPACE.topology.edges[second][0]
    position = SPACE.stacks(other_source)["nor_conv_3x3"].index(second)
    expected = before.operations[other_source]["nor_conv_3x3"].weighted(CellState(state), torch.ones(1), [position])
    torch.testing.assert_close(own[first]["nor_conv_3x3"], expected)


@torch.no_grad()
def test_mixture_weights_go_along_and_exchanged_twice_is_as_before() -> None:
    made = supernet()
    weights = made.mixture_weights().detach()
    assert torch.equal(with_rows_swapped(weights, {"cell": (1, 4)})["cell"][[0, 4, 2, 3, 1, 5]], weights["cell"])
    state = {name: value.clone() for name, value in made.state_dict().items() if isinstance(value, Tensor)}
    logits = made(images())
    with swapped_edges(made, None) as network:
        torch.testing.assert_close(network(images()), logits)
    with swapped_edges(made, torch.Generator().manual_seed(3)) as network:
        assert not torch.allclose(network(images()), logits)
        assert not torch.allclose(made(images()), logits)
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in state.items())


@torch.no_grad()
def test_edges_between_the_same_states_that_exchange_everything_exchange_what_their_nodes_are() -> None:
    cell = MixedCell(CellSpace("cell", CellTopology(1, 2, "concat", None), (OPERATIONS,) * 3), 4).eval()
    weights = torch.rand(3, 4, generator=torch.Generator().manual_seed(4))
    weights[2] = 0  # nothing goes from the first node to the second
    x = torch.randn(2, 4, 8, 8)
    one, two = cell([x], Mixture(cell.space, weights)).parts
    swap_edges(cell, 0, 1)
    swapped_one, swapped_two = cell([x], Mixture(cell.space, weights[[1, 0, 2]])).parts
    torch.testing.assert_close(swapped_one, two)
    torch.testing.assert_close(swapped_two, one)


def test_edges_with_other_candidates_or_another_stride_do_not_change_places() -> None:
    skips = (("skip_connect",), ("none",), ("skip_connect",), ("skip_connect",), ("none",))
    cells = {name: CellSpace(name, CellTopology(2, 2, "concat", 2), skips) for name in ("normal", "reduction")}
    pairs = swappable(DartsSupernet(cells, channels=4, layers=3, classes=3))
    assert pairs["normal"] == [(0, 2), (0, 3), (1, 4), (2, 3)]
    assert pairs["reduction"] == [(0, 2), (0, 3), (2, 3)]  # edge 4 leaves a node, edge 1 an input


@pytest.mark.parametrize("kind", ["vgg", "resnet"])
@torch.no_grad()
def test_two_layers_of_a_stage_are_applied_in_the_other_order_for_a_while(kind: ReferenceKind) -> None:
    torch.manual_seed(0)
    network = ReferenceNetwork(kind, channels=4, layers=2, classes=3).eval()
    x = images()
    for entry, stage in zip(network.entries, network.stages, strict=True):
        first, second = stage  # type: ignore[misc]
        x = first(second(entry(x)))
    logits = network(images())
    with swapped_layers(network, torch.Generator().manual_seed(0)):  # of two layers, always both
        torch.testing.assert_close(network(images()), network.head(x.mean(dim=(2, 3))))
    assert torch.equal(network(images()), logits)


def test_what_is_kept_is_counted_above_chance() -> None:
    def table(before: float, *after: float) -> list[dict[str, float]]:
        return [{"before": before, "after": one, "chance": 0.1} for one in after]

    assert kept(table(0.9, 0.5, 0.5)) == pytest.approx(0.5)
    assert kept(table(0.9, 0.1)) == pytest.approx(0)
    assert kept(table(0.19, 0.1)) is None


def test_a_run_is_shuffled_and_the_references_are_trained_once(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["analysis.recipe.epochs=1", "analysis.channels=4", "analysis.layers=2"]
    folder = analyze("analysis=shuffle", f"run={tiny_folder}", *small, "analysis.shuffles=2")
    found = rows_of(folder / "shuffle.csv")
    assert [row["network"] for row in found] == ["vgg"] * 2 + ["resnet"] * 2 + ["supernet"] * 2
    assert all(0 <= float(row["after"]) <= 1 for row in found)
    monkeypatch.setattr("archselect.analysis.shuffle.retrain", None)
    analyze("analysis=shuffle", f"run={tiny_folder}", *small, "analysis.shuffles=3")
    assert len(rows_of(folder / "shuffle.csv")) == 9
