"""Run folders made by hand, as somebody else might make them."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from archselect.store import StageFolder, StageKey, Store

GENOTYPE = "normal:2:skip_connect@0+sep_conv_3x3@1"


@dataclass(frozen=True)
class Touch:
    """An object whose unpickling makes a file."""

    file: Path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.file}",)


@dataclass(frozen=True)
class MadeRun:
    """A run folder in `logs/runs/run` and its search in `logs/stages`."""

    folder: Path
    search: StageFolder

    @property
    def config(self) -> Path:
        return self.folder / ".hydra" / "config.yaml"


def make_run(logs: Path, config: Any = None) -> MadeRun:
    """Make a run that is whole as far as `open_run` looks, with a config of somebody's making: data or YAML."""
    search = Store(logs).folder(StageKey("search", "s2-seed0", {"seed": 0}))
    search.begin({}, {"command": []})
    search.finish({"val_accuracy": 0.5})
    folder = logs / "runs" / "run"
    (folder / ".hydra").mkdir(parents=True)
    text = config if isinstance(config, str) else yaml.safe_dump(config or {"seed": 0})
    (folder / ".hydra" / "config.yaml").write_text(text)
    summary = {"name": "run", "genotype": GENOTYPE, "stages": {"search": {"folder": str(search.path), "seconds": 1.0}}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "search").symlink_to(os.path.relpath(search.path, folder))
    return MadeRun(folder, search)


def touching(file: Path) -> dict[str, Any]:
    """Return a config whose making would make a file."""
    return {"_target_": "os.system", "command": f"touch {file}"}
