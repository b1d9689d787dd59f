"""The weights that estimate the optimal feature map best, beside the learned ones (DARTS-PT, sec. 3.2, Prop. 1)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from archselect import kernels
from archselect.analysis.base import AnalysisContext, Measurer, Table, Tables
from archselect.analysis.operation_strength import Quantity, draw_operation_bars, picked
from archselect.analysis.stats import by_edge, edge_name, mean, tau
from archselect.models.cell_space import CellSpace
from archselect.models.restored_state import restored_state
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixture import Mixture
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.stage import StageResult
from archselect.utils.validation import POSITIVE_INT

Branches = Mapping[str, Tensor]
"""What each operation gives on an edge, `(B, C, H, W)`."""


@dataclass(frozen=True)
class OptimalAlpha:
    """Measure how far the output of each operation is from the optimal feature map, and what weights follow from it.

    In the paper's view all edges of a cell estimate one feature map `m*`. With residuals `r_o = o(x_e) - m*` that are
    uncorrelated, the mixture that is closest to `m*` in variance has `theta_o` proportional to `1 / var(r_o)`; with two
    operations that is Prop. 1: `theta_conv` is proportional to `var(x_e - m*)`.

    The paper does not measure `m*`. Here it is estimated, for each edge and cell, by the mean of what the *other* edges
    of the cell give (their mixtures). An edge out of a node reads a sum of some of these, which is the paper's argument
    why its skip connection is close. As the proposition assumes, all are normalised to one scale: mean 0 and variance 1
    per channel over images and positions. Variances are means over channels, cells of a type and batches, in units of
    the variance of `m*`.

    Attributes:
        name: Shown in folders and reports.
        batches: Batches of the images that train `alpha`.
        batch_size: Images per batch; the supernet normalises by their statistics.
    """

    name: str = "optimal_alpha"
    batches: int = 4
    batch_size: int = 64
    several: ClassVar[bool] = False
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        POSITIVE_INT.check("analysis.batches", self.batches)
        POSITIVE_INT.check("analysis.batch_size", self.batch_size)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """See `Analysis.prepare`: nothing."""
        return {}

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return a row per operation of every undecided edge."""
        supernet = bench.supernet()
        gathered: dict[tuple[str, int], _Gathered] = {}
        bench.fitting.progress.start(total=self.batches, completed=0)
        learned = supernet.mixture_weights().detach()
        for images, _ in bench.validation(self.batch_size, self.batches):
            for space, edges in branches_of(supernet, images):
                for edge, (branches, target) in with_targets(edges, space, learned[space.name]).items():
                    gathered.setdefault((space.name, edge), _Gathered()).add(branches, target)
            bench.fitting.progress.advance()
        rows: Table = []
        for (name, edge), sums in sorted(gathered.items(), key=lambda item: item[0]):
            space = supernet.cell_spaces[name]
            weights = dict(zip(space.operations[edge], learned[name][edge].tolist(), strict=False))
            about = {"cell": name, "edge": edge_name(space.topology.edges[edge])}
            rows += [{**about, **row} for row in sums.rows(weights)]
        return {"operations": rows}

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        quantities = [
            Quantity("variance", "var(o(x) - m*)\n(in var(m*))", smallest=True),
            Quantity("optimal", "optimal weight"),
            Quantity("learned", "learned\nsoftmax(α)"),
        ]
        title = "Distance from the optimal feature map, weights that follow (Prop. 1), learned weights"
        return draw_operation_bars(tables["operations"], title, quantities)

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        edges = [rows for _, rows in by_edge(tables["operations"])]
        agree = sum(picked(rows, "optimal") == picked(rows, "learned") for rows in edges)
        agreement = mean(tau(rows, "optimal", "learned") for rows in edges)
        correlation = mean(rows[0]["residual_correlation"] for rows in edges)
        words = f"The operation that the closed form weights most has the largest softmax(alpha) on {agree} of "
        words += f"{len(edges)} edges"
        words += "." if agreement is None else f"; Kendall's tau between the two orders is {agreement:+.2f} on average."
        skips = [rows for rows in edges if any(row["operation"] == "skip_connect" for row in rows)]
        if skips:
            close = sum(picked(rows, "optimal") == "skip_connect" for rows in skips)
            words += (
                f" skip_connect is closest to m* on {close} of the {len(skips)} edges that have it, which is how the "
                "paper explains its large alpha."
            )
        if correlation is not None:
            words += (
                f" The residuals of two operations of an edge correlate by {correlation:+.2f} on average; the closed "
                "form takes them as uncorrelated."
            )
        return words


