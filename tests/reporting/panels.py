"""What the panels of a definition ask for, read from the JSON that the command writes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """What one panel asks the runs for.

    Attributes:
        together: Keys that one epoch must have logged together: the x-axis and a line.
        summary: Keys of the summary.
        pictures: Keys of images.
        tables: Keys of tables.
    """

    together: tuple[tuple[str, str], ...] = ()
    summary: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


def asked(panel: dict[str, Any]) -> Asked:
    kind, config = panel["viewType"], panel["config"]
    if kind == "Run History Line Plot":
        return Asked(together=tuple((config["xAxis"], key) for key in config["metrics"]))
    if kind == "Bar Chart":
        return Asked(summary=tuple(config["metrics"]))
    if kind == "Scatter Plot":
        return Asked(summary=tuple(config[axis].removeprefix("summary:") for axis in ("xAxis", "yAxis")))
    if kind == "Media Browser":
        return Asked(pictures=tuple(config["mediaKeys"]))
    assert kind == "Weave", kind
    return Asked(tables=(config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"],))


def panels(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every panel of the workspace and of the report."""
    for section in definition["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]:
        yield from section["panels"]
    for grid in grids(definition):
        yield from grid["panelBankSectionConfig"]["panels"]


def grids(definition: dict[str, Any]) -> list[dict[str, Any]]:
    blocks = definition["report"]["spec"]["blocks"]
    return [block["metadata"] for block in blocks if block["type"] == "panel-grid"]


def run_sets(definition: dict[str, Any]) -> list[dict[str, Any]]:
    sets = list(definition["workspace"]["spec"]["section"]["runSets"])
    return sets + [one for grid in grids(definition) for one in grid["runSets"]]
