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
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from archselect.figures.style import add_legend, legend_dot, new_figure, save, selection_styles, styled
from archselect.reporting.html.run_view import ANALYSES, READING, Assets, Notes, Picture, RunView, analyses_in
from archselect.results.formatting import columns, footnotes, metric_of
from archselect.results.grid import Failure, Grid
from archselect.results.metric import ACCURACY
from archselect.results.summaries import Row, by_task
from archselect.store import atomic_write
from archselect.store.atomic_io import disk_errors_explained
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
        tasks=[(title, own, columns(own), _picture(own, assets), footnotes(own)) for title, own in tasks],
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
    with atomic_write(path) as file:
        file.write(html.encode())


def _picture(report: Sequence[Row], assets: Assets) -> Picture | None:
    """Return the picture that the page opens with; None where nothing was evaluated."""
    if (figure := draw_results(report)) is None:
        return None
    with TemporaryDirectory() as folder:
        file = save(figure, Path(folder) / "results")
        papers = ", the paper's numbers as lines" if metric_of(report) == ACCURACY else ""
        caption = f"Test {metric_of(report).words} against parameters: a point per run{papers}"
        return assets.embed(file, file.parent, caption)


@styled
def draw_results(report: Sequence[Row]) -> Figure | None:
    """Draw the test metric of every run against its parameters, and what the paper reports for the same choices.

    A panel for each search space, evaluation and data set; a colour per selection, a marker per search.
    """
    rows = [row for row in report if any(one.costs.get("params") and one.value is not None for one in row.results)]
    if not rows:
        return None
    panels: dict[str, list[Row]] = {}
    for row in rows:
        panels.setdefault(f"{row.choices.search_space}, {row.choices.data}, {row.choices.evaluation}", []).append(row)
    colours = {name: style.colour for name, style in selection_styles(row.choices.selection for row in rows).items()}
    markers = dict(zip(dict.fromkeys(row.choices.search for row in rows), cycle("os^DvPX*"), strict=False))
    lines = -(-len(panels) // 2)
    metric = metric_of(report)
    figure, body = new_figure(f"Test {metric.words} against parameters", 0.75 + 2.5 * lines)
    legend = [legend_dot(name, colour, True) for name, colour in colours.items()]
    legend += [legend_dot(f"search {name}", "0.35", False, marker) for name, marker in markers.items()]
    if any(row.paper for row in rows):
        legend.append(Line2D([], [], color="0.35", linestyle="--", label="the paper's"))
    add_legend(body, legend)
    grid = body.subplots(lines, min(2, len(panels)), squeeze=False).ravel()
    for axes, (title, own) in zip(grid, panels.items(), strict=False):
        for row in own:
            colour, marker = colours[row.choices.selection], markers[row.choices.search]
            known = [one for one in row.results if one.costs.get("params") and one.value is not None]
            at = [one.costs["params"] for one in known], [one.value for one in known]
            axes.plot(*at, linestyle="", marker=marker, markersize=5, color=colour, alpha=0.8)
            if row.paper is not None:
                axes.axhline(row.paper.accuracy, color=colour, linewidth=1, linestyle="--", zorder=0)
                end = {"transform": axes.get_yaxis_transform(), "markerfacecolor": "white", "clip_on": False}
                axes.plot(1, row.paper.accuracy, marker=marker, markersize=5, color=colour, **end)
        axes.set_title(title, fontsize=8)
        axes.set(xlabel="parameters", ylabel=f"test {metric.label}")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return figure


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
