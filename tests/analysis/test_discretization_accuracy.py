from pathlib import Path
from unittest import mock

import pytest
from tests.analysis.tables import rows_of
from tests.command import analyze

from archselect.pipeline.selection_stage import StageEvaluator
from archselect.training.fit import StageTrainer

SMALL = ["analysis=discretization_accuracy", "analysis.edges=2", "analysis.training.epochs=1"]


def test_every_operation_of_the_drawn_edges_is_trained_on(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    train = StageEvaluator.train

    def killed_after_three(self: StageEvaluator, name: str, *arguments: object) -> object:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(name)
        return train(self, name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(StageEvaluator, "train", killed_after_three)
    with pytest.raises(KeyboardInterrupt):
        analyze(*SMALL, f"run={tiny_folder}")
    monkeypatch.setattr(StageEvaluator, "train", train)
    with mock.patch.object(StageTrainer, "train", autospec=True, side_effect=StageTrainer.train) as fits:
        folder = analyze(*SMALL, f"run={tiny_folder}")
    assert fits.call_count == 1, "what was trained before the interruption is kept"
    found = rows_of(folder / "discretization_accuracy.csv")
    assert [row["operation"] for row in found] == ["skip_connect", "sep_conv_3x3"] * 2
    assert len({(row["cell"], row["edge"]) for row in found}) == 2
    assert all(0 <= float(row["accuracy_at_convergence"]) <= 1 for row in found)
    assert "of 2 edges" in (folder / "reading.md").read_text()
