"""Is what is reported what ran? Every hash below a folder is computed again and every artifact read again.

python -m archselect.pipeline.verify logs
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape

from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun, summarise
from archselect.safe_io import tensors
from archselect.safe_io.config import read_config
from archselect.safe_io.files import JSON_BYTES, parse_json, read_bytes, read_json
from archselect.store import StageFolder
from archselect.store.key import Kind
from archselect.store.redact_paths import SUMMARY

PROVENANCE = ("command", "versions", "git", "device", "seeds")
"""What a session says of itself."""


@dataclass(frozen=True)
class Verified:
    """What was found of a stage or a run: the problems are a sentence each."""

    what: Kind | Literal["run"]
    path: Path
    state: Literal["finished", "unfinished", "damaged", "set aside"]
    problems: tuple[str, ...]


def verify(folder: Path) -> Iterator[Verified]:
    """Check all stages and runs below a folder, one after the other; a FileNotFoundError says that there are none."""
    stages = sorted(path for kind in get_args(Kind) for path in folder.glob(f"**/stages/{kind}/*/") if path.is_dir())
    runs = sorted(path.parent for path in folder.rglob(SUMMARY))
    if not stages and not runs:
        raise FileNotFoundError(f"{folder} holds neither stages nor runs. Name the folder of logs=, such as logs.")
    digests = {path.name.rpartition("-")[2] for path in stages}
    yield from (_verified_stage(path, digests) for path in stages)
    yield from (Verified("run", path, "finished", tuple(_disagreements(path))) for path in runs)


def _verified_stage(path: Path, known: set[str]) -> Verified:
    """Check a stage: name, identity, digests, every file, provenance, and that what it started from is `known`."""
    found = partial(Verified, cast(Kind, path.parent.name), path)
    if ".damaged-" in path.name:
        return found("set aside", ())
    try:
        folder = StageFolder.found(path)
    except (FileNotFoundError, ValueError) as error:
        return found("damaged", (str(error),))
    if (wrong := folder.integrity_error(contents=True)) is not None:
        return found("damaged", (f"{wrong}.",))
    if folder.state == "unfinished":
        return found("unfinished", ())
    problems = [*_unreadable(path), *_provenance(folder), *_starting_points(folder.key.identity, known)]
    return found("finished", tuple(problems))


READERS: Mapping[str, Callable[[Path], Any]] = {
    ".json": lambda path: read_json(path, path.parent),
    ".jsonl": lambda path: [parse_json(line) for line in read_bytes(path, path.parent, JSON_BYTES).splitlines()],
    ".yaml": lambda path: read_config(path, path.parent),
    ".pt": tensors.load,
}


def _unreadable(path: Path) -> Iterator[str]:
    for file in sorted(path.rglob("*")):
        if file.suffix in READERS:
            try:
                READERS[file.suffix](file)
            except (ValueError, OSError) as error:
                yield f"{file.relative_to(path)} cannot be read: {error}"


def _provenance(folder: StageFolder) -> Iterator[str]:
    for number, session in enumerate(folder.read_json("provenance.json"), start=1):
        if lacking := [name for name in PROVENANCE if name not in session]:
            yield f"Session {number} of provenance.json does not say its {', '.join(lacking)}."


def _starting_points(identity: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    prepared = identity.get("prepared", {})
    needed = {"search": identity.get("search"), **(prepared if isinstance(prepared, dict) else {})}
    for name, digest in needed.items():
        if isinstance(digest, str) and digest not in known:
            yield f"What it started from, the stage {digest} ({name}), is not there."


def _disagreements(path: Path) -> Iterator[str]:
    """Yield where a run's summary says something else than its stages and its genotype."""
    try:
        run = FinishedRun(path, OmegaConf.create({}))  # its config is not needed
        summary = run.summary
        results = {kind: run.stage(kind).result for kind in summary["stages"]}
    except (ValueError, OSError) as error:
        yield str(error)
        return
    said = summarise(results)
    if "selection" in results:
        said["genotype"] = results["selection"]["genotype"]
    for name, value in said.items():
        if summary.get(name) != value:
            yield f"{SUMMARY} says {name} = {summary.get(name)}, the stage {value}."
    try:
        if str(Genotype.from_json((path / "genotype.json").read_text(encoding="utf-8"))) != summary["genotype"]:
            yield f"genotype.json is another architecture than {SUMMARY} says."
    except (ValueError, OSError) as error:
        yield f"genotype.json cannot be read: {error}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.pipeline.verify",
        description="Compute every hash again, read every artifact again, compare runs with their stages.",
    )
    parser.add_argument("folder", type=Path, help="the folder that holds stages and runs, e.g. logs")
    console, counted, wrong = Console(highlight=False), Counter[str](), 0
    note = "a damaged stage that was made again; it may be deleted"
    try:
        for one in verify(parser.parse_args(arguments).folder):
            counted[f"{one.what}, {one.state}"] += 1
            wrong += bool(one.problems)
            for words in [note] if one.state == "set aside" else one.problems:
                colour = "red" if one.problems else "yellow"
                console.print(f"[{colour}]{one.what} {escape(str(one.path))}[/]: {escape(words)}", soft_wrap=True)
    except OSError as error:
        Console(stderr=True).print(escape(str(error)), style="red")
        return 1
    checked = "; ".join(f"{number} {name}" for name, number in sorted(counted.items()))
    console.print(f"Checked: {checked}. {f'{wrong} with problems' if wrong else 'All are as they were'}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
