from pathlib import Path

import pytest
import torch
from tests.analysis.tables import rows_of
from tests.command import analyze

from archselect.distributed.rng import generator_for
from archselect.pipeline.finished_run import open_run
from archselect.search.data import architecture_images


def test_a_strength_is_the_accuracy_that_the_supernet_loses_without_the_operation(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = analyze("analysis=operation_strength", f"run={tiny_folder}")
    rows = rows_of(folder / "operation_strength.csv")
    assert len(rows) == 2 * 14 * 2
    run = open_run(tiny_folder)
    supernet = run.supernet().train()
    data = run.parts.data
    _, images = architecture_images(data, run.parts.search, run.parts.seed)
    order = torch.randperm(len(images), generator=generator_for(run.parts.seed, "fixed", "order"))
    first = order[: run.parts.search.batch_size]  # the tiny run scores on one batch
    scale, shift = data.normalisation.scale_and_shift()
    x = images.images[first].float() * scale.view(3, 1, 1) + shift.view(3, 1, 1)
    labels = images.labels[first]
    weights = supernet.mixture_weights().detach()
    for row in (rows[0], rows[3], rows[-1]):
        space = supernet.cell_spaces[row["cell"]]
        edge = ["({},{})".format(*edge) for edge in space.topology.edges].index(row["edge"])
        without = weights.masked(row["cell"], edge, space.operations[edge].index(row["operation"]))
        with torch.no_grad():
            lost = [(supernet(x, given).argmax(1) == labels).float().mean().item() for given in (weights, without)]
        assert float(row["strength"]) == pytest.approx(lost[0] - lost[1], abs=1e-6)
    reading = (folder / "reading.md").read_text()
    assert "of 28 edges" in reading
    assert (folder / "operation_strength.png").stat().st_size > 10_000
    monkeypatch.setattr("archselect.analysis.operation_strength.perturbed", None)  # nothing is measured again
    assert rows_of(analyze("analysis=operation_strength", f"run={tiny_folder}") / "operation_strength.csv") == rows
