"""What the tests of the page share: run folders made by hand, and a page of real tiny runs."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.command import Run, tiny, train
from tests.results.summaries import summary

from archselect.reporting.report import main
from archselect.store import StageKey, Store

OPERATION: dict[str, Any] = {
    "kind": "operation",
    "epoch": 0,
    "cell": "normal",
    "edge_states": [0, 2],
    "candidates": ["skip_connect", "sep_conv_3x3"],
    "scores": [
        {"candidate": "skip_connect", "accuracy": 0.25, "loss": 2.0},
        {"candidate": "sep_conv_3x3", "accuracy": 0.5, "loss": 1.5},
    ],
    "kept": "skip_connect",
    "strengths": [],
}
TOPOLOGY: dict[str, Any] = {
    "kind": "topology",
    "epoch": 1,
    "cell": "normal",
    "node": 2,
    "candidates": [[0, 2], [1, 2]],
    "scores": [
        {"round": 0, "candidate": [0, 2], "accuracy": 0.25, "loss": 2.0},
        {"round": 0, "candidate": [1, 2], "accuracy": 0.75, "loss": 1.0},
    ],
    "dropped": [[1, 2]],
    "kept": [[0, 2]],
}
DECISIONS = [OPERATION, TOPOLOGY]


@dataclass(frozen=True)
class Made:
    """A run folder made by hand, and its selection in the store."""

    folder: Path
    selection: Path


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Made]:
    """Return a function that makes a whole run folder under `tmp_path / "logs"`; changes are those of its summary."""
    store = Store(tmp_path / "logs")

    def make(seed: int = 0, accuracy: float = 0.9, **changes: Any) -> Made:
        stage = store.folder(StageKey("selection", f"s2-{len(list(tmp_path.rglob('summary.json')))}", {"seed": seed}))
        stage.begin({}, {})
        for decision in DECISIONS:
            stage.append_line("decisions.jsonl", decision)
        stage.finish({"decisions": len(DECISIONS)})
        gone = str(tmp_path / "logs" / "stages" / "evaluation" / "gone")
        stages = {
            "selection": {"folder": str(stage.path), "seconds": 75.0, "reused": False},
            "evaluation": {"folder": gone, "seconds": 8.0, "reused": True},
        }
        own = {"evaluation": "retrain_digits", "data": "digits", "params": 1234567, "stages": stages}
        folder = tmp_path / "logs" / "runs" / stage.path.name / "DATE"
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "config.yaml").write_text("selection: {operation_criterion: accuracy}\n")
        (folder / ".hydra" / "overrides.yaml").write_text("- search_space=s2\n- 'search/part=[l2,entropy]'\n")
        (folder / "figures").mkdir()
        for index, name in enumerate(("cells", "operation_strengths", "topology_strengths")):
            Image.new("RGB", (60, 40), (50 * index, seed, 200)).save(folder / "figures" / f"{name}.png")
        (folder / "summary.json").write_text(json.dumps(summary(seed, accuracy, **own | changes)))
        return Made(folder, stage.path)

    return make


def write_failure(folder: Path, overrides: str, name: str = "failed.json", seed: int = 3) -> None:
    """Write what a run with these overrides leaves where it failed, or was refused."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(overrides)
    choices = {"search_space": "s2", "search": "darts", "selection": "random", "evaluation": "none", "data": "digits"}
    (folder / name).write_text(json.dumps({**choices, "seed": seed, "reason": "the disk <b>burnt</b>"}))


@dataclass(frozen=True)
class Page:
    """A page, the runs that it is about, and what was said while it was made."""

    file: Path
    runs: list[Run]

    @property
    def html(self) -> str:
        return self.file.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """The elements of a page with their attributes, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.elements if found == tag]

    def runs(self) -> list[dict[str, str | None]]:
        return [details for details in self.all("details") if details.get("class") == "run"]


def read(folder: Path, *options: str) -> Reader:
    """Return the page on the runs in `folder`."""
    file = folder / "report.html"
    assert main([str(folder), "--html", str(file), *options]) == 0
    return Reader(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Return the page of two real runs on one supernet."""
    folder = tmp_path_factory.mktemp("page")
    quick = [f"logs={folder / 'logs'}", "protocol.epochs_between=0"]
    runs = [train(*tiny("s2", "darts", selection, *quick)) for selection in ("perturb", "magnitude")]
    assert main([str(folder / "logs"), "--html", str(folder / "new" / "report.html")]) == 0
    return Page(folder / "new" / "report.html", runs)
