import pytest
import torch
from tests.search.small_search import CLASSES, decide

from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.relaxation import Dirichlet, Sigmoid, Softmax, SupernetOptions
from archselect.models.supernet.supernet import Supernet
from archselect.search import cap_skips
from archselect.search.early_stopping import skip_edges

TOPOLOGY = CellTopology(2, 2, "concat", 2)
BOTH = ("skip_connect", "sep_conv_3x3")


def supernet_with(
    *strengths: float, operations: tuple[tuple[str, ...], ...] = (BOTH,) * 5, **options: object
) -> Supernet:
    """Of both cells, `alpha` of the skip connections is given; that of the other operations is 0."""
    cells = {name: CellSpace(name, TOPOLOGY, operations) for name in ("normal", "reduction")}
    supernet = DartsSupernet(cells, 2, 3, CLASSES, variant=SupernetOptions(**options))  # type: ignore[arg-type]
    for alpha in supernet.alphas.values():
        alpha.data = torch.zeros_like(alpha)
        for edge, strength in enumerate(strengths):
            alpha.data[edge, operations[edge].index("skip_connect")] = strength
    return supernet


def test_the_weakest_go_first() -> None:
    supernet = supernet_with(2, 5, 1, 4, 3)
    assert skip_edges(supernet) == [0, 1, 3, 4]
    cap_skips(supernet, 2)
    assert skip_edges(supernet) == [1, 3]
    alpha = supernet.alphas["normal"]
    assert alpha[[1, 2, 3], 0].tolist() == [5, 1, 4]
    assert (alpha[[0, 4], 0] < alpha[[0, 4], 1]).all()


def test_a_skip_that_takes_the_place_of_one_that_went_goes_as_well() -> None:
    supernet = supernet_with(2, 5, 1, 4, 3, relaxation=Sigmoid())
    cap_skips(supernet, 2)  # without its skip edge 4 is weaker than edge 2 with its own
    assert skip_edges(supernet) == [1, 3]
    assert [bool(row[0] > row[1]) for row in supernet.alphas["normal"]] == [False, True, False, True, False]


NONE_OR_SKIP = ("none", "skip_connect")


@pytest.mark.parametrize(
    ("strengths", "operations", "decided", "most", "skips"),
    [
        ((1, -1, -1, -1, 2), (BOTH,) * 5, {}, 2, [0, 4]),
        ((1, 2, 0, 0, 0), (BOTH, ("skip_connect",), BOTH, BOTH, BOTH), {}, 0, [1]),
        ((1, 2, -1, -1, -1), (BOTH,) * 5, {0: 0}, 0, [0]),
        ((1, 2, -1, -1, -1), (NONE_OR_SKIP, *(BOTH,) * 4), {}, 0, [0]),
    ],
    ids=["within the limit", "a single candidate", "decided", "none is the only other candidate"],
)
def test_what_need_not_or_cannot_yield_stays_and_so_does_the_other_cell_type(
    strengths: tuple[float, ...],
    operations: tuple[tuple[str, ...], ...],
    decided: dict[int, int],
    most: int,
    skips: list[int],
) -> None:
    supernet = supernet_with(*strengths, operations=operations)
    decide(supernet, "normal", decided)
    before = {name: alpha.detach().clone() for name, alpha in supernet.alphas.items()}
    cap_skips(supernet, most)
    assert skip_edges(supernet) == skips
    assert torch.equal(supernet.alphas["normal"][skips], before["normal"][skips])
    assert torch.equal(supernet.alphas["reduction"], before["reduction"])


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid(), Dirichlet()], ids=repr)
def test_a_skip_that_lost_its_weight_is_the_weakest_operation_of_its_edge(
    relaxation: Softmax | Sigmoid | Dirichlet,
) -> None:
    supernet = supernet_with(1, 2, 3, 4, 5, relaxation=relaxation)
    cap_skips(supernet, 0)
    assert skip_edges(supernet) == []
    weights = supernet.relaxed("normal")[[0, 1, 3, 4]]
    assert (weights[:, 0] < 1e-3 * weights[:, 1]).all()
    assert supernet.alphas["normal"].requires_grad
