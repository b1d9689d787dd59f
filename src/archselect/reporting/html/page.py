"""The page: the report's table, its grids, and every run, in one HTML file without anything from outside.

Everything that comes from files is text to the template, which escapes it; a content security policy lets the page run
its own script only and load nothing but the pictures that it carries.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from archselect.reporting.html.parts import Links, Notes, Pictures
from archselect.reporting.html.run_view import view
from archselect.reporting.html.tables import analyses_in, folders_beside, summary_table
from archselect.results.formatting import footnotes
from archselect.results.grid import Failure, Grid
from archselect.results.summaries import Row
from archselect.store import atomic_write
from archselect.store.atomic_io import disk_errors_explained
from archselect.store.redact_paths import redact


def write_page(
    report: Sequence[Row],
    made: Sequence[Grid],
    folder: str | Path,
    path: str | Path,
    warn: Callable[[str], None],
    failed: Sequence[Failure] = (),
) -> Path:
    """Write the page on the runs under `folder` to `path` and return it.

    Args:
        report: Its table.
        made: The grids of searches and selections.
        folder: Where the runs lie.
        path: The HTML file; its folder is made.
        warn: Told what is missing of each run; the page says the same in its place.
        failed: Runs that came to nothing.

    Raises:
        StoreError: The disk refuses.
    """
    folder, path = Path(folder), Path(path)
    pictures, links = Pictures(), Links(path.parent)
    results = [result for row in report for result in row.results]
    runs = [view(result, f"run-{number}", pictures, links) for number, result in enumerate(results, start=1)]
    for run in runs:
        for sentence in run.notes:
            warn(f"{run.folder}: {sentence}")
    notes = Notes()
    known = [run for result in results for run in result.runs]
    beside = [(home, analyses_in(home, pictures, links, notes)) for home in folders_beside(folder, known)]
    for sentence in notes.sentences:
        warn(sentence)
    script = _asset("page.js")
    html = _template().render(
        folder=redact(str(folder.resolve())),
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        table=summary_table(report, {run.folder: run.anchor for run in runs}),
        footnotes=footnotes(report),
        grids=made,
        failed=[str(one) for one in failed],
        runs=runs,
        beside=beside,
        notes=notes.sentences,
        pictures=pictures.data,
        style=Markup(_asset("page.css")),  # our own file
        script=Markup(script),  # likewise
        digest=b64encode(sha256(script.encode()).digest()).decode(),
    )
    with disk_errors_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(html.encode())
    return path


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("archselect.reporting.html", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["written"] = lambda path: redact(str(path))
    return environment.get_template("page.html")


def _asset(name: str) -> str:
    return files("archselect.reporting.html").joinpath("template", name).read_text(encoding="utf-8")
