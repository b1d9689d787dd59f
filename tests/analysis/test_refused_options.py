"""What an analysis cannot do is said before it begins."""

from pathlib import Path

import pytest
from tests.command import analyze

REFUSED = {
    "analysis=selection_curve +selection@selections.random=random": "selection=random decides everything at once",
    "analysis=discretization_accuracy analysis.edges=29": "analysis.edges=29, but only 28 edges",
    "analysis=landscape analysis.points=4": "analysis.points must be odd and at least 3, for a middle; got 4",
    "analysis=operation_strength +selection/scoring@analysis.scoring=racing": "analysis.scoring must score every cand",
    "analysis=shuffle analysis.layers=1": "analysis.layers must be 2 or more: two layers of a stage change places",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_it_is_refused_in_a_sentence(overrides: str, tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        analyze(*overrides.split(), f"run={tiny_folder}")
    assert REFUSED[overrides] in capsys.readouterr().err
