"""The notebooks run from top to bottom on tiny runs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def read(name: str) -> NotebookNode:
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    return NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()


def pictures(notebook: NotebookNode) -> int:
    """How many pictures the outputs show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("data:image/png;base64," in output.get("data", {}).get("text/html", "") for output in outputs)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_papers_analyses_run(tiny_folder: Path, nasbench201_folder: Path, tmp_path: Path) -> None:
    notebook = read("paper.ipynb")
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    few = ["analysis.recipe.epochs=1", "analysis.channels=4", "analysis.layers=2", "analysis.shuffles=1"]
    parameters.source = f"""
from archselect.analysis import look
S2 = {str(tiny_folder)!r}
NASBENCH201 = {str(nasbench201_folder)!r}
SEVERAL = {str(tiny_folder)!r}
CHEAP = ["analysis.edges=1", "analysis.training.epochs=1"]
SHUFFLE = {few}
PLANE = ["analysis.points=3", "analysis.curvature.batch_size=8"]
FEWER = ["~selections.shapley", "~selections.sampling"]
CONFIGS = {{"configs": {str(NOTEBOOKS.parent / "configs")!r}}}
"""
    done = execute(notebook, tmp_path)
    assert pictures(done) == 11
    assert "weights; snapshots after epochs [1, 2, 3]" in done.cells[-1].outputs[0].text


def test_a_space_and_a_selection_of_ones_own_run(tmp_path: Path) -> None:
    notebook = read("own_space.ipynb")
    first = code(notebook)[0]
    assert 'EXPERIMENT = "cifar10_small"' in first.source and 'ROOT = Path("..").resolve()' in first.source
    first.source = first.source.replace('"cifar10_small"', '"tiny"').replace(
        'Path("..")', f"Path({str(NOTEBOOKS.parent)!r})"
    )
    done = execute(notebook, tmp_path)
    assert pictures(done) == 1
    assert len(notebook.cells) <= 11


@pytest.mark.parametrize(("name", "shown"), [("paper.ipynb", 11), ("own_space.ipynb", 1)])
def test_a_notebook_comes_with_what_it_printed(name: str, shown: int) -> None:
    notebook = read(name)
    assert pictures(notebook) == shown
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    assert not any(output.output_type == "error" for cell in code(notebook) for output in cell.outputs)
    assert "/tmp/" not in str(notebook) and "Warning" not in str(notebook)
