"""The notebooks run from top to bottom on tiny runs: in this process, for a kernel takes longer to start."""

import ast
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.analysis.test_true_strength import CHEAP

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PICTURE = "data:image/png;base64,"


def code(name: str) -> list[dict[str, Any]]:
    cells = json.loads((NOTEBOOKS / name).read_text())["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells if cell["cell_type"] == "code"]


def pictures(sources: list[str]) -> int:
    """Run cells one after the other; return how many pictures they show: a last line that is an expression is shown."""
    names: dict[str, Any] = {}
    shown = []
    for source in sources:
        *others, last = ast.parse(source).body
        if isinstance(last, ast.Expr):
            exec(compile(ast.Module(others, []), "cell", "exec"), names)
            shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
        else:
            exec(source, names)
    return sum(PICTURE in value._repr_html_() for value in shown if hasattr(value, "_repr_html_"))


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder, an environment and an import path that are the notebook's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with mock.patch.dict(os.environ):
        yield
    sys.modules.pop("my_selection", None)


@pytest.mark.slow
def test_the_papers_analyses_run(
    tiny_folder: Path, nasbench201_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters, *others = [cell["source"] for cell in code("paper.ipynb")]
    assert "RUNS = " in parameters
    parameters = f"""
from archselect.analysis import look
S2 = SEVERAL = {str(tiny_folder)!r}
NASBENCH201 = {str(nasbench201_folder)!r}
CHEAP = ["analysis.edges=1", "analysis.training.epochs=1"]
SHUFFLE = ["analysis.recipe.epochs=1", "analysis.channels=4", "analysis.layers=2", "analysis.shuffles=2"]
PLANE = ["analysis.points=3", "analysis.curvature.batch_size=16"]
FEWER = {list(CHEAP)!r}
CONFIGS = {{"configs": {str(NOTEBOOKS.parent / "configs")!r}}}
"""
    assert pictures([parameters, *others]) == 11
    assert "weights; snapshots after epochs [1, 2, 3]" in capsys.readouterr().out


def test_a_space_and_a_selection_of_ones_own_run() -> None:
    text = "\n#%%\n".join(cell["source"] for cell in code("own_space.ipynb"))
    smaller = {"cifar10_small": "tiny", 'Path("..")': f"Path({str(NOTEBOOKS.parent)!r})", "layers: 5": "layers: 3"}
    for original, small in {**smaller, "channels: 8": "channels: 4", "scoring_batches=4": "scoring_batches=1"}.items():
        assert text.count(original) == 1, original
        text = text.replace(original, small)
    assert pictures(text.split("\n#%%\n")) == 1


@pytest.mark.parametrize(("name", "shown"), [("paper.ipynb", 11), ("own_space.ipynb", 1)])
def test_a_notebook_comes_with_what_it_printed(name: str, shown: int) -> None:
    cells = code(name)
    assert len(cells) <= 15 and [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert sum(PICTURE in "".join(output.get("data", {}).get("text/html", "")) for output in outputs) == shown
    assert not any(output["output_type"] == "error" for output in outputs)
    assert "/tmp/" not in str(cells) and "Warning" not in str(cells)
