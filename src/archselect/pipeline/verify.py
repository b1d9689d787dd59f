"""Is what is reported what ran? Every hash below a folder is computed again and every artifact read again.

python -m archselect.pipeline.verify logs
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

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
    """What was found of a stage or a run.

    Attributes:
        what: The kind of the stage, or `run`.
        path: Of its folder.
        state: `finished`, `unfinished`, `set aside`; of a run always `finished`.
        problems: What is not as it was or as it should be, a sentence each.
        notes: What could not be checked.
    """

    what: str
    path: Path
    state: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def verify(folder: Path) -> Iterator[Verified]:
    """Check all stages and runs below a folder, one after the other.

    Raises:
        FileNotFoundError: There is neither.
    """
    stages = sorted(path for kind in get_args(Kind) for path in folder.glob(f"**/stages/{kind}/*/") if path.is_dir())
    runs = sorted(path.parent for path in folder.rglob(SUMMARY))
    if not stages and not runs:
        raise FileNotFoundError(f"{folder} holds neither stages nor runs. Name the folder of logs=, such as logs.")
    digests = {path.name.rpartition("-")[2] for path in stages}
    for path in stages:
        yield verified_stage(path, digests)
    for path in runs:
        yield Verified("run", path, "finished", tuple(_of_run(path)))


def verified_stage(path: Path, known: set[str]) -> Verified:
    """Check a stage: name, identity, digests, every file, provenance, and that what it started from is there.

    Args:
        path: Of its folder.
        known: The digests of all stages that are there.
    """
    kind = path.parent.name
    if ".damaged-" in path.name:
        return Verified(kind, path, "set aside", notes=("a damaged stage that was made again; it may be deleted",))
    try:
        folder = StageFolder.found(path)
    except (FileNotFoundError, ValueError) as error:
        return Verified(kind, path, "damaged", (str(error),))
    wrong = folder.integrity_error(contents=True)
    if wrong is not None:
        return Verified(kind, path, "damaged", (f"{wrong}.",))
    if folder.state == "unfinished":
        return Verified(kind, path, "unfinished")
    problems = [*_unreadable(path), *_provenance(folder), *_starting_points(folder.key.identity, known)]
    return Verified(kind, path, "finished", tuple(problems))


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
        lacking = [name for name in PROVENANCE if name not in session]
        if lacking:
            yield f"Session {number} of provenance.json does not say its {', '.join(lacking)}."


def _starting_points(identity: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    prepared = identity.get("prepared", {})
    needed = {"search": identity.get("search"), **(prepared if isinstance(prepared, dict) else {})}
    for name, digest in needed.items():
        if isinstance(digest, str) and digest not in known:
            yield f"What it started from, the stage {digest} ({name}), is not there."


def _of_run(path: Path) -> Iterator[str]:
    """Yield where a run's summary says something else than its stages."""
    try:
        run = FinishedRun(path, OmegaConf.create({}))  # its config is not needed
        summary = run.summary
        results = {kind: run.stage(kind).result for kind in summary["stages"]}
    except (ValueError, OSError) as error:
        yield str(error)
        return
    yield from _disagreements(run, results)


def _disagreements(run: FinishedRun, results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    summary, said = run.summary, summarise(results)
    if "selection" in results:
        said["genotype"] = results["selection"]["genotype"]
    for name, value in said.items():
        if summary.get(name) != value:
            yield f"{SUMMARY} says {name} = {summary.get(name)}, the stage {value}."
    genotype = run.folder / "genotype.json"
    try:
        if str(Genotype.from_json(genotype.read_text(encoding="utf-8"))) != summary["genotype"]:
            yield f"{genotype.name} is another architecture than {SUMMARY} says."
    except (ValueError, OSError) as error:
        yield f"{genotype.name} cannot be read: {error}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m archselect.pipeline.verify",
        description="Compute every hash again, read every artifact again, compare runs with their stages.",
    )
    parser.add_argument("folder", type=Path, help="the folder that holds stages and runs, e.g. logs")
    options = parser.parse_args(arguments)
    console, errors = Console(highlight=False), Console(stderr=True)

    counted: Counter[str] = Counter()
    wrong = 0
    try:
        for one in verify(options.folder):
            counted[f"{one.what}, {one.state}"] += 1
            wrong += bool(one.problems)
            for problem in one.problems:
                console.print(f"[red]{one.what} {escape(str(one.path))}[/]: {escape(problem)}", soft_wrap=True)
            for note in one.notes:
                console.print(f"[yellow]{one.what} {escape(str(one.path))}[/]: {escape(note)}", soft_wrap=True)
    except OSError as error:
        errors.print(escape(str(error)), style="red")
        return 1
    checked = "; ".join(f"{number} {name}" for name, number in sorted(counted.items()))
    console.print(f"Checked: {checked}. {f'{wrong} with problems' if wrong else 'All are as they were'}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
