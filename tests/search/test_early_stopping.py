import copy
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.search.small_search import (
    Memory,
    SaveThenDie,
    assert_same,
    bilevel,
    cell_supernet,
    darts_supernet,
    module,
    resident,
    skip_limit,
    trainer,
)
from tests.search.test_hessian import dominant
from torch import Tensor

from archselect import kernels
from archselect.models.supernet.supernet import Supernet
from archselect.search import Curvature, SearchModule
from archselect.search.early_stopping import StoppingRule
from archselect.tasks import Classification, Task

# Skip connections


def with_skips(edges: Iterable[int]) -> Supernet:
    """A supernet in which skip connections are the strongest operations of these edges of both cells."""
    supernet = darts_supernet("none", "skip_connect", "sep_conv_3x3")
    for alpha in supernet.alphas.values():
        alpha.data = torch.tensor([[9.0, 2, 0] if edge in edges else [9.0, 0, 1] for edge in range(5)])
    return supernet


@pytest.mark.parametrize(("edges", "skips"), [([], 0), ([0], 1), ([0, 1], 2), ([2, 3, 4], 2), (range(5), 4)], ids=str)
def test_the_skips_of_the_normal_cell_that_magnitude_chooses_are_counted(edges: Iterable[int], skips: int) -> None:
    assert skip_limit().measure(with_skips(edges), Classification(), (), torch.Generator()) == skips


NOW = Curvature(window=2, lag=2, every=1, factor=1.5, earliest=0.0)
DOUBLED = Curvature(window=1, lag=1, every=1, factor=2.0, earliest=0.0)


@pytest.mark.parametrize(
    ("rule", "curve", "kept"),
    [
        *((skip_limit(earliest=0.0), curve, None) for curve in ([0, 1], [2, 1])),
        *((skip_limit(earliest=0.0), curve, len(curve)) for curve in ([0, 1, 2], [0, 3], [2])),
        *((skip_limit(earliest=0.2), [5.0] * epochs, None) for epochs in (1, 9, 10)),
        *((skip_limit(earliest=0.2), [5.0] * epochs, epochs) for epochs in (11, 12)),
        # The search goes back to the middle of the window that the last one exceeds.
        (NOW, [1, 3, 3.1, 2.8], None),  # 2.95 < 1.5 * 2
        (NOW, [1, 3, 3.1, 3.0], 1),  # 3.05 > 1.5 * 2
        (NOW, [9, 9, 1, 3, 3.1, 3.0], 3),
        (DOUBLED, [1, 2], None),
        (DOUBLED, [1, 2.001], 1),
        # Two windows are needed, and none before its share of the epochs is gone back to.
        (Curvature(window=3, lag=3, every=1, earliest=0.0), [1.0, 1, 1, 9, 9], None),
        (Curvature(window=3, lag=3, every=1, earliest=0.0), [1.0, 1, 1, 9, 9, 9], 2),
        (Curvature(window=5, lag=5, every=1), [2.0**epoch for epoch in range(16)], None),
        (Curvature(window=5, lag=5, every=1), [2.0**epoch for epoch in range(17)], 10),
        # A curvature that does not grow, or is negative, ends nothing.
        *(
            (NOW, curve, None)
            for curve in ([3.0] * 4, [4.0, 4, 1, 1], [-1.0] * 4, [-2.0, -2, -1, -1], [-1, -1, -2, -2])
        ),
    ],
    ids=str,
)
def test_a_rule_keeps_so_many_of_50_epochs(rule: StoppingRule, curve: list[float], kept: int | None) -> None:
    assert rule.kept_epochs(curve, 50) == kept


def test_a_rule_tells_how_far_back_it_may_go() -> None:
    assert (skip_limit().rollback_window, NOW.rollback_window, Curvature().rollback_window) == (0, 3, 12)


def by_the_authors(values: Sequence[float], epochs: int) -> int | None:
    """Return after how many epochs RobustDARTS' code takes the architecture, by its own bookkeeping: `EVLocalAvg`.

    It measures in epochs 0, 2, 4, ...; the mean of the last five values belongs to the middle of them, 4 epochs back;
    it is compared with the mean four values earlier, whose epoch must be 10 or later.
    """
    averages = [fmean(values[max(0, count - 5) : count]) for count in range(3, len(values) + 1)]
    epoch = 2 * (len(values) - 1)
    back_to = epoch - 4 - 8
    if back_to < 10 or epoch == epochs - 1:
        return None
    return back_to + 1 if averages[-1] / averages[-5] > 1.3 else None


@pytest.mark.parametrize("growth", [1.01, 1.03, 1.0332, 1.034, 1.2])
def test_the_defaults_are_the_windows_of_the_authors(growth: float) -> None:
    curve = [growth**epoch for epoch in range(50)]
    for epoch in range(50):
        expected = by_the_authors(curve[: epoch + 1 : 2], 50) if epoch % 2 == 0 else None
        assert Curvature().kept_epochs(curve[: epoch + 1], 50) == expected, epoch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factor": 1.0}, "factor must be above 1; got 1.0"),
        ({"window": 0}, "window must be a whole number above 0"),
        ({"lag": 0}, "lag must be a whole number above 0"),
        ({"every": 0}, "every must be a whole number above 0"),
        ({"batch_size": 0}, "batch_size must be a whole number above 0"),
        ({"earliest": 1.0}, "earliest must lie between 0 and 1"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"search.stopping.\*.{message}"):
        Curvature(**changes)


# The eigenvalue


