"""The benchmarks run and measure what they say; how fast anything is, no test asserts."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from benchmarks import comparison, decisions, gpu, measuring, profiling, racing, scaling
from benchmarks.__main__ import COMMANDS, main
from benchmarks.settings import Conditions, Setting
from benchmarks.sides import Package, Plain, check_agreement, data_for
from benchmarks.work import Work, work_of
from tests.command import Run

from archselect import kernels
from archselect.selection import Score

TINY = Setting("nasbench201", channels=4, depth=1)
CONDITIONS = Conditions(batch=2)
SMALL = ["--supernet", "nasbench201", "--channels", "4", "--depth", "1", "--batch", "2", "--repeat", "1"]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure memory here, where what other tests freed may hide it: a process of its own takes seconds."""
    for module in (comparison, scaling):
        monkeypatch.setattr(module, "in_new_process", lambda function, *args: function(*args))


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_help_has_a_line_for_each_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert all(len(lines[name]) > 3 for name in COMMANDS)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("profiling", "convolution, dense"),
        ("methods --method darts_second_order darts+entropy", "darts+entropy"),
        ("overhead --steps 2", "nasbench201"),
        ("retraining --genotype DARTS_V2 --channels 4 --layers 3 --batch 2 --repeat 1", "DARTS_V2"),
    ],
    ids=lambda value: value.split()[0],
)
def test_a_benchmark_prints_a_table_of_what_was_asked_for(
    command: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiling, "measure_limits", lambda _: profiling.Limits(1e9, 1e9))
    assert main([*command.split(), *([] if "--layers" in command else SMALL)]) == 0
    assert shown in capsys.readouterr().out


@pytest.mark.slow
def test_loading_compares_images_in_memory_with_those_on_disk(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("loading --images 40 --size 8 --batch 4 --workers 2".split()) == 0  # noqa: SIM905
    shown = capsys.readouterr().out
    assert all(row in shown for row in ("memory", "folder, 2 threads", "tar shards, 2 threads", "folder, 2 processes"))


@pytest.mark.parametrize("command", [decisions, racing])
def test_a_finished_search_is_scored_or_named(
    command: Any, nasbench201_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = command.__name__.partition(".")[2]
    assert main([name, str(Run(nasbench201_folder).stage("search")), "--batches", "1"]) == 0
    assert "6 edges" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=f"{tmp_path} is no folder of a finished search"):
        main([name, str(tmp_path)])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--batch 0", "--batch"),
        ("--threads 0", "--threads"),
        ("--repeat 0", "--repeat"),
        ("--capture cuda_graphs", "--capture cuda_graphs needs --device cuda"),
        ("--supernet darts --depth 2", r"at least 3 layers.*got 2\.$"),
    ],
)
def test_what_cannot_be_measured_is_named(options: str, named: str) -> None:
    with pytest.raises(SystemExit, match=named):
        main(["comparison", *options.split()])


# --- A supernet against the plain one. ---


@pytest.mark.usefixtures("in_this_process")
def test_a_comparison_holds_the_times_of_both_sides_and_their_ratios(tmp_path: Path) -> None:
    output = tmp_path / "bench" / "latest.json"
    assert main(["comparison", *SMALL, "--output", str(output)]) == 0
    (record,) = json.loads(output.read_text())
    assert (record["supernet"], record["channels"], record["batch"]) == ("nasbench201", 4, 2)
    for what in ("step", "forward"):
        assert record[f"{what}_ratio"] == record[f"plain_{what}_seconds"] / record[f"{what}_seconds"] > 0
    assert record["memory_ratio"] == record["memory_bytes"] / record["plain_memory_bytes"]


def test_sides_that_compute_different_things_are_not_timed() -> None:
    package, plain = Package(TINY, CONDITIONS), Plain(TINY, CONDITIONS)
    check_agreement(package, plain, CONDITIONS)
    with torch.no_grad():
        package.supernet.stem[0].weight.neg_()
    with pytest.raises(ValueError, match=r"must agree before they are timed.*0\.0001.*tests/reference"):
        check_agreement(package, plain, CONDITIONS)


