"""The rules of the verdicts on the paper's claims, and the section of RESULTS.md that says them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.analysis.tables import Gather
from tests.command import analyze

from archselect.analysis import claims
from archselect.analysis.claims import BEGIN, END, Evidence

Rows = list[dict[str, Any]]


def made(*rules: claims.Rule, accuracies: Mapping[Any, Mapping[int, float]] | None = None, **tables: Rows) -> Any:
    """Evidence made up, and the rules that it is for."""
    return SimpleNamespace(
        rules=rules,
        table=lambda space, analysis: tables.get(analysis, []),
        accuracy=lambda *choices: (accuracies or {}).get(choices, {}),
        validation_images=lambda space: 1000,
    )


def on_edges(count: int, **columns: Callable[[int], tuple[float, float]]) -> Rows:
    """The rows of `skip_connect` and `sep_conv_3x3` on so many edges."""
    return [
        {"seed": 0, "cell": "normal", "edge": f"(0,{edge})", "operation": name}
        | {column: values(edge)[index] for column, values in columns.items()}
        for edge in range(count)
        for index, name in enumerate(("skip_connect", "sep_conv_3x3"))
    ]


def first_below(edges: int, larger: float = 0.6, smaller: float = 0.4) -> Callable[[int], tuple[float, float]]:
    """`skip_connect` has the larger value on so many edges."""
    return lambda edge: (larger, smaller) if edge < edges else (smaller, larger)


def discretized(right: int, wrong: int, gap: float = 0.1) -> Any:
    truth = first_below(99, 0.5 + gap, 0.5)
    columns = {"alpha": first_below(right), "strength": first_below(99), "accuracy_at_convergence": truth}
    return made(claims.magnitude_is_not_strength, discretization_accuracy=on_edges(right + wrong, **columns))


def dominated(skips: int, strong: int, *leads: float) -> Any:
    operations = on_edges(14, alpha=first_below(skips), strength=first_below(strong, 0.02, 0.01))
    epochs = [{"seed": 0, "val_accuracy": 0.1 * step, "lead": lead} for step, lead in enumerate(leads)]
    return made(claims.skips_dominate, operation_strength=operations, skip_dominance=epochs)


def close(skips: int, agree: int) -> Any:
    optimal = first_below(skips)
    columns = {"optimal": optimal, "learned": lambda edge: optimal(edge) if edge < agree else optimal(edge)[::-1]}
    rows = on_edges(14, residual_correlation=lambda edge: (0.2, 0.2), **columns)
    return made(claims.skips_are_close, optimal_alpha=rows)


def shuffled(vgg: tuple[float, float], supernet: tuple[float, float]) -> Any:
    networks = {"vgg": vgg, "resnet": (0.9, 0.8), "supernet": supernet}
    rows = [{"network": name, "before": one, "after": other} for name, (one, other) in networks.items()]
    return made(claims.supernets_unroll, shuffle=[{"seed": 0, "chance": 0.1, **row} for row in rows])


def retrained(*better: int) -> Any:
    """In each space perturbation is that much better, or worse, than magnitude with both of two seeds."""
    accuracies = {
        (space, search, selection): {seed: 50 + (lead if selection == "perturb" else 0) for seed in (0, 1)}
        for space, lead in zip(("s2", "nasbench201"), better, strict=True)
        for search in ("darts", "fixed_alpha")
        for selection in ("perturb", "magnitude")
    }
    return made(claims.perturbation_repairs, claims.alpha_is_not_needed, accuracies=accuracies)


@pytest.mark.parametrize(
    ("evidence", "verdict", "said"),
    [
        (discretized(3, 5), "reproduced", "8 random edges"),  # no better than chance
        (discretized(8, 0), "not reproduced", "on 8,"),  # 8 of 8: p = 0.004
        (discretized(5, 3), "undecided", "on 5,"),  # 5 of 8: better than chance, by chance
        (discretized(3, 5, gap=0.01), "undecided", "on 0 edges by more than two"),  # of 1,000 images: 4.5 points
        (discretized(1, 2), "undecided", "too few"),
        (dominated(12, 7, -0.1, 0.1, 0.2), "reproduced", "on 12 of 14 edges, perturbation on 7"),
        (dominated(12, 7, 0.3, 0.2, 0.1), "undecided", "by -1.00"),
        (dominated(5, 7, 0.3, 0.2, -0.1), "not reproduced", "ends at -0.100"),
        (close(12, 12), "reproduced", "on 12 of 14 edges"),
        (close(12, 8), "undecided", "prefers on 8."),  # 8 of 14 may be chance
        (close(7, 12), "not reproduced", "on 7 of 14 edges"),
        (shuffled((0.9, 0.1), (0.9, 0.8)), "reproduced", "vgg 90.0 % before, 10.0 % after"),
        (shuffled((0.9, 0.5), (0.9, 0.8)), "undecided", "vgg 90.0 % before, 50.0 % after"),
        (shuffled((0.9, 0.5), (0.9, 0.4)), "not reproduced", "supernet 90.0 % before, 40.0 % after"),
        (shuffled((0.12, 0.1), (0.9, 0.8)), "undecided", "vgg 12.0 % before"),  # which had nothing to lose
        (retrained(1, 1), "reproduced", "perturb 51.00 / 51.00 %, magnitude 50.00 / 50.00 %"),
        (retrained(1, -1), "undecided", "perturb 49.00 / 49.00 %"),
        (retrained(-1, -1), "not reproduced", "(by seed)"),
    ],
)
def test_a_verdict_is_what_its_rule_makes_of_the_numbers(evidence: Any, verdict: str, said: str) -> None:
    for rule in evidence.rules:
        found = rule(evidence)
        assert found[0] == verdict
        assert said in found[1]


def test_what_was_not_measured_is_undecided_and_says_so() -> None:
    for judge in claims.CLAIMS:
        judged = judge(made())
        assert (judged.verdict, judged.pictures) == ("undecided", ())
        assert "Not measured" in judged.numbers


@pytest.fixture
def runs(tiny_folder: Path, gathered: Gather) -> Path:
    """A folder with a run in S2 and one of its analyses."""
    folder = gathered(tiny_folder)
    analyze("analysis=optimal_alpha", f"run={folder}", "analysis.batches=1")
    return folder


def test_a_section_takes_the_place_of_the_one_before(runs: Path, tmp_path: Path) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text(f"# Results\n\nbefore\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for _ in range(2):
        assert claims.main([str(runs), "--into", str(results), "--pictures", str(tmp_path / "pictures")]) == 0
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
    assert claims.main([str(tiny_folder), "--into", str(results), "--pictures", str(tmp_path / "pictures")]) == 1
    assert "must have the marks" in " ".join(capsys.readouterr().err.split())
    assert results.read_text() == "# Results\n" and not (tmp_path / "pictures").exists()
    with pytest.raises(ValueError, match="must have the marks"):
        claims.replaced(f"{END} {BEGIN}", "new")


def test_two_runs_of_one_setting_are_refused(
    tiny_folder: Path, gathered: Gather, capsys: pytest.CaptureFixture[str]
) -> None:
    assert claims.main([str(gathered(tiny_folder, tiny_folder))]) == 1
    assert "two runs of s2, darts, perturb, 0" in " ".join(capsys.readouterr().err.split())
