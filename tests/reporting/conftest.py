"""What the tests of the page share: run folders made by hand, and a reader of pages."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
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


def operation(**changes: Any) -> dict[str, Any]:
    return deepcopy(OPERATION) | changes


def strengths(first: float, second: float) -> list[dict[str, float | None]]:
    return [{"value": first, "standard_error": 0.02}, {"value": second, "standard_error": None}]


@dataclass(frozen=True)
class Made:
    """A run folder made by hand, and its selection in the store."""

    folder: Path
    selection: Path


MakeRun = Callable[..., Made]


def made(logs: Path, seed: int = 0, accuracy: float = 0.9, width: int = 60, **changes: Any) -> Made:
    """Make a whole run folder under `logs`, its pictures `width` wide; `changes` are those of its summary."""
    number = len(list(logs.rglob("summary.json")))
    stage = Store(logs).folder(StageKey("selection", f"s2-{number}", {"seed": seed}))
    stage.begin({}, {})
    for decision in DECISIONS:
        stage.append_line("decisions.jsonl", decision)
    stage.finish({"decisions": len(DECISIONS)})
    stages = {
        "selection": {"folder": str(stage.path), "seconds": 75.0, "reused": False},
        "evaluation": {"folder": str(logs / "stages" / "evaluation" / "gone"), "seconds": 8.0, "reused": True},
    }
    own = {"evaluation": "retrain_digits", "data": "digits", "params": 1234567, "stages": stages}
    folder = logs / "runs" / stage.path.name / "DATE"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("selection: {operation_criterion: accuracy}\n")
    (folder / ".hydra" / "overrides.yaml").write_text("- search_space=s2\n- 'search/part=[l2,entropy]'\n")
    (folder / "figures").mkdir()
    for index, name in enumerate(("cells", "operation_strengths", "topology_strengths")):
        Image.new("RGB", (width, 40), (50 * index, seed, 200)).save(folder / "figures" / f"{name}.png")
    (folder / "summary.json").write_text(json.dumps(summary(seed, accuracy, **own | changes)))
    return Made(folder, stage.path)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return `made` for the folder `tmp_path / "logs"`."""
    return partial(made, tmp_path / "logs")


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


def read(folder: Path) -> Reader:
    """Return the page on the runs in `folder`."""
    file = folder / "report.html"
    assert main([str(folder), "--html", str(file)]) == 0
    return Reader(file.read_text(encoding="utf-8"))
