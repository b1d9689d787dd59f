"""The rules of the verdicts on the paper's claims, and the section of RESULTS.md that says them."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.command import Run, analyze, tiny, train

from archselect.analysis.claims import (
    BEGIN,
    CLAIMS,
    END,
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
    tables: dict[tuple[str, str], Rows] = field(default_factory=dict)
    accuracies: dict[tuple[str, str, str], dict[int, float]] = field(default_factory=dict)

    def table(self, space: str, analysis: str) -> Rows | None:
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
    return Made(tables={("s2", "discretization_accuracy"): rows})


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
    judged = magnitude_is_not_strength(discretized(right, wrong, gap))
    assert judged.verdict == verdict
    assert f"{right + wrong} random edges" in judged.numbers


def dominated(skips: int, of: int, strong: int, leads: tuple[float, ...]) -> Made:
    operations: Rows = []
    for edge in range(of):
        alpha = (0.6, 0.4) if edge < skips else (0.4, 0.6)
        operations += two(edge, alpha=alpha, strength=(0.02, 0.01) if edge < strong else (0.01, 0.02))
    epochs = [{"seed": 0, "val_accuracy": 0.1 * step, "lead": lead} for step, lead in enumerate(leads)]
    return Made(tables={("s2", "operation_strength"): operations, ("s2", "skip_dominance"): epochs})


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
    judged = skips_dominate(dominated(skips, 14, strong, leads))
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
    judged = skips_are_close(Made(tables={("s2", "optimal_alpha"): rows}))
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
    assert supernets_unroll(Made(tables={("s2", "shuffle"): rows})).verdict == verdict


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
    assert perturbation_repairs(evidence).verdict == verdict
    assert alpha_is_not_needed(evidence).verdict == verdict


def test_what_was_not_measured_is_undecided_and_says_so() -> None:
    for number, judge in enumerate(CLAIMS, start=1):
        judged = judge(Made())
        assert (judged.number, judged.verdict, judged.pictures) == (number, "undecided", ())
        assert "Not measured" in judged.numbers


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run in S2 and one of its analyses."""
    folder = tmp_path_factory.mktemp("claims")
    overrides = [f"logs={folder / 'logs'}", "hydra.run.dir=${logs}/runs/${search_space.name}"]
    run = train(*tiny("s2", "darts", "perturb", "search.snapshots=1", *overrides))
    assert isinstance(run, Run)
    analyze("analysis=optimal_alpha", f"run={run.folder}", "analysis.batches=1")
    return folder / "logs" / "runs"


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


def test_a_file_without_the_marks_is_left_as_it_is(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n")
    assert main([str(runs), "--into", str(results), "--pictures", str(tmp_path / "pictures")]) == 1
    assert "must have the marks" in " ".join(capsys.readouterr().err.split())
    assert results.read_text() == "# Results\n" and not (tmp_path / "pictures").exists()
    with pytest.raises(ValueError, match="must have the marks"):
        replaced(f"{END} {BEGIN}", "new")


def test_a_table_is_read_with_its_seed_and_its_numbers(runs: Path) -> None:
    evidence = Evidence(runs)
    table = evidence.table("s2", "optimal_alpha")
    assert table is not None and len(table) == 56
    assert {row["seed"] for row in table} == {0}
    assert isinstance(table[0]["variance"], float) and table[0]["operation"] == "skip_connect"
    assert evidence.table("s2", "shuffle") is None
    assert evidence.table("darts", "optimal_alpha") is None
    assert evidence.validation_images("s2") == 60
    assert list(evidence.accuracy("s2", "darts", "perturb")) == [0]
    assert evidence.sizes() == "s2, darts, perturb (seeds 0)"


def test_two_runs_of_one_setting_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        shutil.copytree(runs / "s2", tmp_path / name, symlinks=True)
    assert main([str(tmp_path)]) == 1
    assert "two runs of s2, darts, perturb, 0" in " ".join(capsys.readouterr().err.split())
