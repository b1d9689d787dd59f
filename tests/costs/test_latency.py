import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archselect import kernels
from archselect.costs.cache import CostOptions, cached_costs, costs_of
from archselect.costs.latency import describe_device, latency


class Sleeping(nn.Module):
    """Takes `seconds` per batch, and remembers what it was called with."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.calls: list[tuple[Any, ...]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append((tuple(images.shape), self.training, torch.is_grad_enabled(), kernels.are_enabled()))
        time.sleep(self.seconds)
        return images + torch.rand(1)


def test_the_median_is_the_time_that_a_batch_takes() -> None:
    found = latency(Sleeping(0.01), image_size=4, device="cpu", batch=2, seconds=0.05)
    assert 10 <= found.median < 20
    assert found.interquartile_range < 10
    assert found.runs >= 3


def test_plain_pytorch_is_measured_in_evaluation_mode_and_nothing_is_changed() -> None:
    network = Sleeping(0.0)
    state = torch.get_rng_state()
    with kernels.enabled():
        latency(network, image_size=4, device="cpu", batch=2, in_channels=1, seconds=0.001)
    assert set(network.calls) == {((2, 1, 4, 4), False, False, False)}
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)


def test_a_network_that_takes_longer_than_the_time_there_is_runs_twice() -> None:
    network = Sleeping(0.02)
    assert latency(network, image_size=4, device="cpu", batch=1, seconds=0.001).runs == 1
    assert len(network.calls) == 2  # the first warms up


@pytest.mark.parametrize(("share", "disturbed"), [(0.5, True), (1.0, False)])
def test_a_time_is_disturbed_where_the_processor_worked_for_others(
    share: float, disturbed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "process_time", lambda: share * time.perf_counter())
    assert latency(Sleeping(0.001), image_size=4, device="cpu", batch=1, seconds=0.01).disturbed is disturbed


def test_a_device_is_described_by_what_times_depend_on() -> None:
    said = describe_device(torch.device("cpu"))
    assert said.startswith("cpu (") and said.endswith(f"thread), PyTorch {torch.__version__}")


def test_costs_without_latency_run_no_network_on_values() -> None:
    network = nn.Conv2d(3, 2, 1)
    found = costs_of(network, 4, 3, torch.device("cpu"), CostOptions(latency=False, seconds=1.0))
    assert found == {"params": 8, "macs": 96, "peak_activation_bytes": 4 * 16 * (3 + 2), "image_size": 4}


@pytest.fixture
def measured() -> tuple[Callable[[], dict[str, Any]], list[int]]:
    """What measures, and how often it did."""
    times: list[int] = []

    def measure() -> dict[str, Any]:
        times.append(1)
        return {"macs": len(times)}

    return measure, times


def test_costs_are_measured_once_for_what_they_depend_on(tmp_path: Path, measured: Any) -> None:
    measure, times = measured
    for _ in range(2):
        assert cached_costs(tmp_path / "costs", "s2", {"device": "cpu"}, measure) == {"macs": 1}
    assert cached_costs(tmp_path / "costs", "s2", {"device": "cuda"}, measure) == {"macs": 2}
    assert len(times) == 2


@pytest.mark.parametrize("content", ["{", "[1]", "7"])
def test_damaged_costs_are_measured_anew(content: str, tmp_path: Path, measured: Any) -> None:
    measure, _ = measured
    cached_costs(tmp_path, "s2", {}, measure)
    (file,) = tmp_path.glob("s2-*.json")
    file.write_text(content)
    assert cached_costs(tmp_path, "s2", {}, measure) == cached_costs(tmp_path, "s2", {}, measure) == {"macs": 2}
