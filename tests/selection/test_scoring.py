from typing import Any

import pytest
import torch
from tests.selection.judge import Judge, decisions_of
from tests.selection.test_scorer import CALIBRATION, batches, plain

from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.selection import Perturbation, Racing, Score, Scorer, Scoring, SuccessiveElimination
from archselect.selection.scoring import eliminated, perturbation_loss
from archselect.tasks import Classification

IMAGES = batches((6,) * 30)


def scorer(supernet: Supernet, scoring: Scoring, images: Any = IMAGES) -> Scorer:
    return Scorer(supernet, Classification(), images, scoring, CALIBRATION, (0, "selection"))


def without_each_edge(supernet: Supernet) -> list[MixtureWeights]:
    weights = supernet.mixture_weights().detach()
    return [weights.masked("cell", edge) for edge in range(3)]


# Who is beaten


def test_a_runner_is_eliminated_when_students_t_says_so_with_the_stated_confidence() -> None:
    # Behind by 1, 2 and 3: mean 2, standard deviation 1, t = 2 * sqrt(3) = 3.46. Two degrees of freedom: the quantiles
    # are 2.92 for 95 % and 4.30 for 97.5 %.
    leads = torch.tensor([[5.0, 4.0], [5.0, 3.0], [5.0, 2.0]])
    assert eliminated(leads, 0.95) == [False, True]
    assert eliminated(leads, 0.975) == [False, False]


def test_equals_are_never_eliminated_and_a_constant_distance_is() -> None:
    assert eliminated(torch.tensor([[1.0, 1.0, 0.5]] * 4), 0.99) == [False, False, True]


@pytest.mark.parametrize(
    ("criterion", "mode", "best"),
    [("metric", "max", 0), ("metric", "min", 1), ("loss", "max", 1), ("loss", "min", 0)],
)
def test_the_leading_runner_is_the_one_that_the_decision_looks_for(criterion: Any, mode: Any, best: int) -> None:
    scores = torch.tensor([[0.4, 1.0], [0.6, 1.5]])  # accuracy, loss
    assert int(SuccessiveElimination(criterion, mode, 2).lead(scores).argmax()) == best


# Races on a supernet


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("criterion", ["metric", "loss"])
def test_who_is_left_has_the_full_score_and_who_was_eliminated_that_of_the_batches_before(
    criterion: Any, mode: Any
) -> None:
    supernet = plain()
    candidates = without_each_edge(supernet)
    race = scorer(supernet, Racing(first_check=3, confidence=0.7))
    scores = race(candidates, SuccessiveElimination(criterion, mode, 3))
    in_full = scorer(supernet, Scoring())(candidates)
    assert any(score.eliminated_after for score in scores)
    left = [index for index, score in enumerate(scores) if score.eliminated_after is None]
    read = max(score.eliminated_after or 0 for score in scores) if len(left) == 1 else 6 * 30
    for index, score in enumerate(scores):
        images = score.eliminated_after or read
        same = scorer(supernet, Scoring(batches=images // 6))(candidates)[index]
        assert (score.metric, score.loss) == (same.metric, same.loss)
    harm = [-s.metric if criterion == "metric" else s.loss for s in in_full]
    best = max(harm) if mode == "max" else min(harm)
    assert any(harm[index] == best for index in left)


def test_a_race_ends_when_one_runner_is_left() -> None:
    supernet, judge = plain(), Judge(images=IMAGES)
    weights = supernet.mixture_weights().detach()
    nothing = weights.masked("cell", 0).masked("cell", 1).masked("cell", 2)
    race = scorer(supernet, Racing(first_check=3, confidence=0.6), judge.batches())
    scores = race([weights, nothing], SuccessiveElimination("loss", "max", 2))
    assert [score.eliminated_after for score in scores].count(None) == 1
    assert judge.read * 6 == max(score.eliminated_after or 0 for score in scores) < 6 * 30


def test_candidates_that_do_not_run_are_scored_beside_those_that_do() -> None:
    supernet = plain()
    candidates = without_each_edge(supernet)
    *_, last = scorer(supernet, Racing(first_check=3, confidence=0.6))(
        candidates, SuccessiveElimination("loss", "max", 2)
    )
    assert last.eliminated_after is None


def test_comparisons_come_after_ever_more_batches() -> None:
    checks = Racing(first_check=8, growth=1.25).checks()
    assert [next(checks) for _ in range(6)] == [8, 10, 12, 15, 19, 24]
    checks = Racing(first_check=2, growth=1.01).checks()
    assert [next(checks) for _ in range(3)] == [2, 3, 4]


# Decisions


class Listed(Judge):
    """Scores that an elimination left behind."""

    def __init__(self, *scores: Score) -> None:
        super().__init__()
        self.scores = scores

    def score(self, candidates: Any, elimination: SuccessiveElimination | None = None) -> list[Score]:
        super().score(candidates, elimination)
        return list(self.scores[: len(candidates)])


def decided_first(selector: Perturbation, judge: Listed) -> Any:
    return next(decisions_of(selector, plain(), judge, steps=[0]))[1]


def test_an_eliminated_candidate_is_not_kept_whatever_its_score_on_fewer_images_was() -> None:
    judge = Listed(Score(0.5, 1.0), Score(0.4, 2.0, eliminated_after=60), Score(0.6, 1.0))
    decision = decided_first(Perturbation(), judge)
    assert decision.operation == 0
    assert judge.eliminations == [SuccessiveElimination("metric", "max", 3)]
    record = decision.to_record(plain().cell_spaces["cell"])
    assert [score.get("beaten_after") for score in record["scores"]] == [None, 60, None]


def test_an_unmasked_supernet_is_scored_beside_those_that_compete() -> None:
    judge = Listed(*[Score(0.5, 1.0)] * 4)
    decided_first(Perturbation(score_unmasked=True), judge)
    assert judge.eliminations == [SuccessiveElimination("metric", "max", 3)]


def test_of_a_metric_that_is_to_be_small_the_largest_value_is_the_worst() -> None:
    scores = torch.tensor([[0.4, 1.0], [0.6, 1.5]])  # error, loss
    for mode, best in (("max", 1), ("min", 0)):
        race = SuccessiveElimination("metric", mode, 2)  # type: ignore[arg-type]
        assert int(race.lead(scores, "min").argmax()) == best
    assert perturbation_loss(Score(0.4, 1.0, name="error", mode="min"), "metric") == 0.4
