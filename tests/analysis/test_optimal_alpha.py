from math import sqrt
from pathlib import Path

import pytest
import torch
from tests.analysis.tables import rows_of
from tests.command import analyze
from torch import Tensor

from archselect.analysis.optimal_alpha import branches_of, optimal_weights, residuals
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.pipeline.finished_run import open_run

SPACE = CellSpace("cell", CellTopology(1, 2, "last", None), (("none", "skip_connect", "nor_conv_1x1"),) * 3)


def noise(seed: int) -> Tensor:
    return torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_proposition_1_on_an_edge_whose_variances_are_known() -> None:
    """x = m* + noise of variance s: normalised, var(x - m*) = 2 (1 - 1 / sqrt(1 + s)). The other edge gives m*."""
    target = noise(0)
    skip, conv = target + 0.5 * noise(1), target + 2.0 * noise(2)
    edges = {0: {"skip_connect": skip, "nor_conv_1x1": conv}, 1: {"skip_connect": target, "nor_conv_1x1": target}}
    space = CellSpace("cell", SPACE.topology, (("skip_connect", "nor_conv_1x1"),) * 3)
    variances, correlations = residuals(edges, space, torch.full((3, 2), 0.5))[0]
    known = {"skip_connect": 2 * (1 - 1 / sqrt(1.25)), "nor_conv_1x1": 2 * (1 - 1 / sqrt(5))}
    assert variances == pytest.approx(known, rel=0.02)
    # In units of m*, x is m* / sqrt(1 + s) and noise of its own, so the residuals share (1 / sqrt(1 + s) - 1) m* alone.
    shared = (1 / sqrt(1.25) - 1) * (1 / sqrt(5) - 1)
    assert correlations == pytest.approx([shared / sqrt(known["skip_connect"] * known["nor_conv_1x1"])], rel=0.05)
    weights = optimal_weights(known)
    # Prop. 1: theta_conv is to theta_skip as var(x_e - m*) is to var(o_e(x_e) - m*).
    ratio = known["skip_connect"] / known["nor_conv_1x1"]
    assert weights["nor_conv_1x1"] / weights["skip_connect"] == pytest.approx(ratio)
    assert sum(weights.values()) == pytest.approx(1)


def test_no_other_weights_give_a_smaller_variance() -> None:
    """The sum of uncorrelated residuals of variances 1, 2 and 4 has variance w^2 . (1, 2, 4)."""
    variances = torch.tensor([1.0, 2.0, 4.0])
    best = torch.tensor(list(optimal_weights(dict(zip("abc", variances.tolist(), strict=True))).values()))
    others = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0))
    others /= others.sum(dim=1, keepdim=True)
    assert (best.square() @ variances) <= (others.square() @ variances).min()


def test_the_branches_weighted_and_summed_are_what_the_next_edge_reads() -> None:
    torch.manual_seed(0)
    supernet = NASBench201Supernet({"cell": SPACE}, channels=4, cells_per_stage=1, classes=3)
    images = torch.randn(8, 3, 16, 16)
    statistics = [buffer.clone() for buffer in supernet.buffers()]
    weights = supernet.mixture_weights().detach()["cell"]
    ((_, edges), *_) = branches_of(supernet, images)
    outputs = [weights[0, SPACE.operations[0].index(name)] * output for name, output in edges[0].items()]
    torch.testing.assert_close(edges[2]["skip_connect"], sum(outputs))  # edge (1,2) reads node 1
    assert set(edges[0]) == {"skip_connect", "nor_conv_1x1"}
    assert all(torch.equal(a, b) for a, b in zip(statistics, supernet.buffers(), strict=True))


def test_none_is_as_far_from_the_optimal_feature_map_as_that_varies() -> None:
    edges = {0: {"skip_connect": noise(1)}, 1: {"skip_connect": noise(2)}}
    variances, _ = residuals(edges, SPACE, torch.full((3, 3), 1 / 3))[0]
    assert variances["none"] == pytest.approx(1)


def test_a_run_is_measured_edge_by_edge(tiny_folder: Path) -> None:
    folder = analyze("analysis=optimal_alpha", f"run={tiny_folder}", "analysis.batches=1")
    found = rows_of(folder / "optimal_alpha.csv")
    assert len(found) == 2 * 14 * 2
    learned = open_run(tiny_folder).supernet().mixture_weights()["normal"]
    assert float(found[0]["learned"]) == pytest.approx(learned[0, 0].item())
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert float(first["optimal"]) + float(second["optimal"]) == pytest.approx(1)
        larger = float(first["variance"]) > float(second["variance"])
        assert (float(first["optimal"]) < float(second["optimal"])) == larger
    assert "skip_connect is closest to m*" in (folder / "reading.md").read_text()