def test_both_sides_get_the_same_batches_in_the_layout_of_each() -> None:
    package, plain = (data_for(side(TINY, CONDITIONS), CONDITIONS) for side in (Package, Plain))
    torch.testing.assert_close(package, plain, rtol=0, atol=0)
    assert package.architecture[0].is_contiguous(memory_format=torch.channels_last)
    assert plain.architecture[0].is_contiguous()
    assert not torch.equal(package.architecture[0], package.weights[0])


@pytest.mark.parametrize(("decided", "in_alpha"), [(0.0, 1), (1.0, 0)])
def test_a_step_takes_the_gradient_in_alpha_while_an_edge_is_undecided(decided: float, in_alpha: int) -> None:
    side = Package(Setting("nasbench201", 4, 1, decided), CONDITIONS)
    assert len(side.step(data_for(side, CONDITIONS))) == in_alpha + len(side.supernet.weight_parameters())


SIZE = 64 * 1024**2


def fill_and_free() -> None:
    torch.ones(SIZE // 4).sum()


def peak_of_the_second_time() -> int:
    fill_and_free()  # what is made once does not count
    return measuring.resident_peak(fill_and_free)


def test_the_peak_counts_what_a_call_has_freed_again() -> None:
    # Elsewhere: this process may still hold what other tests freed. Pages count to within a few dozen per thread.
    assert measuring.in_new_process(peak_of_the_second_time) == pytest.approx(SIZE, rel=0.1)


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

    def measure(function: Any, setting: Setting, conditions: Conditions, repeat: int) -> scaling.Measurement:
        measured.append((setting.channels, setting.depth, conditions.batch, setting.decided))
        return scaling.Measurement(0.5 * (setting.channels or 0), 1000 * conditions.batch)

    axes = {"channels": (4, 8), "layers": (3, 4), "cells_per_stage": (1,), "batch": (2, 16), "decided": (0.0, 1.0)}
    monkeypatch.setattr(scaling, "in_new_process", measure)
    monkeypatch.setattr(scaling, "AXES", axes)
    size = ["--channels", "4", "--depth", "3", "--batch", "2", "--repeat", "1"]
    main(["scaling", "--supernet", "darts", *size, "--output", str(tmp_path / "scaling")])

    assert measured == [(4, 3, 2, 0.0), (8, 3, 2, 0.0), (4, 4, 2, 0.0), (4, 3, 16, 0.0), (4, 3, 2, 1.0)]
    records = json.loads((tmp_path / "scaling.json").read_text())
    assert [(record["axis"], record["value"]) for record in records] == [
        *(("channels", 4), ("channels", 8), ("layers", 3), ("layers", 4)),
        *(("batch", 2), ("batch", 16), ("decided", 0.0), ("decided", 1.0)),
    ]
    assert [record["step_seconds"] for record in records][:2] == [2.0, 4.0]
    assert (tmp_path / "scaling.png").stat().st_size > 0


# --- Decisions. ---


def test_decisions_are_the_same_where_the_same_removal_hurts_most() -> None:
    worst_first = [Score(0.2, 2.0), Score(0.5, 1.0)]
    tied = [Score(0.4, 1.0), Score(0.4, 1.5)]  # by accuracy the first wins
    other = [Score(0.4, 1.5), Score(0.4, 1.0)]
    assert decisions.compare([worst_first, tied], [worst_first, other]) == ["2 of 2", "1 of 2", "5.0e-01"]


def test_the_loops_and_the_operators_of_pytorch_decide_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(16, 3, 8, 8, generator=generator), torch.arange(16) % 10)]
    search = decisions.FinishedSearch(TINY.build().train(), batches)
    (operators, *_) = decisions.others("cpu")
    expected, found = (decisions.scored(search, one, "cpu") for one in (decisions.AS_A_RUN, operators))
    assert expected != found  # other sums, so they were evaluated in another way
    _, by_loss, difference = decisions.compare(expected, found)
    assert by_loss == "6 of 6"
    assert float(difference) < 1e-5


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

    total, tallies = profiling.profiled(run, CONDITIONS)

    assert tallies["convolution, dense"].calls == 1
    assert tallies["convolution, dense"].operations == 2 * (2 * 4 * 6 * 6) * (4 * 9)
    assert tallies["batched products"].operations == 2 * (2 * 4 * 8 * 8) * 8
    assert tallies["batched products"].bytes == 4 * 3 * (2 * 4 * 8 * 8)
    assert tallies["convolution, separable"].operations == 2 * (2 * 4 * 8 * 8) * (9 + 4)
    assert tallies["convolution, separable"].bytes == 4 * 2 * (2 * 4 * 8 * 8)
    assert "convolution, depthwise" not in tallies
    assert all(tally.seconds > 0 for tally in tallies.values())
    assert sum(tally.seconds for tally in tallies.values()) == pytest.approx(total)
    assert tallies[profiling.OTHER].calls == 0


