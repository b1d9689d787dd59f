"""What a run shows: the plan before it, figures and a table after it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from archselect.costs.latency import BATCHES
from archselect.costs.latency_table import cost_in_words
from archselect.data import ImageData, StreamedImages
from archselect.evaluation import NoEvaluation
from archselect.evaluation.nasbench201 import DATA_SETS
from archselect.figures import strengths, trajectories
from archselect.figures.cells import draw_cells
from archselect.figures.style import save
from archselect.genotype import Genotype
from archselect.pipeline.config import Components
from archselect.pipeline.plan import Plan
from archselect.pipeline.selection_stage import DECISIONS
from archselect.pipeline.stage import StageResult, epochs_made
from archselect.results.formatting import duration
from archselect.results.metric import ACCURACY, Metric
from archselect.results.summaries import FEW_CLASSES, is_unbalanced
from archselect.store import CHECKPOINTS, StageFolder
from archselect.tasks import Task
from archselect.training.fit import HISTORY
from archselect.training.progress import warn
from archselect.utils.console import print_titled


def show_plan(plan: Plan) -> None:
    """Show the stages, how long they are and what is there already."""
    parts, job = plan.parts, plan.job
    state = {kind: _state(job.store.folder(stage.key)) for kind, stage in plan.known().items()}
    title = f"{plan.config.name}, seed {parts.seed}"
    table = Table("stage", "what", "epochs", "state", title=title, title_justify="left")
    if parts.genotype is None:
        cells, method = parts.space.cells, parts.search
        what = f"{method.name} on {parts.space.name}{_snapshots(parts)}"
        table.add_row("search", what, str(method.epochs), state["search"])
        what, epochs = (
            parts.selection.describe(cells, at_most=method.greedy is not None),
            parts.selection.cost(cells).epochs,
        )
        table.add_row("selection", what, str(epochs or ""), state.get("selection", "after the search"))
    evaluation, after = parts.evaluation, "" if isinstance(parts.evaluation, NoEvaluation) else "after the selection"
    table.add_row("evaluation", evaluation.describe(), str(evaluation.epochs or ""), state.get("evaluation", after))
    job.console.print(table)


def _snapshots(parts: Components) -> str:
    """Return how many supernets a search will keep and what they take on disk."""
    every, epochs = parts.search.snapshots, parts.search.epochs
    if every is None:
        return ""
    data = parts.data
    with torch.device("meta"):
        outputs = parts.task.outputs(data)
        supernet = parts.space.supernet(data.image_size, outputs, parts.search.variant, data.channels)
    size = sum(tensor.nbytes for tensor in (*supernet.parameters(), *supernet.buffers())) / 1e6
    return f"; keeps {-(-epochs // every)} snapshots of {size:.1f} MB"


def _state(folder: StageFolder) -> str:
    if folder.state == "unfinished":
        if epochs := epochs_made(folder):
            return f"goes on after epoch {epochs}"
        return "goes on in epoch 1" if (folder.path / CHECKPOINTS[0]).exists() else "starts again"
    return {"finished": "is there", "absent": "to do", "damaged": "damaged: starts again"}[folder.state]


def show_data(console: Console, data: ImageData, task: Task) -> None:
    """Show what the training images are, by what they are normalised, and what is not as one would think."""
    normalisation = data.normalisation
    mean, std = (one[0] if len({*one}) == 1 else list(one) for one in (normalisation.mean, normalisation.std))
    channels = "" if data.channels == 3 else f" in {data.channels} channel{'s' if data.channels > 1 else ''}"
    words = (
        f"{data.name}: {len(data.train.labels):,} training images {task.spread(data)}, "
        f"{data.image_size} x {data.image_size} pixels{channels}; mean {mean}, std {std}"
        f"{', measured on them' if data.is_measured else ''}"
    )
    if isinstance(data.train, StreamedImages):
        workers = "1 thread decodes" if data.workers == 1 else f"{data.workers} threads decode"
        size = f"decoded they would take {data.train.decoded_bytes / 2**30:.1f} GiB"
        why = "each is cropped anew, at its own size" if data.crops_anew else size
        words += f"; read from disk while they are needed, for {why} ({workers}; data.storage={data.storage})"
    print_titled(console, "data", escape(words))
    for note in data.notes:
        warn(console, "data", note)


_CURVES = {
    "search": "The search: {} and loss of the supernet",
    "selection": "The selection: {} and loss of the supernet while it is discretised",
    "evaluation": "The evaluation: {} and loss of the selected architecture",
}


def draw_figures(
    folder: Path,
    genotype: Genotype,
    finished: Mapping[str, StageResult],
    ranking: bool,
    formats: Sequence[str],
    metric: Metric = ACCURACY,
    operations: Iterable[str] = (),
) -> list[Path]:
    """Draw the pictures of a run, as PNG and in the other formats beside them, and return the paths of the PNGs."""
    figures = _figures(genotype, finished, ranking, metric, operations)
    return [save(figure, folder / name, formats) for name, figure in figures]


def _figures(
    genotype: Genotype,
    finished: Mapping[str, StageResult],
    ranking: bool,
    metric: Metric,
    operations: Iterable[str],
) -> Iterator[tuple[str, Figure]]:
    """Yield the pictures of a run, each with its name; with `ranking` also how strong the operations are."""
    yield "cells", draw_cells(genotype, operations)
    for kind, stage in finished.items():
        history, decisions = stage.folder.read_lines(HISTORY), stage.folder.read_lines(DECISIONS)
        if history:
            yield (
                f"{kind}_curves",
                trajectories.draw_curves(history, _CURVES[kind].format(metric.words), decisions, metric),
            )
        if history and "alpha" in history[0]:
            space = stage.folder.read_json("space.json")
            yield f"{kind}_alpha", trajectories.draw_alpha(history, space)
            yield f"{kind}_alpha_map", trajectories.draw_alpha_map(history, space)
        if ranking and any(decision.get("strengths") for decision in decisions):
            yield "strengths", strengths.draw_strengths(decisions)
        scored = {decision["kind"] for decision in decisions if decision["scores"]}
        if "operation" in scored:
            yield "operation_strengths", strengths.draw_operation_strengths(decisions, metric)
        if "topology" in scored:
            yield "topology_strengths", strengths.draw_topology_strengths(decisions, metric)


def tables(
    summary: Mapping[str, Any], finished: Mapping[str, StageResult]
) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    """Yield name, columns and rows of the tables of a run: the genotype, and every score behind every decision."""
    names = ["search_space", "search", "selection", "data", "seed", "genotype", "params"]
    yield "genotypes", names, [[summary[name] for name in names]]
    if "selection" in finished:
        metric = Metric.of(summary).name
        columns = ["point", "epoch", "cell", "kind", "where", "round", "candidate", metric, "loss", "kept"]
        yield "decisions", columns, list(_scores(finished["selection"].folder.read_lines(DECISIONS), metric))


def _scores(decisions: Sequence[Mapping[str, Any]], metric: str) -> Iterator[list[Any]]:
    """Yield a row per score of every decision; of a decision without scores, what was kept."""
    for decision in decisions:
        where = str(decision.get("edge_states", decision.get("node")))
        place = [decision["point"], decision["epoch"], decision["cell"], decision["kind"], where]
        for score in decision["scores"] or [{"candidate": decision["kept"]}]:
            values = [score.get("round", 0), str(score["candidate"]), score.get(metric), score.get("loss")]
            yield [*place, *values, str(decision["kept"])]


RANKING = ("cell", "edge", "candidate", "rank", "strength", "standard_error", "kept")


def ranked(decisions: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return rows of `RANKING`: the operations of every edge that a selection ranked; ties share a rank."""
    rows = []
    for decision in decisions:
        given = list(zip(decision["candidates"], decision.get("strengths") or [], strict=False))
        for name, strength in sorted(given, key=lambda pair: pair[1]["value"], reverse=True):
            rank = 1 + sum(other["value"] > strength["value"] for _, other in given)
            edge = "({},{})".format(*decision["edge_states"])
            numbers = [strength["value"], strength["standard_error"]]
            rows.append([decision["cell"], edge, name, rank, *numbers, name == decision["kept"]])
    return rows


