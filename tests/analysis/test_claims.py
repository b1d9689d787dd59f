import shutil
from pathlib import Path

import pytest
from tests.command import Run, analyze, tiny, train

from archselect.analysis.claims import BEGIN, END, main, replaced
from archselect.analysis.evidence import Evidence


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in S2 and one of its analyses."""
    folder = tmp_path_factory.mktemp("claims")
    overrides = [f"logs={folder / 'logs'}", "hydra.run.dir=${logs}/runs/${search_space.name}"]
    run = train(*tiny("s2", "darts", "perturb", "search.snapshots=1", *overrides))
    assert isinstance(run, Run)
    analyze("analysis=optimal_alpha", f"run={run.folder}", "analysis.batches=1")
    return folder / "logs" / "runs"


def test_a_section_takes_the_place_of_the_one_before(runs: Path, tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text(f"# Results\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for _ in range(2):
        assert main([str(runs), "--into", str(results), "--pictures", str(tmp_path / "pictures")]) == 0
        text = results.read_text()
        assert text.startswith(f"# Results\n\nbefore\n\n{BEGIN}\n") and text.endswith(f"{END}\n\nafter\n")
        assert "old" not in text
        assert text.count("| **undecided** |") + text.count("reproduced** |") == 6
        assert "![Claim 3: analysis optimal_alpha in s2](pictures/s2_optimal_alpha.png)" in text
    assert (tmp_path / "pictures" / "s2_optimal_alpha.png").stat().st_size > 10_000


def test_a_file_without_the_marks_is_left_as_it_is(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n")
    assert main([str(runs), "--into", str(results), "--pictures", str(tmp_path / "pictures")]) == 1
    assert "must have the marks" in " ".join(capsys.readouterr().err.split())
    assert results.read_text() == "# Results\n" and not (tmp_path / "pictures").exists()
    with pytest.raises(ValueError, match="must have the marks"):
        replaced(f"{END} {BEGIN}", "new")


def test_a_table_is_read_with_its_seed_and_its_numbers(runs: Path) -> None:
    evidence = Evidence(runs)
    table = evidence.table("s2", "optimal_alpha")
    assert table is not None and len(table) == 56
    assert {row["seed"] for row in table} == {0}
    assert isinstance(table[0]["variance"], float) and table[0]["operation"] == "skip_connect"
    assert evidence.table("s2", "shuffle") is None
    assert evidence.table("darts", "optimal_alpha") is None
    assert evidence.validation_images("s2") == 60
    assert list(evidence.accuracy("s2", "darts", "perturb")) == [0]
    assert evidence.sizes() == "s2, darts, perturb (seeds 0)"


def test_two_runs_of_one_setting_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        shutil.copytree(runs / "s2", tmp_path / name, symlinks=True)
    assert main([str(tmp_path)]) == 1
    assert "two runs of s2, darts, perturb, 0" in " ".join(capsys.readouterr().err.split())
