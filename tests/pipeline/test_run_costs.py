"""What a run says of the costs of its network."""

from pathlib import Path
from unittest import mock

import pytest
from tests.command import Run, tiny, train

from archselect import Genotype
from archselect.costs import count


def costs(run: Run) -> dict[str, object]:
    return {name: value for name, value in run.summary.items() if name.startswith("costs.")}


def counted(run: Run) -> tuple[object, ...]:
    return tuple(run.summary[f"costs.{name}"] for name in ("params", "macs", "peak_activation_bytes"))


def test_a_run_says_what_the_network_costs_that_it_trained(tiny_run: Run) -> None:
    parts, genotype = tiny_run.parts, Genotype.parse(tiny_run.summary["genotype"])
    network = parts.space.network(genotype, 8, 10, **parts.evaluation.network)  # type: ignore[attr-defined]
    found = count(network, image_size=8)
    assert counted(tiny_run) == (found.params, found.macs, found.peak_activation_bytes)
    assert found.params == tiny_run.summary["params"]
    one, many = (tiny_run.summary[f"costs.latency_ms_batch{batch}"] for batch in (1, 64))
    assert 0 < one < many


def test_a_command_typed_again_measures_nothing_and_says_the_same(own_logs: str, capfd: pytest.CaptureFixture) -> None:
    command = [*tiny("s2", "darts", "magnitude", "search.epochs=1", "evaluation=none"), own_logs]
    first = train(*command)
    with mock.patch("archselect.pipeline.run_costs.costs_of", side_effect=AssertionError):
        again = train(*command)
    assert costs(again) == costs(first)
    # Nothing is trained: the network is as large as the supernet.
    network = first.parts.space.network(Genotype.parse(first.summary["genotype"]), 8, 10, channels=4, layers=3)
    assert counted(first)[:2] == (count(network, 8).params, count(network, 8).macs)
    assert f"{first.summary['costs.macs'] / 1e6:.2f} M MACs" in capfd.readouterr().out


def test_without_latency_no_time_is_measured(own_logs: str) -> None:
    genotype = "cell:1:nor_conv_1x1@0/skip_connect@0+none@1/skip_connect@0+none@1+skip_connect@2"
    command = ["experiment=tiny", "search_space=nasbench201", "evaluation=nasbench201", f"genotype='{genotype}'"]
    with mock.patch("archselect.costs.cache.latency", side_effect=AssertionError):
        run = train(*command, "costs.latency=false", own_logs)
    assert not any("latency" in name for name in costs(run))
    assert run.summary["costs.params"] == run.summary["params"]
    assert run.summary["costs.image_size"] == 32  # the benchmark's, whatever the run's images are


def test_a_network_that_cannot_be_counted_loses_no_run(own_logs: str, capfd: pytest.CaptureFixture) -> None:
    with mock.patch("archselect.costs.cache.count", side_effect=RuntimeError("no values")):
        run = train(*tiny("s2", "darts", "magnitude", "search.epochs=1", "evaluation=none"), own_logs)
    assert costs(run) == {}
    assert "the costs of the network are not known: no values" in capfd.readouterr().out


def test_options_of_costs_are_checked_before_anything_runs(own_logs: str, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        train("experiment=tiny", "costs.seconds=0", own_logs)
    assert "costs.seconds must be a finite number above 0; got 0." in capfd.readouterr().err
    assert not (Path(own_logs.removeprefix("logs=")) / "stages").exists()