# --- On a GPU. ---


@pytest.mark.slow
def test_every_stage_for_a_gpu_runs_on_a_cpu_at_the_smallest_size_but_the_tests_for_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "THREE", ("nasbench201",))
    stages = [name for name in gpu.STAGES if name not in ("tests", "search")]
    assert all((gpu.ROOT / test).is_file() for test in gpu.TESTS)
    assert main(["gpu", "--device", "cpu", "--tiny", "--logs", str(tmp_path), "--only", *stages]) == 0
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in stages}
    assert all(rows["seconds"] > 0 for name, rows in found.items() if name != "environment")
    assert found["correctness"]["nasbench201: float64 / CPU float64"] < 1e-12
    assert 1e-9 < found["correctness"]["nasbench201: float32 / CPU float64"] < 0.01
    training = found["training"]["nasbench201"]
    assert training["step"] > training["clip and optimizer"] > 0
    assert len(found["device_time"]["nasbench201"]["name, launches, ms"]) == gpu.TOP


@pytest.mark.slow
def test_a_search_goes_on_in_the_next_call_and_a_stage_without_time_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ["gpu", "--device", "cpu", "--tiny", "--logs", str(tmp_path / "logs"), "--only"]
    assert main([*call, "steps", "--minutes", "0.5"]) == 0
    assert "steps: left out, needs 90 s" in capsys.readouterr().out
    assert not (tmp_path / "logs" / "steps.json").exists()

    monkeypatch.setattr(gpu, "GRACE", 600)  # it is told to end after a second
    assert main([*call, "search", "--minutes", "2"]) == 0
    assert json.loads((tmp_path / "logs" / "search.json").read_text())["ended"].startswith("no: call again")
    monkeypatch.setattr(gpu, "GRACE", 20)
    assert main([*call, "search", "--minutes", "5"]) == 0
    found = json.loads((tmp_path / "logs" / "search.json").read_text())
    assert (found["ended"], found["epochs"]) == ("with code 0", 2)


def test_a_stage_that_fails_is_said_and_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(call: gpu.Call) -> gpu.Rows:
        yield "first", 1
        raise RuntimeError("no kernel image")

    monkeypatch.setitem(gpu.STAGES, "steps", gpu.Stage(rows, 0))
    stages = ["steps", "environment"]
    assert main(["gpu", "--device", "cpu", "--tiny", "--logs", str(tmp_path), "--only", *stages]) == 1
    found = json.loads((tmp_path / "steps.json").read_text())
    assert found["first"] == 1 and "no kernel image" in found["failed"]
    assert "device" in json.loads((tmp_path / "environment.json").read_text())
