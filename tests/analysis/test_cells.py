from pathlib import Path

from tests.analysis.tables import rows_of
from tests.command import analyze

from archselect.pipeline.finished_run import load_genotype, open_run


def test_a_runs_cells_stand_beside_those_of_magnitude(tiny_folder: Path) -> None:
    folder = analyze("analysis=cells", f"run={tiny_folder}")
    genotypes = {row["architecture"]: row["genotype"] for row in rows_of(folder / "genotypes.csv")}
    assert genotypes == {
        "magnitude": open_run(tiny_folder).stage("search").result["magnitude_genotype"],
        "perturb": str(load_genotype(tiny_folder)),
    }
    edges = [row for row in rows_of(folder / "cells.csv") if row["architecture"] == "perturb"]
    assert len(edges) == 16
    skips = sum(row["operation"] == "skip_connect" for row in edges)
    assert f"perturb: {16 - skips} convolutions and {skips} skip_connect" in (folder / "reading.md").read_text()
