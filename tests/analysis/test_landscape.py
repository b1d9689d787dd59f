from pathlib import Path

import pytest
import torch
from tests.analysis.tables import rows_of
from tests.command import analyze

from archselect.analysis.landscape import free_entries, points_of_plane, weights_at
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.nasbench201 import NASBench201Supernet


def supernet() -> NASBench201Supernet:
    """Edges with two, three and two candidates, of which the last is decided."""
    operations = (("none", "skip_connect"), ("none", "skip_connect", "nor_conv_1x1"), ("none", "skip_connect"))
    space = CellSpace("cell", CellTopology(1, 2, "last", None), operations)
    made = NASBench201Supernet({"cell": space}, channels=2, cells_per_stage=1, classes=3)
    made.decisions = {"cell": made.decisions["cell"].keep_operation(2, 1)}
    return made


def test_only_what_is_undecided_and_exists_moves_along_orthonormal_directions_by_the_radius() -> None:
    made = supernet()
    free = free_entries(made)
    assert free.tolist() == [True, True, False, True, True, True, False, False, False]
    plane = points_of_plane(made, radius=0.5, points=3, seed=0)
    assert sorted(plane) == [(x, y) for x in (-0.5, 0, 0.5) for y in (-0.5, 0, 0.5)]
    assert torch.equal(plane[0.0, 0.0]["cell"], made.alphas["cell"])
    first, second = ((plane[at]["cell"] - made.alphas["cell"]).detach().flatten() for at in ((0.5, 0.0), (0.0, 0.5)))
    assert not first[~free].any() and not second[~free].any()
    for moved in (first, second):
        assert moved[free].square().mean().sqrt().item() == pytest.approx(0.5)
    assert (first @ second).item() == pytest.approx(0, abs=1e-6)


def test_the_middle_has_the_supernets_own_weights_and_decided_edges_stay() -> None:
    made = supernet()
    own = made.mixture_weights()["cell"]
    plane = points_of_plane(made, radius=2.0, points=3, seed=0)
    torch.testing.assert_close(weights_at(made, plane[0.0, 0.0])["cell"], own)
    away = weights_at(made, plane[2.0, 2.0])["cell"]
    assert not torch.allclose(away[:2], own[:2])
    assert torch.equal(away[2], own[2])
    assert away.sum(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_a_run_has_the_eigenvalue_of_every_snapshot_and_the_accuracy_in_the_middle(tiny_folder: Path) -> None:
    small = ["analysis.points=3", "analysis.curvature.batch_size=16", "analysis.curvature.products=2"]
    folder = analyze("analysis=landscape", *small, f"run={tiny_folder}")
    eigenvalues, plane = rows_of(folder / "eigenvalues.csv"), rows_of(folder / "landscape.csv")
    assert [row["epoch"] for row in eigenvalues] == ["1", "2", "3"]
    assert all(float(row["eigenvalue"]) for row in eigenvalues)
    assert len(plane) == 9
    (middle,) = (row for row in plane if float(row["x"]) == float(row["y"]) == 0)
    unmasked = rows_of(analyze("analysis=operation_strength", f"run={tiny_folder}") / "operation_strength.csv")[0]
    assert float(middle["accuracy"]) == pytest.approx(float(unmasked["accuracy"]))