def batches(dtype: torch.dtype = torch.float64) -> list[tuple[Tensor, Tensor]]:
    return [(images.contiguous().to(dtype), labels) for images, labels in resident(12, 6)]


def hessian(supernet: Supernet, images: Tensor, labels: Tensor) -> Tensor:
    """Second derivatives in all architecture parameters, by differentiating twice."""
    alphas = supernet.architecture_parameters()
    gradients = torch.autograd.grad(F.cross_entropy(supernet(images), labels), alphas, create_graph=True)
    entries = torch.cat([gradient.flatten() for gradient in gradients])
    rows = [torch.autograd.grad(one, alphas, retain_graph=True) for one in entries]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


def measured(supernet: Supernet, rule: Curvature) -> float:
    return rule.measure(
        supernet, Classification(), batches(supernet.classifier.weight.dtype), torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("supernet", [cell_supernet(), darts_supernet("skip_connect", "sep_conv_3x3")], ids=["1", "2"])
def test_it_is_that_of_the_explicit_hessian_of_the_mean_loss_on_the_first_images_of_the_batches(
    supernet: Supernet,
) -> None:
    supernet = copy.deepcopy(supernet).double()
    (one, labels), other = batches()
    exact = dominant(hessian(supernet, one, labels))
    with kernels.enabled():  # as in a search: the compiled loops have no second derivatives
        assert measured(supernet.eval(), Curvature(products=20)) == pytest.approx(exact, rel=1e-4)
    supernet.train()
    assert measured(supernet.float(), Curvature(products=20)) == pytest.approx(exact, rel=1e-3)
    supernet.double()
    mean = dominant((hessian(supernet, one, labels) + hessian(supernet, *other)) / 2)
    assert measured(supernet, Curvature(batches=2, products=20)) == pytest.approx(mean, rel=1e-4)
    few = dominant(hessian(supernet, one[:3], labels[:3]))
    assert measured(supernet, Curvature(batch_size=3, products=20)) == pytest.approx(few, rel=1e-4)
    assert len({round(value, 4) for value in (exact, mean, few)}) == 3


@pytest.mark.parametrize(("training", "factor"), [(True, 1), (False, 1), (True, torch.nan)])
def test_measuring_leaves_no_trace_even_if_it_fails(training: bool, factor: float) -> None:
    supernet = darts_supernet("noise", "skip_connect", "sep_conv_3x3").train(training)
    before, random_state = copy.deepcopy(supernet.state_dict()), torch.get_rng_state()
    images, labels = batches(torch.float32)[0]
    with nullcontext() if factor == 1 else pytest.raises(ValueError, match="is not finite"):
        Curvature(products=2).measure(supernet, Classification(), [(images * factor, labels)], torch.Generator())
    after = supernet.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if isinstance(value, Tensor))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(module.training is training for module in supernet.modules())
    assert all(parameter.grad is None for parameter in supernet.parameters())


# In the search


class Given(StoppingRule):
    """A rule whose quantity is the number of epochs, and that keeps some epochs when there are others."""

    rollback_window = 2

    def __init__(self, ends_after: int, keeps: int) -> None:
        self.ends_after, self.keeps = ends_after, keeps

    def measure(self, supernet: Supernet, task: Task, validation: Iterable[Any], generator: torch.Generator) -> float:
        return 100.0 * len(list(validation))

    def kept_epochs(self, curve: Sequence[float], epochs: int) -> int | None:
        return self.keeps if len(curve) == self.ends_after else None


def module_with(**rules: StoppingRule) -> SearchModule:
    return module(cell_supernet(), stopping=rules)


@pytest.mark.parametrize(
    ("rules", "kept", "epochs"),
    [({"other": Given(2, 1), "one": Given(2, 2)}, 1, 2), ({"one": Given(99, 1)}, None, 3)],
    ids=["of several the first counts", "none ends it"],
)
def test_the_search_ends_after_the_epoch_in_which_a_rule_says_so_and_knows_what_to_keep(
    rules: dict[str, StoppingRule], kept: int | None, epochs: int
) -> None:
    search, memory = module_with(**rules), Memory()
    trainer(3, logger=memory).fit(search, bilevel(), resident(12, 4))
    assert search.kept_epochs == kept
    assert [memory.epochs[epoch]["stopping_one"] for epoch in memory.epochs] == [300] * epochs
    assert search.method.rollback_window == 2


def test_a_search_that_had_ended_stays_so_and_one_that_had_not_remembers_its_curve(tmp_path: Path) -> None:
    trainer(2, callbacks=[SaveThenDie(tmp_path / "c")]).fit(module_with(one=Given(3, 2)), bilevel())
    going_on, fit = module_with(one=Given(3, 2)), trainer(4, callbacks=[SaveThenDie(tmp_path / "ended")])
    fit.fit(going_on, bilevel(), ckpt_path=tmp_path / "c", weights_only=True)
    assert (going_on.kept_epochs, fit.current_epoch) == (2, 3)
    again, memory = module_with(one=Given(3, 2)), Memory()
    trainer(4, logger=memory).fit(again, bilevel(), ckpt_path=tmp_path / "ended", weights_only=True)
    assert (again.kept_epochs, memory.epochs) == (2, {})
    assert_same(again, going_on)


def test_measuring_the_curvature_does_not_change_the_search() -> None:
    measured, plain = module_with(eigenvalue=Curvature(products=2)), module_with()
    for search in (measured, plain):
        trainer(2).fit(search, bilevel(), resident(8, 4))
    assert len(measured._curves["eigenvalue"]) == 2
    assert_same(measured.supernet, plain.supernet)
