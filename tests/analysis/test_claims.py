"""The rules of the verdicts on the paper's claims, and the section of RESULTS.md that says them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.command import analyze

from archselect.analysis.claims import (
    BEGIN,
    CLAIMS,
    END,
    Rule,
    alpha_is_not_needed,
    magnitude_is_not_strength,
    main,
    perturbation_repairs,
    replaced,
    skips_are_close,
    skips_dominate,
    supernets_unroll,
)
from archselect.analysis.evidence import Evidence

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Made(Evidence):
    """Evidence made up."""

    folder: Path = Path()
    tables: dict[str, Rows] = field(default_factory=dict)
    accuracies: dict[tuple[str, str, str], dict[int, float]] = field(default_factory=dict)

    def table(self, space: str, analysis: str) -> Rows:
        return self.tables.get(analysis, [])

    def accuracy(self, space: str, search: str, selection: str) -> dict[int, float]:
        return self.accuracies.get((space, search, selection), {})

    def validation_images(self, space: str) -> int:
        return 1000


def two(edge: int, **columns: tuple[float, float]) -> Rows:
    """The rows of `skip_connect` and `sep_conv_3x3` on an edge."""
    return [
        {"seed": 0, "cell": "normal", "edge": f"(0,{edge})", "operation": name}
        | {column: values[index] for column, values in columns.items()}
        for index, name in enumerate(("skip_connect", "sep_conv_3x3"))
    ]


def first_if(condition: bool, larger: float = 0.6, smaller: float = 0.4) -> tuple[float, float]:
    return (larger, smaller) if condition else (smaller, larger)


def discretized(right: int, wrong: int, gap: float = 0.1) -> Made:
    truth = (0.5 + gap, 0.5)
    rows = [
        row
        for edge in range(right + wrong)
        for row in two(edge, alpha=first_if(edge < right), strength=(0.02, 0.01), accuracy_at_convergence=truth)
    ]
    return Made(tables={"discretization_accuracy": rows})


def dominated(skips: int, strong: int, *leads: float) -> Made:
    rows = [
        row
        for edge in range(14)
        for row in two(edge, alpha=first_if(edge < skips), strength=first_if(edge < strong, 0.02, 0.01))
    ]
    epochs = [{"seed": 0, "val_accuracy": 0.1 * step, "lead": lead} for step, lead in enumerate(leads)]
    return Made(tables={"operation_strength": rows, "skip_dominance": epochs})


def close(skips: int, agree: int) -> Made:
    rows: Rows = []
    for edge in range(14):
        optimal = first_if(edge < skips)
        learned = optimal if edge < agree else optimal[::-1]
        rows += two(edge, optimal=optimal, learned=learned, residual_correlation=(0.2, 0.2))
    return Made(tables={"optimal_alpha": rows})


def shuffled(**networks: tuple[float, float]) -> Made:
    rows = [
        {"seed": 0, "network": name, "before": before, "after": after, "chance": 0.1}
        for name, (before, after) in networks.items()
    ]
    return Made(tables={"shuffle": rows})


def retrained(*better: int) -> Made:
    """In each space perturbation is that much better, or worse, than magnitude with both of two seeds."""
    accuracies = {
        (space, search, selection): {seed: 50 + (lead if selection == "perturb" else 0) for seed in (0, 1)}
        for space, lead in zip(("s2", "nasbench201"), better, strict=True)
        for search in ("darts", "fixed_alpha")
        for selection in ("perturb", "magnitude")
    }
    return Made(accuracies=accuracies)


GOOD = (0.9, 0.8)


@pytest.mark.parametrize(
    ("rule", "evidence", "verdict", "said"),
    [
        (magnitude_is_not_strength, discretized(3, 5), "reproduced", "8 random edges"),  # no better than chance
        (magnitude_is_not_strength, discretized(8, 0), "not reproduced", "on 8,"),  # 8 of 8: p = 0.004
        (magnitude_is_not_strength, discretized(5, 3), "undecided", "on 5,"),  # 5 of 8: better than chance, by chance
        # two standard errors of 1,000 images at 50 % are 4.5 points
        (magnitude_is_not_strength, discretized(3, 5, gap=0.01), "undecided", "on 0 edges by more than two"),
        (magnitude_is_not_strength, discretized(1, 2), "undecided", "too few"),
        (skips_dominate, dominated(12, 7, -0.1, 0.1, 0.2), "reproduced", "on 12 of 14 edges, perturbation on 7"),
        (skips_dominate, dominated(12, 7, 0.3, 0.2, 0.1), "undecided", "by -1.00"),
        (skips_dominate, dominated(5, 7, 0.3, 0.2, -0.1), "not reproduced", "ends at -0.100"),
        (skips_are_close, close(12, 12), "reproduced", "on 12 of 14 edges"),
        (skips_are_close, close(12, 8), "undecided", "prefers on 8."),  # 8 of 14 may be chance
        (skips_are_close, close(7, 12), "not reproduced", "on 7 of 14 edges"),
        (supernets_unroll, shuffled(vgg=(0.9, 0.1), resnet=GOOD, supernet=GOOD), "reproduced", "vgg 90.0 % before"),
        (supernets_unroll, shuffled(vgg=(0.9, 0.5), resnet=GOOD, supernet=GOOD), "undecided", "50.0 % after"),
        (supernets_unroll, shuffled(vgg=(0.9, 0.5), resnet=GOOD, supernet=(0.9, 0.4)), "not reproduced", "1 draws"),
        # a VGG that had nothing to lose
        (supernets_unroll, shuffled(vgg=(0.12, 0.1), resnet=GOOD, supernet=GOOD), "undecided", "12.0 % before"),
        (perturbation_repairs, retrained(1, 1), "reproduced", "s2: perturb 51.00 / 51.00 %"),
        (perturbation_repairs, retrained(1, -1), "undecided", "nasbench201: perturb 49.00"),
        (perturbation_repairs, retrained(-1, -1), "not reproduced", "(by seed)"),
        (alpha_is_not_needed, retrained(1, 1), "reproduced", "fixed alpha and perturb 51.00 / 51.00 %"),
        (alpha_is_not_needed, retrained(1, -1), "undecided", "(by seed)"),
        (alpha_is_not_needed, retrained(-1, -1), "not reproduced", "magnitude 50.00"),
    ],
)
def test_a_verdict_is_what_its_rule_makes_of_the_numbers(rule: Rule, evidence: Made, verdict: str, said: str) -> None:
    found = rule(evidence)
    assert found is not None and found[0] == verdict
    assert said in found[1]


def test_what_was_not_measured_is_undecided_and_says_so() -> None:
    for judge in CLAIMS:
        judged = judge(Made())
        assert (judged.verdict, judged.pictures) == ("undecided", ())
        assert "Not measured" in judged.numbers


@pytest.fixture
def runs(tiny_folder: Path, gathered: Callable[..., Path]) -> Path:
    """A folder with a run in S2 and one of its analyses."""
    folder = gathered(tiny_folder)
    analyze("analysis=optimal_alpha", f"run={folder}", "analysis.batches=1")
    return folder


def test_a_section_takes_the_place_of_the_one_before(runs: Path, tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text(f"# Results\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for _ in range(2):
        assert main([str(runs), "--into", str(results), "--pictures", str(tmp_path / "pictures")]) == 0
        text = results.read_text()
        assert text.startswith(f"# Results\n\nbefore\n\n{BEGIN}\n") and text.endswith(f"{END}\n\nafter\n")
        assert "old" not in text
        assert text.count("| **undecided** |") + text.count("reproduced** |") == 6
        assert "![Claim 3: analysis optimal_alpha in s2](pictures/s2_optimal_alpha.png)" in text
    assert (tmp_path / "pictures" / "s2_optimal_alpha.png").stat().st_size > 10_000


def test_a_table_is_read_with_its_seed_and_its_numbers(runs: Path) -> None:
    evidence = Evidence(runs)
    table = evidence.table("s2", "optimal_alpha")
    assert len(table) == 56 and {row["seed"] for row in table} == {0}
    assert isinstance(table[0]["variance"], float) and table[0]["operation"] == "skip_connect"
    assert evidence.table("s2", "shuffle") == evidence.table("darts", "optimal_alpha") == []
    assert evidence.validation_images("s2") == 60
    assert list(evidence.accuracy("s2", "darts", "perturb")) == [0]
    assert evidence.sizes() == "s2, darts, perturb (seeds 0)"


def test_a_file_without_the_marks_is_left_as_it_is(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n")
    assert main([str(tiny_folder), "--into", str(results), "--pictures", str(tmp_path / "pictures")]) == 1
    assert "must have the marks" in " ".join(capsys.readouterr().err.split())
    assert results.read_text() == "# Results\n" and not (tmp_path / "pictures").exists()
    with pytest.raises(ValueError, match="must have the marks"):
        replaced(f"{END} {BEGIN}", "new")


def test_two_runs_of_one_setting_are_refused(
    tiny_folder: Path, gathered: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(gathered(tiny_folder, tiny_folder))]) == 1
    assert "two runs of s2, darts, perturb, 0" in " ".join(capsys.readouterr().err.split())
