"""What a run shows: the plan before it, figures and a table after it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from archselect.data import ImageData
from archselect.evaluation import NoEvaluation
from archselect.figures.cells import draw_cells
from archselect.figures.strengths import draw_operation_strengths, draw_strengths, draw_topology_strengths
from archselect.figures.style import save
from archselect.figures.trajectories import draw_alpha, draw_alpha_map, draw_curves
from archselect.genotype import Genotype
from archselect.pipeline.config import Components
from archselect.pipeline.selection_stage import DECISIONS
from archselect.pipeline.stage import Stage, StageResult
from archselect.results.formatting import duration
from archselect.results.summaries import is_unbalanced
from archselect.store import CHECKPOINTS, Store
from archselect.training.fit import HISTORY
from archselect.training.progress import warn


def show_plan(console: Console, name: str, parts: Components, store: Store, search: Stage) -> None:
    """Show the stages, how long they are and what is there already."""
    table = Table(title=f"{name}, seed {parts.seed}", title_justify="left")
    for column in ("stage", "what", "epochs", "state"):
        table.add_column(column)
    if parts.genotype is None:
        what = f"{parts.search.name} on {parts.space.name}{_snapshots(parts)}"
        table.add_row("search", what, str(parts.search.epochs), _state(store, search))
        epochs = parts.selection.cost(parts.space.cells).epochs
        what = parts.selection.describe(parts.space.cells, at_most=parts.search.greedy is not None)
        table.add_row("selection", what, str(epochs) if epochs else "", "after the search")
    evaluation, after = parts.evaluation, "" if isinstance(parts.evaluation, NoEvaluation) else "after the selection"
    table.add_row("evaluation", evaluation.describe(), str(evaluation.epochs or ""), after)
    console.print(table)


def _snapshots(parts: Components) -> str:
    """Return how many supernets a search will keep and what they take on disk."""
    every, epochs = parts.search.snapshots, parts.search.epochs
    if every is None:
        return ""
    with torch.device("meta"):
        supernet = parts.space.supernet(parts.data.image_size, parts.data.classes, parts.search.variant)
    tensors = [*supernet.parameters(), *supernet.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
    return f"; keeps {-(-epochs // every)} snapshots of {size:.1f} MB"


def _state(store: Store, stage: Stage) -> str:
    folder = store.folder(stage.key)
    if folder.state == "unfinished":
        epochs = len(folder.read_lines(HISTORY)) if any((folder.path / name).exists() for name in CHECKPOINTS) else 0
        return f"goes on after epoch {epochs}" if epochs else "starts again"
    return {"finished": "is there", "absent": "to do", "damaged": "damaged: starts again"}[folder.state]


def show_data(console: Console, data: ImageData) -> None:
    """Show what the training images are, by what they are normalised, and what is not as one would think."""
    counts = data.count_classes(data.train.labels)
    normalisation = data.normalisation
    by = f"mean {list(normalisation.mean)}, std {list(normalisation.std)}"
    words = (
        f"{data.name}: {sum(counts):,} training images of {_classes(data.class_names, counts)}, {data.image_size} x "
        f"{data.image_size} pixels; {by}{', measured on them' if data.is_measured else ''}"
    )
    console.print(f"{'data':<10} {escape(words)}", highlight=False, soft_wrap=True)
    for note in data.notes:
        warn(console, "data", note)


def _classes(names: Sequence[str], counts: Sequence[int]) -> str:
    """Return how many images classes have: each, or where there are many the smallest and the largest number."""
    if len(counts) > FEW_CLASSES:
        spread = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
        return f"{len(counts)} classes ({spread} each)"
    return f"{len(counts)} classes ({', '.join(f'{n}: {c:,}' for n, c in zip(names, counts, strict=True))})"


_CURVES = {
    "search": "The search: accuracy and loss of the supernet",
    "selection": "The selection: accuracy and loss of the supernet while it is discretised",
    "evaluation": "The evaluation: accuracy and loss of the selected architecture",
}


def draw_figures(
    folder: Path,
    genotype: Genotype,
    finished: Mapping[str, StageResult],
    report_strengths: bool,
    formats: Sequence[str],
) -> list[Path]:
    """Draw the pictures of a run, as PNG and in the other formats beside them, and return the paths of the PNGs."""
    figures = _figures(genotype, finished, report_strengths)
    return [save(figure, folder / name, formats) for name, figure in figures]


def _figures(
    genotype: Genotype, finished: Mapping[str, StageResult], report_strengths: bool
) -> Iterator[tuple[str, Figure]]:
    """Yield the pictures of a run, each with its name."""
    yield "cells", draw_cells(genotype)
    for kind, stage in finished.items():
        history = stage.folder.read_lines(HISTORY)
        decisions = stage.folder.read_lines(DECISIONS)
        if history:
            yield f"{kind}_curves", draw_curves(history, _CURVES[kind], decisions)
        if history and "alpha" in history[0]:
            space = stage.folder.read_json("space.json")
            yield f"{kind}_alpha", draw_alpha(history, space)
            yield f"{kind}_alpha_map", draw_alpha_map(history, space)
        if any(decision.get("strengths") for decision in decisions) and report_strengths:
            yield "strengths", draw_strengths(decisions)
        scored = {decision["kind"] for decision in decisions if decision["scores"]}
        if "operation" in scored:
            yield "operation_strengths", draw_operation_strengths(decisions)
        if "topology" in scored:
            yield "topology_strengths", draw_topology_strengths(decisions)


def tables(
    summary: Mapping[str, Any], finished: Mapping[str, StageResult]
) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    """Yield name, columns and rows of the tables of a run: the genotype, and every score behind every decision."""
    names = ["search_space", "search", "selection", "data", "seed", "genotype", "params"]
    yield "genotypes", names, [[summary[name] for name in names]]
    if "selection" in finished:
        columns = ["point", "epoch", "cell", "kind", "where", "round", "candidate", "accuracy", "loss", "kept"]
        yield "decisions", columns, list(_scores(finished["selection"].folder.read_lines(DECISIONS)))


def _scores(decisions: Sequence[Mapping[str, Any]]) -> Iterator[list[Any]]:
    """Yield a row per score of every decision; of a decision without scores, what was kept."""
    for decision in decisions:
        where = str(decision.get("edge_states", decision.get("node")))
        place = [decision["point"], decision["epoch"], decision["cell"], decision["kind"], where]
        for score in decision["scores"] or [{"candidate": decision["kept"]}]:
            values = [score.get("round", 0), str(score["candidate"]), score.get("accuracy"), score.get("loss")]
            yield [*place, *values, str(decision["kept"])]


FEW_CLASSES = 10
"""So many classes are listed one by one; of more, only those that are recognised worst."""

STRENGTHS = ("cell", "edge", "candidate", "rank", "strength", "standard_error", "kept")


def strengths(decisions: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return rows of `STRENGTHS`: the operations of every edge that a selection ranked; ties share a rank."""
    rows = []
    for decision in decisions:
        given = list(zip(decision["candidates"], decision.get("strengths") or [], strict=False))
        values = [strength["value"] for _, strength in given]
        for name, strength in sorted(given, key=lambda pair: pair[1]["value"], reverse=True):
            rank = 1 + sum(value > strength["value"] for value in values)
            edge = "({},{})".format(*decision["edge_states"])
            numbers = [strength["value"], strength["standard_error"]]
            rows.append([decision["cell"], edge, name, rank, *numbers, name == decision["kept"]])
    return rows


