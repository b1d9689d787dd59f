"""The weights that estimate the optimal feature map best, beside the learned ones (DARTS-PT, sec. 3.2, Prop. 1)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations
from math import log
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from archselect import kernels
from archselect.analysis.base import Analysis, Measurer, Prepared, Table, Tables
from archselect.analysis.stats import SKIP, edges_of, mean, mean_defined, picked, tau
from archselect.figures.strengths import Quantity, draw_operation_bars
from archselect.figures.style import edge_name
from archselect.models.cell_space import CellSpace
from archselect.models.restored_state import restored_state
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixture import Mixture
from archselect.models.supernet.supernet import Supernet
from archselect.utils.validation import PositiveInt

Branches = Mapping[str, Tensor]
"""What each operation gives on an edge, `(B, C, H, W)`."""

Residuals = tuple[dict[str, float], list[float]]
"""The variance of each operation's residual `o(x) - m*` on an edge, and the correlations of every two."""

_SMALLEST = 1e-12
"""In place of a variance of 0."""


@dataclass(frozen=True)
class OptimalAlpha(Analysis):
    """Measure how far the output of each operation is from the optimal feature map, and what weights follow from it.

    In the paper's view all edges of a cell estimate one feature map `m*`. With residuals `r_o = o(x_e) - m*` that are
    uncorrelated, the mixture that is closest to `m*` in variance has `theta_o` proportional to `1 / var(r_o)`; with two
    operations that is Prop. 1: `theta_conv` is proportional to `var(x_e - m*)`.

    The paper does not measure `m*`. Here it is estimated, for each edge and cell, by the mean of what the *other* edges
    of the cell give (their mixtures). An edge out of a node reads a sum of some of these, which is the paper's argument
    why its skip connection is close. As the proposition assumes, all are normalised to one scale: mean 0 and variance 1
    per channel over images and positions. Variances are means over channels, cells of a type and batches, in units of
    the variance of `m*`.
    """

    name: str = "optimal_alpha"
    batches: PositiveInt = 4  # of the images that train `alpha`
    batch_size: PositiveInt = 64  # the supernet normalises by the statistics of so many images

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return a row per operation of every undecided edge."""
        supernet = measurer.supernet()
        found: dict[tuple[str, int], list[Residuals]] = defaultdict(list)
        measurer.start(self.batches)
        weights = supernet.mixture_weights().detach()
        for images, _ in measurer.validation(self.batch_size, self.batches):
            for space, edges in branches_of(supernet, images):
                for edge, of_edge in residuals(edges, space, weights[space.name]).items():
                    found[space.name, edge].append(of_edge)
            measurer.trainer.progress.advance()
        rows: Table = []
        for (cell, edge), seen in sorted(found.items()):
            space = supernet.cell_spaces[cell]
            learned = dict(zip(space.operations[edge], weights[cell][edge].tolist(), strict=False))
            variances = {name: mean(of[name] for of, _ in seen) for name in seen[0][0]}
            optimal = optimal_weights(variances)
            correlation = mean(one for _, correlations in seen for one in correlations)
            rows += [
                {
                    "cell": cell,
                    "edge": edge_name(space.topology.edges[edge]),
                    "operation": operation,
                    "variance": variance,
                    "optimal": optimal[operation],
                    "optimal_alpha": -log(max(variance, _SMALLEST)),
                    "learned": learned[operation],
                    "residual_correlation": correlation,
                }
                for operation, variance in variances.items()
            ]
        return {"operations": rows}

    def draw(self, tables: Tables) -> Figure:
        quantities = [
            Quantity("variance", "var(o(x) - m*)\n(in var(m*))", smallest=True),
            Quantity("optimal", "optimal weight"),
            Quantity("learned", "learned\nsoftmax(α)"),
        ]
        title = "Distance from the optimal feature map, weights that follow (Prop. 1), learned weights"
        return draw_operation_bars(tables["operations"], title, quantities)

    def summary(self, tables: Tables) -> str:
        edges = edges_of(tables["operations"])
        agree = sum(picked(rows, "optimal") == picked(rows, "learned") for rows in edges)
        agreement = mean_defined(tau(rows, "optimal", "learned") for rows in edges)
        orders = "" if agreement is None else f"; Kendall's tau between the two orders is {agreement:+.2f} on average"
        words = (
            "The operation that the closed form weights most has the largest softmax(alpha) on "
            f"{agree} of {len(edges)} edges{orders}."
        )
        if skips := [rows for rows in edges if any(row["operation"] == SKIP for row in rows)]:
            close = sum(picked(rows, "optimal") == SKIP for rows in skips)
            words += (
                f" skip_connect is closest to m* on {close} of the {len(skips)} edges that have it, which is how the "
                "paper explains its large alpha."
            )
        if edges:
            correlation = mean(rows[0]["residual_correlation"] for rows in edges)
            words += (
                f" The residuals of two operations of an edge correlate by {correlation:+.2f} on average; the closed "
                "form takes them as uncorrelated."
            )
        return words


def branches_of(supernet: Supernet, images: Tensor) -> Iterator[tuple[CellSpace, dict[int, dict[str, Tensor]]]]:
    """Yield every cell with what each operation gives on each undecided edge, on the batch's own statistics.

    The images are `(B, 3, H, W)`; the supernet is left as it was.
    """
    seen: list[tuple[MixedCell, Sequence[Tensor], Mixture]] = []

    def note(cell: nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(cell, MixedCell)
        seen.append((cell, *arguments))

    with ExitStack() as hooks, restored_state(supernet), torch.no_grad():
        for module in supernet.modules():
            if isinstance(module, MixedCell):
                hooks.enter_context(module.register_forward_pre_hook(note))
        supernet.train()
        supernet(images)
        for cell, inputs, mixture in seen:
            open_edges = supernet.decisions[cell.space.name].undecided_edges
            found = operation_outputs(cell, inputs, mixture)
            yield cell.space, {edge: outputs for edge, outputs in found.items() if edge in open_edges}


def operation_outputs(cell: MixedCell, inputs: Sequence[Tensor], mixture: Mixture) -> dict[int, dict[str, Tensor]]:
    """Return what each operation that has weight gives on each edge, `(B, C / K, H', W')`, before it is weighted.

    The cell is evaluated by PyTorch's operators; its inputs are `(B, C, H, W)`.
    """
    with kernels.disabled():
        values = [*inputs, *cell.nodes(inputs, mixture)]
    found: dict[int, dict[str, Tensor]] = {}
    for state, value in enumerate(values):
        source = cell.read(state, value)
        for term, operation, weights in cell.outgoing(state, mixture):
            outputs = operation(source, torch.ones_like(weights), term.positions).chunk(len(term.edges), dim=1)
            for edge, output in zip(term.edges, outputs, strict=True):
                found.setdefault(edge, {})[term.operation] = output
    return found


def residuals(edges: Mapping[int, Branches], space: CellSpace, weights: Tensor) -> dict[int, Residuals]:
    """Return what is known of the residuals on every edge with two operations or more; all is normalised.

    The mixture weights of the cell type are `(edges, operations)`.
    """
    mixed: dict[int, Tensor] = {}
    for edge, outputs in edges.items():
        weight = dict(zip(space.operations[edge], weights[edge], strict=False))
        mixed[edge] = normalised(sum((weight[name] * x for name, x in outputs.items()), start=torch.zeros(())))
    total = sum(mixed.values(), start=torch.zeros(()))
    found: dict[int, Residuals] = {}
    for edge, outputs in edges.items():
        target = normalised(total - mixed[edge])
        apart = {name: normalised(output) - target for name, output in outputs.items()}
        if "none" in space.operations[edge]:
            apart["none"] = -target
        if len(apart) > 1 and len(mixed) > 1:
            variances = {name: residual.square().mean().item() for name, residual in apart.items()}
            found[edge] = variances, [_correlation(one, other) for one, other in combinations(apart.values(), 2)]
    return found


def _correlation(one: Tensor, other: Tensor) -> float:
    scale = (one.square().mean() * other.square().mean()).sqrt().clamp_min(_SMALLEST)
    return float((one * other).mean() / scale)


def normalised(x: Tensor) -> Tensor:
    """Return `(B, C, H, W)` with mean 0 and variance 1 per channel; a constant channel becomes 0."""
    x = x - x.mean(dim=(0, 2, 3), keepdim=True)
    return x / x.square().mean(dim=(0, 2, 3), keepdim=True).sqrt().clamp_min(torch.finfo(x.dtype).eps)


def optimal_weights(variances: Mapping[str, float]) -> dict[str, float]:
    """Return the weights that sum to 1 and minimise the variance of a sum of uncorrelated residuals: `1 / variance`."""
    precisions = {name: 1 / max(variance, _SMALLEST) for name, variance in variances.items()}
    return {name: precision / sum(precisions.values()) for name, precision in precisions.items()}
