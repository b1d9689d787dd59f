"""`python analyze.py analysis=NAME run=FOLDER`: runs opened, measured once, drawn, and summarised."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pandas import DataFrame
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from archselect.analysis.base import TABLES, Analysis, AnalysisContext, Tables, stage_of
from archselect.distributed.launch import refuse_launched_analysis
from archselect.figures.style import save
from archselect.pipeline.config import as_user_error, figure_formats, instantiate_part, to_plain_dict
from archselect.pipeline.finished_run import FinishedRun, changes_of, open_run
from archselect.pipeline.loggers import RunLog
from archselect.pipeline.preflight import check_search_images
from archselect.pipeline.run import log_exceptions, redact_hydra_files
from archselect.pipeline.stage import run_stage
from archselect.store import write_text
from archselect.store.redact_paths import expanded, find_runs, override, redact_all
from archselect.training.devices import silence_lightning_warnings
from archselect.utils.errors import UserError, stopping_on_signals

SUMMARY = "reading.md"


@dataclass(frozen=True)
class Findings:
    """What an analysis of that name found: `pandas.DataFrame(tables[NAME])`, the PNG, and what is to be seen."""

    name: str
    tables: Tables
    picture: Path
    summary: str

    def __repr__(self) -> str:
        """Return the summary: the tables are long."""
        return f"{self.name}: {self.summary}"

    def _repr_html_(self) -> str:
        """Return the summary and the picture, as notebooks show them."""
        image = base64.b64encode(self.picture.read_bytes()).decode()
        return f'<p>{html.escape(self.summary)}</p><img alt="{self.name}" src="data:image/png;base64,{image}">'


def analyze(config: DictConfig) -> Findings:
    """Make the analysis that the config describes; tables, picture and summary go into Hydra's run folder.

    Raises:
        UserError: An option, the runs or the data do not allow it.
    """
    console = Console(highlight=False)
    folder = Path(HydraConfig.get().runtime.output_dir)
    with stopping_on_signals(console), log_exceptions(), as_user_error():
        redact_hydra_files(folder)
        findings = _make(config, folder, console)
    width = min(110, console.width)
    console.print(Panel(escape(findings.summary), title=findings.name, title_align="left", width=width))
    console.print(f"Written: {escape(str(folder))}/: {findings.name}.png, .csv, {SUMMARY}", soft_wrap=True)
    return findings


def look(analysis: str, run: str | Path, *overrides: str, configs: str | Path = "configs") -> Findings:
    """Make an analysis from Python: the same as `python analyze.py analysis=... run=... OVERRIDES`.

    In a notebook, the value of a cell that ends with this is the summary and the picture.

    Args:
        analysis: A name of `configs/analysis/`.
        run: The folder of a finished run, or of several.
        overrides: As on the command line.
        configs: The folder of the configs.

    Raises:
        UserError: An option, the runs or the data do not allow it.

    Example:
        >>> cells = archselect.analyze("cells", folder)
        >>> cells.picture.name, sorted(cells.tables)
        ('cells.png', ['edges', 'genotypes'])
    """
    refuse_launched_analysis()
    with as_user_error(), initialize_config_dir(str(Path(configs).resolve()), version_base="1.3"):
        every = [f"analysis={analysis}", override("run", run), *overrides]
        config = compose("analyze", every, return_hydra_config=True)
        folder = Path(config.hydra.run.dir)
        folder.mkdir(parents=True, exist_ok=True)
        return _make(config, folder, Console(quiet=True))


def _make(config: DictConfig, folder: Path, console: Console) -> Findings:
    silence_lightning_warnings()
    config = expanded(config)
    formats = figure_formats(config)
    table = None if config.table is None else Path(str(config.table))
    if table is not None and not table.is_file():
        raise ValueError(f"There is no NAS-Bench-201 table at {table}. Set table=FILE to the one you have.")
    runs = _open(config, table)
    whole = _with_options_of(runs[0].config, config)
    analysis: Analysis = instantiate_part(whole, "analysis")
    if not analysis.multi_run and len(runs) > 1:
        open_run(config.run)  # says that there are several
    analysis.check(runs)
    selections = {name: DictConfig(to_plain_dict(whole.selections[name])) for name in whole.selections}
    context = AnalysisContext(runs, selections, console, table, to_plain_dict(whole.analysis))
    console.print(f"[bold]{analysis.name}[/] of {escape(', '.join(str(run.folder) for run in runs[:3]))}")
    log = RunLog(runs[0].space)
    loggers = [instantiate(logger) for logger in whole.logger.values() if logger is not None]
    log.start(loggers, redact_all({"run": str(config.run), **to_plain_dict(whole)}))
    status = "failed"
    try:
        for run in runs:
            _check_unchanged(run)
        tables: Tables = run_stage(stage_of(analysis, context), context.job).folder.read_json(TABLES)
        findings = _write(analysis, tables, folder, log, formats)
        status = "success"
    finally:
        log.finish(status)
    return findings


def _open(config: DictConfig, table: Path | None) -> list[FinishedRun]:
    """Return the runs, with data, trainer and the table of a look-up where they are now."""
    runs = [open_run(folder, changes_of(config), tuple(config.trusted)) for folder in find_runs(config.run)]
    for run in runs:
        if table is not None and "table" in run.config.evaluation:
            run.config.evaluation.table = str(table)
    return runs


def _with_options_of(run: DictConfig, config: DictConfig) -> DictConfig:
    """Return the config of the analysis with that of the run around it: options may follow those of the run."""
    own = OmegaConf.masked_copy(config, ["analysis", "selections", "logger"])
    whole = OmegaConf.merge(OmegaConf.masked_copy(run, [str(key) for key in run if key != "logger"]), own)
    assert isinstance(whole, DictConfig)
    return whole


def _write(analysis: Analysis, tables: Tables, folder: Path, log: RunLog, formats: Sequence[str]) -> Findings:
    """Write and log what was found."""
    for position, (name, rows) in enumerate(tables.items()):
        if rows:
            text = DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")
            write_text(folder / f"{name if position else analysis.name}.csv", text)
            log.table(f"analysis/{analysis.name}/{name}", list(rows[0]), [list(row.values()) for row in rows])
    picture = save(analysis.draw(tables), folder / analysis.name, formats)
    log.figures([picture])
    summary = analysis.summary(tables)
    write_text(folder / SUMMARY, f"{summary}\n")
    log.summary({f"analysis/{analysis.name}": summary})
    return Findings(analysis.name, tables, picture, summary)


def _check_unchanged(run: FinishedRun) -> None:
    """Raise a UserError unless the run's images are those that its supernet was trained on."""
    if "search" not in run.summary["stages"]:
        raise UserError(
            f"The run {run.folder} was given its genotype and has no search; an analysis looks at a supernet. Name a "
            "run that searched."
        )
    trained_on = run.stage("search").folder.key.identity["data"]["fingerprint"]
    found = run.parts.data.fingerprint()
    if found != trained_on:
        raise UserError(
            f"The images of data={run.parts.data.name} are not those that the run {run.folder} was trained on (their "
            f"fingerprint is {found[:12]}, it was {trained_on[:12]}). Name their folder by data_path=FOLDER."
        )
    check_search_images(run.parts)
