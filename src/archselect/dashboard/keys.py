"""What a run logs, by the names that a dashboard asks for; `archselect.runlog` and `reporting.comparison` log them.

Panels take single operations' weights from the search spaces: their keys differ from space to space.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from archselect.reporting.results import Choices
from archselect.runlog import alpha_key

Cells = Mapping[str, Mapping[str, list[str]]]
"""Per cell type and edge, such as "0-2", the keys of its operations."""

GROUPING = tuple(f"{group}.name" for group in Choices._fields)
"""Config keys: runs that agree in all of these are averaged, as in the report on a `logs` folder."""

SPACE = "search_space.value.name"
"""The config key of the search space as W&B stores it: what is nested lies below `value`."""

TEST_ACCURACY, PAPER, LEAD = "result/test_accuracy", "paper/test_accuracy", "paper/lead"
SKIP_SHARE, SUPERNET = "result/skip_share", "search/val_accuracy"


def alpha_keys(spaces: Iterable[Mapping[str, Any]]) -> Cells:
    """Return the keys of the mixture weights while searching, of all spaces together.

    Args:
        spaces: Descriptions, `SearchSpace.describe()`.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for space in spaces:
        for cell, description in space["cells"].items():
            for edge, operations in zip(description["edges"], description["operations"], strict=True):
                keys = found.setdefault(cell, {}).setdefault("{}-{}".format(*edge), [])
                keys += [key for name in operations if (key := f"search/{alpha_key(cell, edge, name)}") not in keys]
    return found
