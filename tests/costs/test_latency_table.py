"""Tables of latencies: what is measured is summed, and a table of other networks is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from archselect.costs import latency_table
from archselect.costs.count import count
from archselect.costs.expected import Place, Skeleton
from archselect.costs.latency_table import LatencyTable, cost_models, measure_latencies
from archselect.genotype import Genotype
from archselect.search_spaces import DartsSpace, NASBench201Space

CELL = Genotype.from_text("cell:1:nor_conv_1x1@0/skip_connect@0+nor_conv_1x1@1/skip_connect@0+none@1+skip_connect@2")


def skeleton_of(*operations: str, image_size: int = 8) -> Skeleton:
    return Skeleton.of(NASBench201Space("two", operations, channels=2, cells_per_stage=1), image_size, outputs=3)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., LatencyTable]:
    """Return what measures by a clock that takes a millisecond for each multiply-accumulate, and 5 for a network."""

    def latency(module: nn.Module, size: int, device: Any, batch: int, channels: int, seconds: float) -> Any:
        assert (batch, seconds) == (4, 0.1)
        return SimpleNamespace(median=count(module, size, channels).macs)

    monkeypatch.setattr(latency_table, "latency", latency)
    return lambda skeleton: measure_latencies(skeleton, torch.device("cpu"), batch=4, seconds=0.1)


def test_a_latency_is_the_sum_over_operations_and_of_a_network_without_them(measured: Any, tmp_path: Path) -> None:
    skeleton = skeleton_of("none", "skip_connect", "nor_conv_1x1")
    measured(skeleton).write(tmp_path / "table.json")
    table = LatencyTable.read(tmp_path / "table.json")
    assert table == measured(skeleton)
    assert table.operations["nor_conv_1x1", Place(2, 1, 8)] == 2 * 2 * 8 * 8 * 1_000_000
    macs = count(skeleton.network(CELL), 8).macs
    model = cost_models(["latency"], skeleton, str(tmp_path / "table.json"))["latency"]
    assert model.cost(CELL) == macs * 1_000_000
    assert table.check["ratio"] == 1.0
    assert table.how["batch"] == 4


def test_what_networks_do_not_build_is_not_measured_and_takes_no_time(measured: Any) -> None:
    skeleton = skeleton_of("none", "skip_connect", "nor_conv_1x1")
    table = measured(skeleton)
    assert {name for name, _ in table.operations} == {"skip_connect", "nor_conv_1x1"}
    older = replace(table, operations={**table.operations, **{("none", place): 9 for _, place in table.operations}})
    assert older.model(skeleton) == table.model(skeleton)


def test_a_network_without_operations_keeps_the_rest_of_it() -> None:
    s2 = DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=4, layers=3)
    skeleton = Skeleton.of(s2, 8, 10)
    network = latency_table.without_operations(skeleton.network(s2.example()))
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 10)
    assert 0 < network.parameter_count() < skeleton.example().parameter_count()


def test_a_table_of_other_networks_or_operations_and_a_broken_one_are_refused(measured: Any, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    measured(skeleton_of("skip_connect", "nor_conv_1x1")).write(file)
    with pytest.raises(
        ValueError, match=r"is that of networks with image_size 8, but those of this run have image_size 16\. Measure"
    ):
        cost_models(["latency"], skeleton_of("skip_connect", "nor_conv_1x1", image_size=16), str(file))
    with pytest.raises(ValueError, match="lacks the operations nor_conv_3x3 of search space 'two'"):
        cost_models(["latency"], skeleton_of("skip_connect", "nor_conv_3x3"), str(file))
    with pytest.raises(ValueError, match=r"cannot be read: .*costs measure writes one"):
        LatencyTable.read(tmp_path / "none.json")
    data = json.loads(file.read_text())
    lists = [{**data, name: ["list"]} for name in ("how", "skeleton", "check")]
    for broken in (*lists, {"how": {}}, [], {**data, "fixed_ns": -1}, {**data, "operations": [{"operation": "none"}]}):
        file.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match="is no table of latencies"):
            LatencyTable.read(file)