def show_ranking(console: Console, rows: Sequence[Sequence[Any]]) -> None:
    """Show the operations of every edge, strongest first."""
    table = Table(title="Strength of the operations, as the selection measures it", title_justify="left")
    for column in ("cell", "edge", "rank", "operation", "strength ± standard error", ""):
        table.add_column(column, justify="right" if column == "rank" else "left")
    for (cell, edge), own in groupby(rows, key=lambda row: (row[0], row[1])):
        table.add_section()
        for index, (_, _, name, rank, value, error, kept) in enumerate(own):
            where = ("", "") if index else (cell, edge)
            amount = f"{value:.4g}" + ("" if error is None else f" ± {error:.2g}")
            table.add_row(*where, str(rank), name, amount, "kept" if kept else "", style="bold" if kept else None)
    console.print(table)


def show_summary(console: Console, summary: Mapping[str, Any], folder: Path, following: Sequence[str]) -> None:
    """Show what came of a run, and commands that may be typed next."""
    table = Table(show_header=False, title="Result", title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _results(summary):
        table.add_row(name, value)
    console.print(table)
    console.print(str(folder), markup=False, soft_wrap=True)
    for number, command in enumerate(following):
        console.print(f"{'' if number else 'next':<5}{command}", markup=False, highlight=False, soft_wrap=True)


def _results(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a run came to, by name."""
    yield "search space", f"{summary['search_space']} on {summary['data']}, seed {summary['seed']}"
    if summary["search"] is not None:
        yield "method", f"search {summary['search']}, selection {summary['selection']}"
    for cell in Genotype.from_text(summary["genotype"]):
        nodes = (
            f"{node}: " + ", ".join(f"{operation}({source})" for operation, source in inputs)
            for node, inputs in enumerate(cell.nodes, start=cell.inputs)
        )
        yield f"{cell.name} cell" if cell.name != "cell" else "cell", "\n".join(nodes)
    if summary["params"] is not None:
        yield "parameters", f"{summary['params']:,}"
    if "costs.macs" in summary:
        yield "costs", costs_in_words(summary)
    if "selection.limit" in summary:
        yield "limit", _limits(summary)
    metric = Metric.of(summary)
    if metric.key("search.val") in summary:
        yield "supernet", f"{_metric(summary, metric, 'search.val')} validation {escape(metric.words)}"
    if metric.key("evaluation.test") in summary:
        yield f"test {escape(metric.words)}", f"[bold green]{_metric(summary, metric, 'evaluation.test')}"
        if lines := _per_class(summary):
            yield "of each class", escape(lines)
    if (explained := summary.get("evaluation.test_r2")) is not None:
        yield "test R²", f"{explained:.3f} (0 is that of always answering the mean)"
    if "evaluation.rank" in summary:
        for data in DATA_SETS:
            yield f"{data} test", f"[bold green]{summary[f'evaluation.{data}_test']:.2f} %"
        yield "rank", f"{summary['evaluation.rank']:,} of {summary['evaluation.of']:,}"
    times = (
        f"{kind} {duration(stage['seconds'])}{' (was there)' if stage['reused'] else ''}"
        for kind, stage in summary["stages"].items()
    )
    yield "time", "\n".join(times)


def _limits(summary: Mapping[str, Any]) -> str:
    """Return each limit with what the network has of it, and how many decisions it left fewer candidates."""
    lines, limited = list[str](), summary["selection.limited_decisions"]
    for option, one in summary["selection.limit"].items():
        has, most = (cost_in_words(option.removesuffix("_ms"), one[name]) for name in ("of_network", "most"))
        lines.append(f"{has.partition(' ')[0]} of {most}")
    decisions = "1 decision" if limited == 1 else f"{limited:,} decisions"
    return "\n".join([*lines, f"{decisions} had fewer candidates for it"])


def costs_in_words(summary: Mapping[str, Any]) -> str:
    """Return what an image costs the network: a line for what is counted, and one for the times, if they are there."""
    macs, activations, size = (summary[f"costs.{name}"] for name in ("macs", "peak_activation_bytes", "image_size"))
    counted = f"{macs / 1e6:,.2f} M MACs, {activations / 1e6:,.2f} MB of activations ({size} x {size} pixels)"
    if "costs.device" not in summary:
        return counted
    measured = {batch: summary[f"costs.latency_ms_batch{batch}"] for batch in BATCHES}
    times = [f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms" for ms in measured.values()]
    batches = ", ".join(f"{time} for a batch of {batch}" for time, batch in zip(times, measured, strict=True))
    disturbed = "; other processes disturbed it" if summary["costs.disturbed"] else ""
    return f"{counted}\n{batches} on {escape(summary['costs.device'])}{disturbed}"


def _metric(summary: Mapping[str, Any], metric: Metric, part: str) -> str:
    """Return a metric in its unit; beside an accuracy, where the sizes of the classes differ, the balanced one."""
    text = metric.amount(summary[metric.key(part)])
    if f"{part}_balanced_accuracy" in summary and _is_unbalanced(summary):
        text += f" (balanced: {100 * summary[f'{part}_balanced_accuracy']:.2f} %)"
    return text


def _is_unbalanced(summary: Mapping[str, Any]) -> bool:
    """Return whether some classes have far fewer images than others, to train on or to test on."""
    kinds = ("search.train", "evaluation.train", "evaluation.test")
    return any(is_unbalanced(summary.get(f"{kind}_images_per_class", ())) for kind in kinds)


def _per_class(summary: Mapping[str, Any]) -> str:
    """Return the test accuracy of each class and the training images it had; nothing where classes are of one size."""
    accuracies = summary.get("evaluation.test_accuracy_per_class")
    if accuracies is None or not _is_unbalanced(summary):
        return ""
    trained, tested = (summary[f"evaluation.{part}_images_per_class"] for part in ("train", "test"))
    rows = list(zip(summary["class_names"], accuracies, trained, tested, strict=True))
    worst = sorted((row for row in rows if row[1] is not None), key=lambda row: float(row[1]))
    shown = rows if len(rows) <= FEW_CLASSES else worst[: FEW_CLASSES // 2]
    lines = [
        f"{name}: {'not tested' if share is None else f'{100 * share:.2f} %'} "
        f"({train:,} images to train, {test:,} to test)"
        for name, share, train, test in shown
    ]
    if len(shown) < len(rows):
        lines.append(f"the worst {len(shown)} of {len(rows)}; all: summary.json, evaluation.test_accuracy_per_class")
    return "\n".join(lines)
