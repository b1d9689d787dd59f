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


def test_the_cell_gets_no_more_skips_than_allowed() -> None:
    for most in range(5):
        supernet = supernet_with(1, 2, 3, 4, 5)
        cap_skips(supernet, most)
        assert len(skip_edges(supernet)) <= most


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


def test_what_is_within_the_limit_stays_as_it_is() -> None:
    supernet = supernet_with(1, -1, -1, -1, 1)
    cap_skips(supernet, 2)
    assert supernet.alphas["normal"][:, 0].tolist() == [1, -1, -1, -1, 1]


def test_the_other_cell_type_is_left_alone() -> None:
    supernet = supernet_with(1, 2, 3, 4, 5)
    cap_skips(supernet, 0)
    assert supernet.alphas["reduction"][:, 0].tolist() == [1, 2, 3, 4, 5]


def test_edges_with_one_candidate_stay() -> None:
    supernet = supernet_with(1, 2, 0, 0, 0, operations=(BOTH, ("skip_connect",), BOTH, BOTH, BOTH))
    cap_skips(supernet, 0)
    assert skip_edges(supernet) == [1]
    assert supernet.alphas["normal"][1, 0] == 2


def test_decided_edges_stay() -> None:
    supernet = supernet_with(1, 2, -1, -1, -1)
    decide(supernet, "normal", {0: 0})
    cap_skips(supernet, 0)
    assert skip_edges(supernet) == [0]
    assert supernet.alphas["normal"][0, 0] == 1


def test_edges_whose_only_other_candidate_is_none_stay() -> None:
    supernet = supernet_with(1, 2, -1, -1, -1, operations=(("none", "skip_connect"), *(BOTH,) * 4))
    cap_skips(supernet, 0)
    assert skip_edges(supernet) == [0]
    assert supernet.alphas["normal"][0, 1] == 1


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
