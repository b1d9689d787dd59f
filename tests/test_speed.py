"""The benchmarks measure what they say; how fast anything is, no test asserts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from speed import decisions, racing, scaling
from speed.comparison import compare, table
from speed.conditions import Conditions
from speed.decisions import compare as compare_decisions
from speed.finished_search import FinishedSearch
from speed.kinds import OTHER, profiled
from speed.memory import apart, resident_peak
from speed.scaling import Axes, Measurement, scale
from speed.scaling_figure import draw_scaling
from speed.setting import Setting
from speed.sides import Fast, Reference, check_agreement, data_for
from speed.work import Work, work_of

from archselect import kernels
from archselect.figures.style import save
from archselect.selection import Score

REPOSITORY = Path(__file__).parents[1]
TINY = Setting("nasbench201", channels=4, depth=1)
CONDITIONS = Conditions(batch=2)
KEYS = {
    *("supernet", "device", "precision", "batch", "step_ratio", "forward_ratio", "memory_ratio"),
    *("step_seconds", "reference_step_seconds", "forward_seconds", "reference_forward_seconds"),
    *("memory_bytes", "reference_memory_bytes", "torch", "threads"),
}


# --- A supernet against the plain one. ---


def test_a_comparison_holds_the_times_of_both_sides_and_their_ratios() -> None:
    needed = {"fast": 300, "reference": 1200}
    record = compare(TINY, CONDITIONS, repeat=1, memory=lambda setting, conditions, side: needed[side])

    assert set(record) >= KEYS
    assert json.loads(json.dumps(record)) == record
    for what in ("step", "forward"):
        assert record[f"{what}_ratio"] == record[f"reference_{what}_seconds"] / record[f"{what}_seconds"] > 0
    assert record["memory_ratio"] == 0.25
    assert "nasbench201" in table([record])


def test_sides_that_compute_different_things_are_not_timed() -> None:
    fast, reference = Fast(TINY, CONDITIONS), Reference(TINY, CONDITIONS)
    check_agreement(fast, reference, CONDITIONS)
    with torch.no_grad():
        fast.supernet.stem[0].weight.neg_()
    with pytest.raises(ValueError, match=r"must agree before they are timed.*0\.0001.*tests/reference"):
        check_agreement(fast, reference, CONDITIONS)


def test_both_sides_get_the_same_batches_in_the_layout_of_each() -> None:
    fast, reference = (data_for(side(TINY, CONDITIONS), CONDITIONS) for side in (Fast, Reference))
    torch.testing.assert_close(fast, reference, rtol=0, atol=0)
    assert fast.alpha[0].is_contiguous(memory_format=torch.channels_last)
    assert reference.alpha[0].is_contiguous()
    assert not torch.equal(fast.alpha[0], fast.weights[0])


@pytest.mark.parametrize(("decided", "parts"), [(0.0, ["alpha", "weights"]), (1.0, ["weights"])])
def test_a_step_takes_the_gradient_in_alpha_while_an_edge_is_undecided(
    decided: float, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    side = Fast(Setting("nasbench201", 4, 1, decided), CONDITIONS)
    called: list[str] = []
    for part in ("alpha", "weights"):
        monkeypatch.setattr(side, part, lambda data, part=part: called.append(part))
    side.step(data_for(side, CONDITIONS))
    assert called == parts


@pytest.mark.parametrize("recompute", [False, True])
def test_cells_are_evaluated_again_if_the_conditions_say_so(recompute: bool) -> None:
    assert Fast(TINY, Conditions(batch=2, recompute=recompute)).supernet.recompute is recompute


SIZE = 64 * 1024**2


def fill_and_free() -> None:
    torch.ones(SIZE // 4).sum()


def peak_of_the_second_time() -> int:
    fill_and_free()  # what is made once does not count
    return resident_peak(fill_and_free)


def test_the_peak_counts_what_a_call_has_freed_again() -> None:
    # Elsewhere: this process may still hold what other tests freed. Pages count to within a few dozen per thread.
    assert apart(peak_of_the_second_time) == pytest.approx(SIZE, rel=0.1)


@pytest.mark.parametrize(("option", "value"), [("batch", 0), ("threads", 0), ("capture", "cuda_graphs")])
def test_conditions_that_cannot_be_are_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"--{option}"):
        Conditions(**{option: value})


def test_a_size_that_a_space_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match=r"at least 3 layers.*got 2\.$"):
        Setting("darts", depth=2).space()


@pytest.mark.slow
def test_the_command_measures_memory_in_processes_of_their_own(tmp_path: Path) -> None:
    output = tmp_path / "bench" / "latest.json"
    supernets = ["--supernet", "nasbench201", "--supernet", "s2"]
    sizes = ["--channels", "4", "--depth", "3", "--batch", "8", "--repeat", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.speed", *supernets, *sizes, "--output", output],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    records = json.loads(output.read_text())
    assert [record["supernet"] for record in records] == ["nasbench201", "s2"]
    for record in records:
        # 1 MB is what the images and the stem's output alone take.
        assert 1e6 < record["memory_bytes"] < 1e9 and 1e6 < record["reference_memory_bytes"] < 1e9
        assert record["supernet"] in done.stdout


# --- Decisions. ---


def test_decisions_are_the_same_where_the_same_removal_hurts_most() -> None:
    worst_first = [Score(0.2, 2.0), Score(0.5, 1.0)]
    tied = [Score(0.4, 1.0), Score(0.4, 1.5)]  # by accuracy the first wins
    other = [Score(0.4, 1.5), Score(0.4, 1.0)]
    assert compare_decisions([worst_first, tied], [worst_first, other]) == ["2 of 2", "1 of 2", "5.0e-01"]


def test_the_loops_and_the_operators_of_pytorch_decide_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(16, 3, 8, 8, generator=generator), torch.arange(16) % 10)]
    search = FinishedSearch(Setting("nasbench201", channels=4, depth=1).build().train(), batches)
    (operators, *_) = decisions.others("cpu")
    expected, found = (decisions.scored(search, one, "cpu") for one in (decisions.AS_A_RUN, operators))
    assert expected != found  # other sums, so they were evaluated in another way
    _, by_loss, difference = compare_decisions(expected, found)
    assert by_loss == "6 of 6"
    assert float(difference) < 1e-5


@pytest.mark.parametrize("command", [decisions.main, racing.main])
def test_what_is_no_finished_search_is_named(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["command", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"{tmp_path} is no folder of a finished search"):
        command()


# --- Growth. ---


def test_decisions_are_spread_over_the_cell() -> None:
    supernet = Setting("darts", 4, 3, decided=0.25).build()
    for made in supernet.decisions.values():
        decided = {edge: operation for edge, operation in enumerate(made.operations) if operation is not None}
        assert decided == {0: 0, 3: 3, 7: 0, 10: 3}


def test_one_thing_is_varied_at_a_time_and_what_axes_share_is_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def apart(function: Any, setting: Setting, conditions: Conditions, repeat: int) -> Measurement:
        measured.append((setting.channels, setting.depth, conditions.batch, setting.decided))
        return Measurement(0.5 * (setting.channels or 0), 1000 * conditions.batch)

    monkeypatch.setattr(scaling, "apart", apart)
    axes = Axes(channels=(4, 8), layers=(3, 4), cells_per_stage=(1,), batch=(2, 16), decided=(0.0, 1.0))
    records = scale(Setting("darts", 4, 3), CONDITIONS, 1, axes)

    assert measured == [(4, 3, 2, 0.0), (8, 3, 2, 0.0), (4, 4, 2, 0.0), (4, 3, 16, 0.0), (4, 3, 2, 1.0)]
    assert [(record["axis"], record["value"]) for record in records] == [
        *(("channels", 4), ("channels", 8), ("layers", 3), ("layers", 4)),
        *(("batch", 2), ("batch", 16), ("decided", 0.0), ("decided", 1.0)),
    ]
    assert [record["step_seconds"] for record in records][:2] == [2.0, 4.0]
    assert save(draw_scaling(records, "growth"), tmp_path / "scaling").stat().st_size > 0


# --- Kinds of work. ---

STRIDE_2 = [None, None, None, [2, 2], [1, 1], [1, 1], False, [0, 0], 4]
BACKWARD = [None, None, None, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1]


@pytest.mark.parametrize(
    ("name", "shapes", "values", "work"),
    [
        # 8x8 images become 4x4: 2 * (2*4*4*4) * 9 operations; 512 read, 36 of the weight, 128 written.
        (
            "aten::convolution",
            [[2, 4, 8, 8], [4, 1, 3, 3], *[[]] * 7],
            STRIDE_2,
            Work("convolution, depthwise", 676, 2304),
        ),
        # 3 to 5 channels on 2*4*4 pixels: 160 + 96 + 15 to read; each gradient 2 * 160 * 3 operations.
        (
            "aten::convolution_backward",
            [[2, 5, 4, 4], [2, 3, 4, 4], [5, 3, 1, 1], *[[]] * 8],
            [*BACKWARD, [True, True, False]],
            Work("convolution, pointwise", 160 + 2 * (96 + 15), 1920),
        ),
        (
            "aten::convolution_backward",
            [[2, 5, 4, 4], [2, 3, 4, 4], [5, 3, 1, 1], *[[]] * 8],
            [*BACKWARD, [False, True, False]],
            Work("convolution, pointwise", 160 + 96 + 15, 960),
        ),
        ("aten::mm", [[2, 3], [3, 4]], [None, None], Work("matrix products", 6 + 12 + 8, 48)),
        ("aten::addmm_", [[2, 4], [2, 3], [3, 4], [], []], [None] * 5, Work("matrix products", 8 + 6 + 12 + 8, 48)),
        ("aten::bmm", [[5, 2, 3], [5, 3, 4]], [None, None], Work("batched products", 30 + 60 + 40, 240)),
        ("aten::add_", [[2, 3], [2, 3], []], [None, None, 1], Work("elementwise", 18, 6)),
        ("aten::mul", [[2, 1, 3], [4, 1]], [None, None], Work("elementwise", 6 + 4 + 24, 24)),
        ("aten::sum", [[2, 3], [], [], []], [None, [1], False, None], Work("reductions", 6, 6)),
        ("aten::copy_", [[2, 3], [2, 3], []], [None, None, False], Work("copies", 12, 0)),
        ("aten::cat", [[[2, 3], [2, 5]], []], [None, 1], Work("copies", 32, 0)),
        ("aten::batch_norm", [[2, 3, 4, 4], [3], *[[]] * 7], [None] * 9, Work("batch normalisation", 192, 480)),
        (
            "aten::avg_pool2d",
            [[1, 2, 4, 4], *[[]] * 6],
            [None, [3, 3], [2, 2], [1, 1], False, False, None],
            Work("pooling", 32 + 8, 72),
        ),
        ("aten::conv2d", [[2, 4, 8, 8], [4, 1, 3, 3]], [None, None], None),
        ("aten::view", [[2, 3], []], [None, [6]], None),
        ("_Pointwise", [[2, 3]], [None], None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_an_operator_needs(name: str, shapes: list[Any], values: list[Any], work: Work | None) -> None:
    assert work_of(name, shapes, values) == work


def test_all_time_falls_to_the_outermost_operator_or_to_the_rest() -> None:
    x, weight = torch.randn(2, 4, 8, 8), torch.randn(4, 4, 3, 3)
    running = kernels.Running(torch.zeros(4), torch.ones(4))
    stage = kernels.Convolution(torch.randn(4, 1, 3, 3), torch.randn(4, 4, 1, 1), running)

    def run() -> None:
        F.conv2d(x, weight)
        torch.matmul(x, x)
        kernels.convolve(x, (stage,), 1, kernels.NormMode(True, 0.1, 1e-5))

    total, tallies = profiled(run, CONDITIONS)

    assert tallies["convolution, dense"].calls == 1
    assert tallies["convolution, dense"].operations == 2 * (2 * 4 * 6 * 6) * (4 * 9)
    assert tallies["batched products"].operations == 2 * (2 * 4 * 8 * 8) * 8
    assert tallies["batched products"].bytes == 4 * 3 * (2 * 4 * 8 * 8)
    assert tallies["convolution, separable"].operations == 2 * (2 * 4 * 8 * 8) * (9 + 4)
    assert tallies["convolution, separable"].bytes == 4 * 2 * (2 * 4 * 8 * 8)
    assert "convolution, depthwise" not in tallies
    assert all(tally.seconds > 0 for tally in tallies.values())
    assert sum(tally.seconds for tally in tallies.values()) == pytest.approx(total)
    assert tallies[OTHER].calls == 0