def show_strengths(console: Console, rows: Sequence[Sequence[Any]]) -> None:
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


def show_summary(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """Show what came of a run."""
    table = Table(show_header=False, title="Result", title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("search space", f"{summary['search_space']} on {summary['data']}, seed {summary['seed']}")
    if summary["search"] is not None:
        table.add_row("method", f"search {summary['search']}, selection {summary['selection']}")
    genotype = Genotype.from_text(summary["genotype"])
    for cell in genotype:
        nodes = "\n".join(
            f"{node}: " + ", ".join(f"{operation}({source})" for operation, source in inputs)
            for node, inputs in enumerate(cell.nodes, start=cell.inputs)
        )
        table.add_row(f"{cell.name} cell" if cell.name != "cell" else "cell", nodes)
    if summary["params"] is not None:
        table.add_row("parameters", f"{summary['params']:,}")
    if "search.val_accuracy" in summary:
        table.add_row("supernet", f"{_accuracy(summary, 'search.val')} validation accuracy")
    if "evaluation.test_accuracy" in summary:
        table.add_row("test accuracy", f"[bold green]{_accuracy(summary, 'evaluation.test')}")
        if lines := _per_class(summary):
            table.add_row("of each class", escape(lines))
    if "evaluation.rank" in summary:
        for data in ("cifar10", "cifar100", "imagenet16_120"):
            table.add_row(f"{data} test", f"[bold green]{summary[f'evaluation.{data}_test']:.2f} %")
        table.add_row("rank", f"{summary['evaluation.rank']:,} of {summary['evaluation.of']:,}")
    times = [
        f"{kind} {duration(stage['seconds'])}{' (was there)' if stage['reused'] else ''}"
        for kind, stage in summary["stages"].items()
    ]
    table.add_row("time", "\n".join(times))
    console.print(table)
    console.print(str(folder), markup=False, soft_wrap=True)


def _accuracy(summary: Mapping[str, Any], part: str) -> str:
    """Return an accuracy in percent; beside it, where the sizes of the classes differ, the balanced one."""
    text = f"{100 * summary[f'{part}_accuracy']:.2f} %"
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
