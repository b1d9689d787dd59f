"""How a result came to be: versions, commit, command, device, seeds. User and host names stay out."""

import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from archselect.store.redact_paths import redact

DIFF_CHARACTERS = 200_000  # of a diff, that are kept
PACKAGES = {
    "archselect": "archselect",
    "torch": "torch",
    "pytorch_lightning": "pytorch-lightning",
    "hydra": "hydra-core",
}


def provenance(device: str, seeds: Mapping[str, int]) -> dict[str, Any]:
    """Return how the present process makes its results, as plain JSON data.

    Args:
        device: What computes, e.g. "cpu" or "cuda: NVIDIA H100".
        seeds: The seeds in use, by name.
    """
    script, *arguments = sys.argv
    return {
        "command": [Path(script).name, *map(redact, arguments)],
        "versions": {
            "python": platform.python_version(),
            "archselect": _version("archselect"),
            "torch": _version("torch"),
            "pytorch_lightning": _version("pytorch-lightning"),
            "hydra": _version("hydra-core"),
        },
        "git": git_state(Path(__file__)),
        "device": device,
        "seeds": dict(seeds),
    }


def git_state(source: Path) -> dict[str, Any] | None:
    """Return the commit that the file `source` is part of, and how its checkout differs from it.

    `dirty` says whether anything does; if so, `diff` is that of the tracked files, redacted and cut after
    `DIFF_CHARACTERS`, and `untracked` names the other files: a new config file changes results as an edited one does.

    None when there is no such commit: no checkout, an installed package (also one inside somebody else's checkout), a
    file not yet committed, no git on this machine.
    """
    folder = source.resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain")
    if commit is None or changes is None or _git(folder, "ls-files", "--error-unmatch", source.name) is None:
        return None
    if not changes:
        return {"commit": commit, "dirty": False}
    diff = redact(_git(folder, "diff", "--no-ext-diff", "HEAD", "--", ":/") or "")
    left_out = f"\n[{len(diff) - DIFF_CHARACTERS} characters more]" if len(diff) > DIFF_CHARACTERS else ""
    untracked = [line[3:] for line in changes.splitlines() if line.startswith("?? ")]
    return {"commit": commit, "dirty": True, "diff": diff[:DIFF_CHARACTERS] + left_out, "untracked": untracked}


def _git(folder: Path, *arguments: str) -> str | None:
    line = ["git", "--no-optional-locks", *arguments]  # not to write the index: others may be using the checkout
    try:
        done = subprocess.run(
            line, cwd=folder, capture_output=True, text=True, errors="replace", timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # archselect itself, in a copy of the repository that is not installed
        return None
