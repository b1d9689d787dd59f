"""A cap on skip connections."""

import torch

from archselect.networks.supernet import Supernet
from archselect.search.stopping import skip_edges

FAR_BELOW = 10.0
"""Under a softmax, e^-10 of the weight of the edge's weakest other operation."""


@torch.no_grad()
def cap_skips(supernet: Supernet, most: int) -> None:
    """Take weight from skip connections until the cell that magnitude chooses has no more than `most` of them.

    The weakest of them loses its weight, which may make another edge's operation one of the cell's, and so on (P-DARTS,
    Chen et al., ICCV 2019, arXiv 1904.12760, "search space regularization"). As there, the normal cell is looked at, or
    the only one of NAS-Bench-201: the first cell type. Edges without another candidate stay as they are. Since it is
    `alpha` that changes, the edge's other operations take the weight over; P-DARTS changes the weights themselves.
    """
    cell, space = next(iter(supernet.cell_spaces.items()))
    alpha = supernet.alphas[cell]
    undecided = supernet.decisions[cell].undecided_edges

    def weight(edge: int) -> float:
        return float(supernet.relaxed(cell)[edge, space.operations[edge].index("skip_connect")])

    while len(skips := skip_edges(supernet)) > most:
        yielding = [
            edge for edge in skips if edge in undecided and set(space.operations[edge]) - {"skip_connect", "none"}
        ]
        if not yielding:
            return
        edge = min(yielding, key=weight)
        skip = space.operations[edge].index("skip_connect")
        others = [index for index in range(len(space.operations[edge])) if index != skip]
        alpha[edge, skip] = alpha[edge, others].min() - FAR_BELOW
