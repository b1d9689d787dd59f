"""The public API: the examples in its docstrings run, and it costs nothing until it is used."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest
from tests.command import CONFIGS, Run

import archselect


@pytest.mark.parametrize("name", ["archselect", *archselect.__all__])
def test_the_example_in_the_docstring_runs(
    name: str, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "PUBLISHED":  # data, which has no docstring: its example is the module's
        return
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(CONFIGS)
    thing = archselect if name == "archselect" else getattr(archselect, name)
    (example,) = doctest.DocTestFinder(recurse=False).find(
        thing, name, module=False, globs={"archselect": archselect, name: thing, "folder": tiny_run.folder}
    )
    assert example.examples, f"{name} has no example"
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=report.append)
    assert not failed, "".join(report)


def test_a_score_of_names_at_most_each_of_them_there_and_others_refused_by_name() -> None:
    assert len(archselect.__all__) <= 20
    assert set(archselect.__all__) == set(archselect._HOMES) <= set(dir(archselect))
    with pytest.raises(AttributeError, match="no attribute 'Genotyp'; it has PUBLISHED, DartsSpace"):
        _ = archselect.Genotyp


def test_importing_it_imports_no_pytorch_and_a_genotype_needs_none() -> None:
    code = "import sys, archselect; archselect.Genotype.parse('DARTS_V2'); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
