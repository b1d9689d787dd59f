"""The page: the report's table, its grids, and every run, in one HTML file without anything from outside.

Everything that comes from files is text to the template, which escapes it; a content security policy lets the page run
its own script only and load nothing but the pictures that it carries.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from archselect.reporting.html.run_view import ANALYSES, READING, Assets, Notes, RunView, analyses_in
from archselect.reporting.html.tradeoff import tradeoffs
from archselect.results.formatting import columns, footnotes
from archselect.results.grid import Failure, Grid
from archselect.results.summaries import Row, by_task
from archselect.store import disk_errors_explained, write_text
from archselect.store.redact_paths import redact


def write_page(
    report: Sequence[Row],
    grids: Sequence[Grid],
    folder: Path,
    path: Path,
    warn: Callable[[str], None],
    failed: Sequence[Failure],
) -> None:
    """Write the page on the runs under `folder` to `path`, whose folder is made.

    `warn` is told what is missing of each run; the page says the same in its place.

    Raises:
        StoreError: The disk refuses.
    """
    assets, notes = Assets(path.parent), Notes()
    results, tasks = [result for row in report for result in row.results], by_task(report)
    runs = [RunView(result, f"run-{number}", assets) for number, result in enumerate(results, start=1)]
    known = [run for result in results for run in result.runs]
    beside = [(home, analyses_in(home, assets, notes)) for home in _folders_beside(folder, known)]
    for sentence in [*(f"{run.folder}: {sentence}" for run in runs for sentence in run.notes), *notes.sentences]:
        warn(sentence)
    html = _template().render(
        folder=redact(str(folder.resolve())),
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        tasks=[
            (title, own, columns(own), [*tradeoffs(own, assets)], footnotes(own, all_costs=True))
            for title, own in tasks
        ],
        anchors={run.folder: run.anchor for run in runs},
        grids=grids,
        failed=[str(one) for one in failed],
        runs=runs,
        beside=beside,
        notes=notes.sentences,
        pictures=assets.pictures,
    )
    with disk_errors_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html)


def _folders_beside(folder: Path, runs: Iterable[Path]) -> list[Path]:
    """Return the folders under `folder` that hold analyses and are no run: those of several runs, such as a sweep's."""
    known = {run.resolve() for run in runs}
    holders = sorted({reading.parents[2] for reading in folder.rglob(f"{ANALYSES}/*/{READING}")})
    return [holder for holder in holders if holder.resolve() not in known]


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("archselect.reporting.html", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "digest": lambda text: b64encode(sha256(text.encode()).digest()).decode(),
        "written": lambda path: redact(str(path)),
        "unbroken": partial(re.sub, r"(?<=\d) (s|min|h)\b", "\u00a0\\1"),  # a unit and its number
    }
    return environment.get_template("page.html")
