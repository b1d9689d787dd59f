"""What two runs of the same command must have in common, to the last bit: all but times and memory."""

from collections.abc import Mapping
from typing import Any

import torch
from tests.command import Run


def same(one: Run, other: Run) -> None:
    """Check that two runs came to the same; an AssertionError says what did not."""
    differing = differences(one, other)
    assert not differing, "; ".join(differing)


def differences(one: Run, other: Run) -> list[str]:
    """Return what two runs came to differently, in words."""
    found = [
        f"{name} of the summary"
        for name in {*one.summary, *other.summary} - {"stages"}
        if one.summary.get(name) != other.summary.get(name)
        and not name.startswith(("costs.latency", "costs.disturbed"))
    ]
    if one.summary["stages"].keys() != other.summary["stages"].keys():
        return [*found, "which stages there are"]
    if "selection" in one.summary["stages"] and timeless(one.decisions()) != timeless(other.decisions()):
        found.append("decisions")
    for kind in one.summary["stages"]:
        if one.stage(kind).name != other.stage(kind).name:
            found.append(f"{kind}: the name of the stage")
        if timeless(one.history(kind)) != timeless(other.history(kind)):
            found.append(f"{kind}: history")
        if list(other.stage(kind).glob("*.ckpt")) or (other.stage(kind) / "scratch").exists():
            found.append(f"{kind}: what only an unfinished stage needs is left")
        found += [f"{kind}: {difference}" for difference in _of_weights(one, other, kind)]
    return found


def _of_weights(one: Run, other: Run, kind: str) -> list[str]:
    files = [sorted(run.stage(kind).rglob("*.pt")) for run in (one, other)]
    if [file.name for file in files[0]] != [file.name for file in files[1]]:
        return ["which weights are kept"]
    found = []
    for pair in zip(*files, strict=True):
        states = [torch.load(file, weights_only=True) for file in pair]
        names = {*states[0], *states[1]}
        found += [
            f"{pair[0].name}: {name}" for name in sorted(names) if not equal(states[0].get(name), states[1].get(name))
        ]
    return found


def timeless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return records without what no two runs share."""
    return [_timeless(record) for record in records]


def _timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in record.items() if name != "seconds"}
    if "metrics" in plain:
        unlike = ("images_per_second", "peak_memory_gb")
        plain["metrics"] = {name: value for name, value in plain["metrics"].items() if name not in unlike}
    return plain


def equal(one: Any, other: Any) -> bool:
    """Return whether two values are the same; tensors to the last bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)
