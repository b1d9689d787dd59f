"""What one run shows on the page: everything that its folder and its stages have, and sentences on what they lack.

Folders of several runs show the same in part: links, embedded pictures, analyses, notes on what is missing.
"""

import hashlib
import io
import os
import re
import shlex
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from omegaconf import DictConfig
from PIL import Image, UnidentifiedImageError

from archselect.pipeline.finished_run import FinishedRun, stage_place
from archselect.reporting.html.decisions import Decisions, tabulate
from archselect.results.costs import COSTS, PARAMETERS
from archselect.results.formatting import duration
from archselect.results.metric import Metric
from archselect.results.summaries import STAGES, RunResult
from archselect.safe_io.config import read_config, read_overrides
from archselect.safe_io.files import PICTURE_BYTES, TEXT_BYTES, open_picture, read_bytes, read_text
from archselect.store.redact_paths import CONFIG

ANALYSES = "analyses"
READING = "reading.md"
COLOURS = 256
"""Of an embedded picture: enough for the drawings of a run, at a third of the size."""

T = TypeVar("T")


@dataclass
class Notes:
    """The sentences on what one run, or the folders of several, lack; each once."""

    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    def attempt(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        """Return what `read` returns, or `otherwise` where the files do not have it: then a sentence says why."""
        try:
            return read()
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            self.add(f"{what} cannot be shown: {_reason(error).removesuffix('.')}.")
            return otherwise


def _reason(error: Exception) -> str:
    match error:
        case KeyError():
            return f"a record lacks {error.args[0]}"
        case OSError(strerror=str(text), filename=name) if name:
            return f"{text}: {name}"
        case ValueError() | OSError():
            return str(error)
        case _:
            return f"a record is not what it should be ({error})"


class Picture(NamedTuple):
    """A picture as a run shows it; `key` is that of its data among `Assets.pictures`, and sizes are in pixels."""

    key: str
    caption: str
    width: int
    height: int


@dataclass
class Assets:
    """The pictures of a page, as data URIs by their content, and its links, which begin in the page's folder `home`."""

    home: Path
    pictures: dict[str, str] = field(default_factory=dict)

    def link(self, path: Path) -> str | None:
        """Return the relative address of `path`, quoted: no name of a folder can be a scheme; None: it is not there."""
        if not path.exists():
            return None
        # Symbolic links stay: a browser takes ".." off the address that the page was opened by.
        address = quote(os.fsencode(os.path.relpath(path, self.home)))
        return f"{address}/" if path.is_dir() else address

    def embed(self, path: Path, root: Path, caption: str) -> Picture:
        """Return the picture at `path`, which lies in the folder `root`, embedded once.

        Raises:
            OSError: It is not there.
            ValueError: It is no picture, or a damaged one.
        """
        content = read_bytes(path, root, PICTURE_BYTES)
        key = hashlib.sha256(content).hexdigest()[:16]
        try:
            with open_picture(io.BytesIO(content)) as image:
                if key not in self.pictures:
                    self.pictures[key] = f"data:image/png;base64,{b64encode(_smaller(image)).decode()}"
                return Picture(key, caption, *image.size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # pillow raises all of these
            why = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(f"{path} is damaged, or no picture: {why}") from error


def _smaller(image: Image.Image) -> bytes:
    """Return the picture as a PNG with a palette, on white."""
    flat = Image.new("RGB", image.size, "white")
    whole = image.convert("RGBA")
    flat.paste(whole, mask=whole.getchannel("A"))
    file = io.BytesIO()
    # No dithering: it would put dots into plain areas, and they would not compress.
    flat.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


def analyses_in(folder: Path, assets: Assets, notes: Notes) -> list[dict[str, Any]]:
    """Return what `python analyze.py` left in `folder`, such as a run's, in alphabetical order."""
    # A folder that has none of what an analysis leaves is one of something else.
    return [
        _analysis(home, folder, assets, notes)
        for home in sorted((folder / ANALYSES).glob("*"))
        if any((home / name).exists() for name in (READING, f"{home.name}.png", f"{home.name}.csv"))
    ]


def _analysis(home: Path, folder: Path, assets: Assets, notes: Notes) -> dict[str, Any]:
    name, caption = home.name, f"Analysis: {home.name.replace('_', ' ')}"
    read = partial(read_text, home / READING, folder, TEXT_BYTES)
    reading = notes.attempt(f"The reading of the analysis {name}", read, "")
    embed = partial(assets.embed, home / f"{name}.png", folder, caption)
    picture: Picture | None = notes.attempt(f"The picture of the analysis {name}", embed, None)
    tables = [(table.name, assets.link(table)) for table in sorted(home.glob("*.csv"))]
    if not tables:
        notes.add(f"The analysis {name} has no table: there is no .csv in {home}.")
    paragraphs = [part for part in reading.split("\n\n") if part.strip()]
    return {
        "name": name,
        "folder": home,
        "link": assets.link(home),
        "tables": tables,
        "paragraphs": paragraphs,
        "picture": picture,
    }


FIGURES = {  # METRIC stands for that of the run's task
    "cells": "The cells that were selected",
    "operation_strengths": "Validation METRIC behind the decisions on operations, edge by edge",
    "topology_strengths": "Validation METRIC behind the decisions on the inputs of nodes",
    "strengths": "Strength of every operation, as the selection measures it",
    "search_curves": "Search: METRIC and loss of the supernet",
    "selection_curves": "Selection: METRIC and loss of the supernet while it is tuned between the decisions",
    "evaluation_curves": "Evaluation: METRIC and loss of the selected network",
    "search_alpha": "Search: mixture weights of every edge",
    "search_alpha_map": "Search: the same at one glance, an operation a row, an epoch a column",
    "selection_alpha": "Selection: mixture weights of every edge",
    "selection_alpha_map": "Selection: the same at one glance",
}


class RunView:
    """The run of a result, ready for the template; the last one, where its command was typed several times.

    Args:
        result: Whose run is read.
        anchor: Of its place on the page.
        assets: Of the page.
    """

    def __init__(self, result: RunResult, anchor: str, assets: Assets) -> None:
        *self.repeats, self.folder = result.runs
        self.result, self.anchor, self.link = result, anchor, assets.link(self.folder)
        run = FinishedRun(self.folder, DictConfig({}))  # nothing of it is made
        summary, notes = run.summary, Notes()
        read = partial(read_config, self.folder / CONFIG, self.folder, "logger")
        config: Any = notes.attempt("The run's options", read, {})
        self.decisions: Decisions | None = None
        if "selection" in summary["stages"]:
            decisions = partial(_decisions, run, config, result.metric, notes)
            self.decisions = notes.attempt("The decisions", decisions, None)
        self.command = notes.attempt("The command", partial(_command, self.folder), "")  # as the overrides tell
        self.genotype = summary["genotype"]
        self.outcomes: list[Any] = notes.attempt("The numbers", lambda: list(_outcomes(summary, result)), [])
        self.stages: list[Any] = notes.attempt("The stages", lambda: list(_stages(summary, self.folder, assets)), [])
        self.pictures = _pictures(summary, result.metric, self.folder, self.decisions, assets, notes)
        self.analyses = analyses_in(self.folder, assets, notes)
        self.notes = notes.sentences


def _decisions(run: FinishedRun, config: Any, metric: Metric, notes: Notes) -> Decisions | None:
    records, made = run.decisions, run.stage("selection").result.get("decisions")
    if made is not None and len(records) < made:
        notes.add(f"Decisions are missing: {made} were made, and decisions.jsonl holds {len(records)}.")
    if made and not records:
        return None
    criterion = (config.get("selection") or {}).get("operation_criterion")  # most selections have none
    return tabulate(records, by_loss=criterion == "loss", metric=metric)


def _command(folder: Path) -> str:
    overrides = read_overrides((folder / CONFIG).with_name("overrides.yaml"), folder)
    return " ".join(["python train.py", *(_typed(str(override)) for override in overrides)])


def _typed(override: str) -> str:
    """Return an override for a shell, which puts in the home folder and the name of the user."""
    parts = re.split(r"((?<![\w.])~(?=/)|(?<=/)\$USER(?![\w.-]))", override)
    words = {"~": '"$HOME"', "$USER": '"$USER"'}
    return "".join(words.get(part) or shlex.quote(part) for part in parts if part)


def _outcomes(summary: Mapping[str, Any], result: RunResult) -> Iterator[tuple[str, str]]:
    """Yield the numbers of a summary by what they are, with their units."""
    if (parameters := result.costs.get(PARAMETERS.key)) is not None:
        yield "parameters", f"{parameters:,}"
    for cost in COSTS:
        if cost is not PARAMETERS and cost.key in result.costs:
            yield cost.name, cost.amount(result.costs[cost.key])
    if result.device is not None:
        yield "latency measured on", result.device
    for name, value in summary.items():
        stage, dot, what = name.partition(".")
        if dot and stage in STAGES and isinstance(value, int | float):
            yield f"{stage}: {what.replace('_', ' ')}", _amount(what, value)


def _amount(what: str, value: float) -> str:
    if (metric := Metric(what)).is_share:
        return metric.amount(value)
    if what.endswith(("_test", "_valid")):  # of the NAS-Bench-201 table, which is in percent
        return f"{value:.2f} %"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _stages(summary: Mapping[str, Any], folder: Path, assets: Assets) -> Iterator[dict[str, Any]]:
    """Yield of each stage what it took, whether the run found it there, where it lies, and the link to it."""
    for name in STAGES:
        if stage := summary["stages"].get(name):
            place = stage_place(folder, name, stage["folder"])
            yield {
                "name": name,
                "took": duration(stage["seconds"]),
                "reused": stage.get("reused"),
                "folder": stage["folder"],
                # By way of the run's own link, with which it can be moved, where there is one.
                "link": assets.link(folder / name) or assets.link(place),
            }


def _pictures(
    summary: Mapping[str, Any],
    metric: Metric,
    folder: Path,
    decisions: Decisions | None,
    assets: Assets,
    notes: Notes,
) -> dict[str, Picture]:
    """Return the pictures in the run's folder; a note names each that such a run draws and that is missing."""
    home = folder / "figures"
    if not home.is_dir():
        notes.add(f"The pictures are missing: there is no folder {home}. The run's command, typed again, draws them.")
        return {}
    expected = {
        "cells": True,
        "search_curves": "search" in summary["stages"],
        "search_alpha": "search" in summary["stages"],
        "evaluation_curves": "evaluation.epochs" in summary,
        "operation_strengths": decisions and decisions.scored,
        "topology_strengths": decisions and decisions.scored_nodes,
    }
    found = {}
    for name, caption in FIGURES.items():
        path = home / f"{name}.png"
        if path.exists() or expected.get(name):
            embed = partial(assets.embed, path, folder, caption.replace("METRIC", metric.words))
            picture: Picture | None = notes.attempt(f"The picture {name}.png", embed, None)
            if picture:
                found[name] = picture
    return found
