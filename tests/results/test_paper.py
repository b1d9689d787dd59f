"""The paper's numbers are found under the choices they belong to, and under no others."""

import pytest

from archselect.results.summaries import Choices, paper_number


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        (("darts", "darts", "perturb", "retrain_cifar10", "cifar10"), "97.39 ± 0.08 (mean of 4 seeds, best 97.52)"),
        (("darts", "darts", "magnitude", "retrain_cifar10", "cifar10"), "97.00 ± 0.14 (mean of 4 seeds)"),
        (("darts", "fixed_alpha", "perturb", "retrain_cifar10", "cifar10"), "97.13 (mean of 4 seeds)"),
        (("s2", "darts", "magnitude", "retrain_cifar10", "cifar10"), "95.15 (best of 4 seeds)"),
        (("s4", "darts", "perturb", "retrain_small", "cifar100"), "79.20 (best of 4 seeds)"),
        (("s1", "fixed_alpha", "perturb", "retrain_small", "svhn"), "97.61 (best of 4 seeds)"),
        (("nasbench201", "darts", "perturb", "table", "cifar10"), "88.11 (the chosen cell)"),
    ],
)
def test_reports_errors_as_accuracies_and_says_what_they_are(choices: tuple[str, ...], text: str) -> None:
    assert str(paper_number(Choices(*choices))) == text


@pytest.mark.parametrize(
    "choices",
    [
        ("s2", "darts", "perturb", "retrain_small", "cifar10"),
        ("s2", "darts", "perturb", "none", "cifar10"),
        ("s2", "darts", "random", "retrain_cifar10", "cifar10"),
        ("s2", "darts", "perturb", "retrain_cifar10", "digits"),
    ],
    ids=["smaller network", "not retrained", "another selection", "other data"],
)
def test_has_nothing_for_what_the_paper_did_not_run(choices: tuple[str, ...]) -> None:
    assert paper_number(Choices(*choices)) is None
