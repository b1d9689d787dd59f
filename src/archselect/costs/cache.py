"""What a network costs as plain data, measured once for a network and a machine and kept beside the stages.

It is no stage, nor part of one: the same network costs something else on another device, and an evaluation's result,
which does not depend on where it was computed, is closed once it is there.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn

from archselect.costs.count import count
from archselect.costs.latency import BATCHES, describe_device, latency
from archselect.safe_io.files import read_json
from archselect.store import disk_errors_explained, write_text
from archselect.store.key import digest_of
from archselect.utils.validation import PositiveFloat, check_fields

VERSION = 1
"""Raised when what is counted or measured changes."""


@dataclass(frozen=True)
class CostOptions:
    """What a run measures of its network.

    Attributes:
        latency: Whether it measures times; what is counted is always there.
        seconds: For which it measures, for all batch sizes together.
    """

    latency: bool
    seconds: PositiveFloat

    def __post_init__(self) -> None:
        check_fields(self, "costs")


def costs_of(
    network: nn.Module, image_size: int, in_channels: int, device: torch.device, options: CostOptions
) -> dict[str, Any]:
    """Return the costs of a network by name: counted, and, if it is asked for, the time on a device."""
    found: dict[str, Any] = {**asdict(count(network, image_size, in_channels)), "image_size": image_size}
    if not options.latency:
        return found
    disturbed = False
    for batch in BATCHES:
        seconds = options.seconds / len(BATCHES)
        time = latency(network, image_size, device, batch, in_channels, seconds)
        found[f"latency_ms_batch{batch}"] = round(time.median, 4)
        found[f"latency_iqr_ms_batch{batch}"] = round(time.interquartile_range, 4)
        disturbed |= time.disturbed
    return {**found, "device": describe_device(device), "disturbed": disturbed}


def cached_costs(
    folder: Path, label: str, identity: Mapping[str, Any], measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return what `measure` returned for this `identity` before, or returns now.

    What is damaged is measured anew. One process at a time measures in a folder, so that two jobs of a sweep do not
    measure each other.

    Args:
        folder: Where it is kept, a file for each identity.
        label: The readable part of the file's name.
        identity: All that the costs depend on.
    """
    path = folder / f"{label}-{digest_of({'version': VERSION, **identity})}.json"
    with disk_errors_explained(path):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "measuring.lock", fallback_to_soft=False):
            with suppress(FileNotFoundError, TypeError, ValueError):  # a damaged file is made anew
                return dict(read_json(path, folder))
            found = measure()
            write_text(path, f"{json.dumps(found, indent=2)}\n")
    return found
