import re
from pathlib import Path

import pytest
import torch

from archselect.training.step import gradients_of

SOURCES = Path(__file__).parents[2] / "src"


def test_gradients_are_those_of_pytorch_and_zeros_where_the_loss_does_not_depend() -> None:
    a, b, unused = (torch.full((2,), value, requires_grad=True) for value in (2.0, 3.0, 5.0))
    in_a, in_b, in_unused = gradients_of((a * b**2).sum(), [a, b, unused])
    assert [in_a.tolist(), in_b.tolist(), in_unused.tolist()] == [[9, 9], [12, 12], [0, 0]]
    assert gradients_of((a * b).sum(), [a, unused], allow_unused=True)[1] is None


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_loss_that_depends_on_nothing_has_gradients_of_zero(create_graph: bool) -> None:
    unused = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = gradients_of(torch.tensor(1.0), [unused], create_graph=create_graph)
    assert gradient.dtype == torch.float64
    assert gradient.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert gradients_of(torch.tensor(1.0), [unused], allow_unused=True) == [None]


def test_a_loss_that_was_computed_without_gradients_is_a_mistake_not_zero() -> None:
    weight = torch.ones(2, requires_grad=True)
    with torch.no_grad(), pytest.raises(AssertionError, match="depends on nothing"):
        gradients_of(weight.sum(), [weight])


def test_no_other_place_takes_gradients() -> None:
    callers = [path for path in SOURCES.rglob("*.py") if re.search(r"autograd\.grad\(|\.backward\(", path.read_text())]
    assert {path.name for path in callers} == {
        "step.py",
        "contract.py",  # tries an operation of one's own
        "training_memory.py",  # counts what a step would keep
    }
