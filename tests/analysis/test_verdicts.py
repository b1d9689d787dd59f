from dataclasses import dataclass, field
from typing import Any

import pytest

from archselect.analysis.claims import (
    alpha_is_not_needed,
    magnitude_is_not_strength,
    perturbation_repairs,
    skips_are_close,
    skips_dominate,
    supernets_unroll,
)

Rows = list[dict[str, Any]]


@dataclass
class Made:
    """Evidence made up."""

    tables: dict[tuple[str, str], Rows] = field(default_factory=dict)
    accuracies: dict[tuple[str, str, str], dict[int, float]] = field(default_factory=dict)

    def table(self, space: str, analysis: str, name: str = "", search: str = "darts") -> Rows | None:
        return self.tables.get((space, analysis))

    def accuracy(self, space: str, search: str, selection: str) -> dict[int, float]:
        return self.accuracies.get((space, search, selection), {})

    def validation_images(self, space: str) -> int:
        return 1000


def two(edge: int, seed: int = 0, **columns: tuple[float, float]) -> Rows:
    """The rows of `skip_connect` and `sep_conv_3x3` on an edge."""
    return [
        {"seed": seed, "cell": "normal", "edge": f"(0,{edge})", "operation": name}
        | {column: values[index] for column, values in columns.items()}
        for index, name in enumerate(("skip_connect", "sep_conv_3x3"))
    ]


def discretized(alpha_right: int, alpha_wrong: int, gap: float = 0.1) -> Made:
    rows: Rows = []
    for edge in range(alpha_right + alpha_wrong):
        alpha = (0.6, 0.4) if edge < alpha_right else (0.4, 0.6)
        rows += two(edge, alpha=alpha, strength=(0.02, 0.01), accuracy_at_convergence=(0.5 + gap, 0.5))
    return Made({("s2", "discretization_accuracy"): rows})


@pytest.mark.parametrize(
    ("right", "wrong", "gap", "verdict"),
    [
        (3, 5, 0.1, "reproduced"),  # no better than chance
        (8, 0, 0.1, "not reproduced"),  # 8 of 8: p = 0.004
        (5, 3, 0.1, "undecided"),  # 5 of 8: better than chance, by chance
        (3, 5, 0.01, "undecided"),  # two standard errors of 1,000 images at 50 % are 4.5 points
        (1, 2, 0.1, "undecided"),  # three edges are few
    ],
)
def test_magnitude_is_judged_on_edges_that_differ_by_more_than_noise(
    right: int, wrong: int, gap: float, verdict: str
) -> None:
    judged = magnitude_is_not_strength(discretized(right, wrong, gap))  # type: ignore[arg-type]
    assert judged.verdict == verdict
    assert f"{right + wrong} random edges" in judged.numbers


def dominated(skips: int, of: int, strong: int, leads: tuple[float, ...]) -> Made:
    operations: Rows = []
    for edge in range(of):
        alpha = (0.6, 0.4) if edge < skips else (0.4, 0.6)
        operations += two(edge, alpha=alpha, strength=(0.02, 0.01) if edge < strong else (0.01, 0.02))
    epochs = [{"seed": 0, "val_accuracy": 0.1 * step, "lead": lead} for step, lead in enumerate(leads)]
    return Made({("s2", "operation_strength"): operations, ("s2", "skip_dominance"): epochs})


@pytest.mark.parametrize(
    ("skips", "strong", "leads", "verdict"),
    [
        (12, 7, (-0.1, 0.1, 0.2), "reproduced"),
        (12, 7, (0.3, 0.2, 0.1), "undecided"),
        (5, 7, (0.3, 0.2, -0.1), "not reproduced"),
    ],
)
def test_skips_dominate_by_magnitude_and_with_accuracy(
    skips: int, strong: int, leads: tuple[float, ...], verdict: str
) -> None:
    judged = skips_dominate(dominated(skips, 14, strong, leads))  # type: ignore[arg-type]
    assert judged.verdict == verdict
    assert f"on {skips} of 14 edges, perturbation on {strong}" in judged.numbers


@pytest.mark.parametrize(
    ("close", "agree", "verdict"),
    [(12, 12, "reproduced"), (12, 8, "undecided"), (7, 12, "not reproduced")],
)
def test_skips_are_close_where_chance_is_no_explanation(close: int, agree: int, verdict: str) -> None:
    rows: Rows = []
    for edge in range(14):
        optimal = (0.7, 0.3) if edge < close else (0.3, 0.7)
        learned = optimal if edge < agree else optimal[::-1]
        rows += two(edge, optimal=optimal, learned=learned, residual_correlation=(0.2, 0.2))
    judged = skips_are_close(Made({("s2", "optimal_alpha"): rows}))  # type: ignore[arg-type]
    assert judged.verdict == verdict


@pytest.mark.parametrize(
    ("vgg", "resnet", "supernet", "verdict"),
    [
        ((0.9, 0.1), (0.9, 0.8), (0.9, 0.8), "reproduced"),
        ((0.9, 0.5), (0.9, 0.8), (0.9, 0.8), "undecided"),
        ((0.9, 0.5), (0.9, 0.8), (0.9, 0.4), "not reproduced"),
        ((0.12, 0.1), (0.9, 0.8), (0.9, 0.8), "undecided"),  # a VGG that had nothing to lose
    ],
)
def test_shuffled_networks_are_judged_by_what_is_above_chance(
    vgg: tuple[float, float], resnet: tuple[float, float], supernet: tuple[float, float], verdict: str
) -> None:
    rows = [
        {"seed": 0, "network": name, "before": before, "after": after, "chance": 0.1}
        for name, (before, after) in {"vgg": vgg, "resnet": resnet, "supernet": supernet}.items()
    ]
    assert supernets_unroll(Made({("s2", "shuffle"): rows})).verdict == verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("better", "verdict"),
    [((1, 1), "reproduced"), ((1, -1), "undecided"), ((-1, -1), "not reproduced")],
)
def test_an_accuracy_has_to_be_better_with_every_seed_and_space(better: tuple[int, int], verdict: str) -> None:
    accuracies = {
        (space, search, selection): {seed: 50 + (sign if selection == "perturb" else 0) for seed in (0, 1)}
        for space, sign in zip(("s2", "nasbench201"), better, strict=True)
        for search in ("darts", "fixed_alpha")
        for selection in ("perturb", "magnitude")
    }
    evidence = Made(accuracies=accuracies)
    assert perturbation_repairs(evidence).verdict == verdict  # type: ignore[arg-type]
    assert alpha_is_not_needed(evidence).verdict == verdict  # type: ignore[arg-type]


def test_what_was_not_measured_is_undecided_and_says_so() -> None:
    claims = (magnitude_is_not_strength, skips_dominate, skips_are_close, supernets_unroll, perturbation_repairs)
    for number, claim in enumerate((*claims, alpha_is_not_needed), start=1):
        judged = claim(Made())  # type: ignore[arg-type]
        assert (judged.number, judged.verdict, judged.pictures) == (number, "undecided", ())
        assert "Not measured" in judged.numbers