def branches_of(supernet: Supernet, images: Tensor) -> Iterator[tuple[CellSpace, dict[int, dict[str, Tensor]]]]:
    """Yield every cell with what each operation gives on each undecided edge, on a batch's own statistics.

    Args:
        supernet: It is left as it was.
        images: `(B, 3, H, W)`.
    """
    seen: list[tuple[MixedCell, Sequence[Tensor], Mixture]] = []

    def note(cell: nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(cell, MixedCell)
        seen.append((cell, *arguments))

    cells = [module for module in supernet.modules() if isinstance(module, MixedCell)]
    hooks = [cell.register_forward_pre_hook(note) for cell in cells]
    try:
        with restored_state(supernet), torch.no_grad():
            supernet.train()
            supernet(images)
            for cell, inputs, mixture in seen:
                open_edges = supernet.decisions[cell.space.name].undecided_edges
                found = operation_outputs(cell, inputs, mixture)
                yield cell.space, {edge: outputs for edge, outputs in found.items() if edge in open_edges}
    finally:
        for hook in hooks:
            hook.remove()


def operation_outputs(cell: MixedCell, inputs: Sequence[Tensor], mixture: Mixture) -> dict[int, dict[str, Tensor]]:
    """Return what each operation that has weight gives on each edge, `(B, C / K, H', W')`, before it is weighted.

    Args:
        cell: Evaluated by PyTorch's operators.
        inputs: Of the cell, each `(B, C, H, W)`.
        mixture: The states of the cell follow from it.
    """
    with kernels.disabled():
        values = [*inputs, *cell.nodes(inputs, mixture)]
    found: dict[int, dict[str, Tensor]] = {}
    for state, value in enumerate(values):
        source = cell.read(state, value)
        for ops in cell.outgoing(state, mixture):
            outputs = ops.operation(source, torch.ones_like(ops.weights), ops.positions).chunk(len(ops.edges), dim=1)
            for edge, output in zip(ops.edges, outputs, strict=True):
                found.setdefault(edge, {})[ops.name] = output
    return found


def with_targets(
    edges: Mapping[int, Mapping[str, Tensor]], space: CellSpace, weights: Tensor
) -> dict[int, tuple[Branches, Tensor]]:
    """Return, of every edge with two operations or more, its outputs and the estimate of `m*`, all normalised.

    Args:
        edges: What each operation gives on each edge.
        space: The cell type.
        weights: Its mixture weights `(edges, operations)`.
    """
    mixed = {
        edge: normalised(
            sum(
                (weights[edge, space.operations[edge].index(name)] * output for name, output in outputs.items()),
                start=torch.zeros(()),
            )
        )
        for edge, outputs in edges.items()
    }
    total = sum(mixed.values(), start=torch.zeros(()))
    found: dict[int, tuple[Branches, Tensor]] = {}
    for edge, outputs in edges.items():
        branches = {name: normalised(output) for name, output in outputs.items()}
        if "none" in space.operations[edge]:
            branches["none"] = torch.zeros_like(mixed[edge])
        if len(branches) > 1 and len(mixed) > 1:
            found[edge] = branches, normalised(total - mixed[edge])
    return found


def normalised(x: Tensor) -> Tensor:
    """Return `(B, C, H, W)` with mean 0 and variance 1 per channel; a constant channel becomes 0."""
    x = x - x.mean(dim=(0, 2, 3), keepdim=True)
    return x / x.square().mean(dim=(0, 2, 3), keepdim=True).sqrt().clamp_min(torch.finfo(x.dtype).eps)


def optimal_weights(variances: Mapping[str, float]) -> dict[str, float]:
    """Return the weights that sum to 1 and minimise the variance of a sum of uncorrelated residuals: `1 / variance`."""
    precisions = {name: 1 / max(variance, 1e-12) for name, variance in variances.items()}
    return {name: precision / sum(precisions.values()) for name, precision in precisions.items()}


class _Gathered:
    """Sums over the cells and batches of an edge."""

    def __init__(self) -> None:
        self.variances: dict[str, list[float]] = {}
        self.correlations: list[float] = []

    def add(self, branches: Branches, target: Tensor) -> None:
        """Add the outputs of an edge in one cell and batch."""
        residuals = {name: output - target for name, output in branches.items()}
        for name, residual in residuals.items():
            self.variances.setdefault(name, []).append(residual.square().mean().item())
        pairs = combinations(residuals.values(), 2)
        self.correlations += [
            float((one * other).mean() / (one.square().mean() * other.square().mean()).sqrt().clamp_min(1e-12))
            for one, other in pairs
        ]

    def rows(self, learned: Mapping[str, float]) -> Table:
        """Return a row per operation."""
        variances = {name: sum(values) / len(values) for name, values in self.variances.items()}
        optimal = optimal_weights(variances)
        return [
            {
                "operation": name,
                "variance": variance,
                "optimal": optimal[name],
                "optimal_alpha": -log(max(variance, 1e-12)),
                "learned": learned[name],
                "residual_correlation": sum(self.correlations) / len(self.correlations),
            }
            for name, variance in variances.items()
        ]
