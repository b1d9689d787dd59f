"""Limits and prices in a run: refused before anything is computed, kept to the end, part of what a stage is."""

import json
from pathlib import Path
from random import Random as Generator

import pytest
from hydra import compose
from tests.command import tiny, train
from tests.selection.small_cells import two_cells
from tests.selection.test_limit import model_of

from archselect.costs.expected import counted_models
from archselect.pipeline.config import Components, as_user_error, instantiate_parts
from archselect.pipeline.limits import _plain, identity_of_limit, identity_of_price, judged_skeleton
from archselect.pipeline.preflight import check
from archselect.selection.limit import Bound, Budget
from archselect.utils.errors import UserError

LEAST, MOST = 58_112, 119_168  # MACs of the networks of the tiny run


def parts_of(*overrides: str) -> Components:
    return instantiate_parts(compose("train", [*tiny(), "logger=none", *overrides]))


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as error, as_user_error():
        check(parts_of(*overrides))
    return str(error.value)


@pytest.mark.usefixtures("hydra")
def test_what_no_network_satisfies_is_refused_before_anything_is_computed() -> None:
    least = counted_models(judged_skeleton(parts_of()))["macs"].lowest
    check(parts_of(f"selection.limit.macs={least}"))
    assert refused(f"selection.limit.macs={least - 1}") == (
        f"Every network of search space 's2' has at least {least:,} MACs, but selection.limit.macs allows "
        f"{least - 1:,} MACs. Raise the limit, or take a smaller evaluation.network."
    )
    genotype = "genotype=" + "//".join(
        f"{cell}:2:" + "/".join(["sep_conv_3x3@0+sep_conv_3x3@1"] * 4) for cell in ("normal", "reduction")
    )
    assert "The network of this genotype has" in refused(genotype, "selection.limit.params=1000")
    assert refused("search/part=cost", "search.cost.target=1e3") == (
        f"search.cost.target (1,000 MACs) cannot be met: the cheapest network of search space 's2' has {least:,} MACs. "
        "Raise the target, or take a smaller evaluation.network."
    )
    assert "needs selection.limit.latency_table=FILE" in refused("selection.limit.latency_ms=1")
    missing = ["selection.limit.latency_ms=1", "selection.limit.latency_table=none.json"]
    assert "latency_table=none.json cannot be read" in refused(*missing)
    unused = "search/part=cost", "search.cost.latency_table=none.json"
    assert "is for search.cost.measure=latency, not for macs" in refused(*unused)
    assert "is for selection.limit.latency_ms, which is not set" in refused("selection.limit.latency_table=none.json")
    assert "must be a finite number above 0" in refused("selection.limit.macs=-1")


@pytest.mark.usefixtures("hydra")
def test_a_limit_and_a_price_belong_to_their_stages_with_the_networks_that_they_are_about() -> None:
    assert identity_of_limit(parts_of()) == identity_of_price(parts_of()) == {}
    seen = [
        identity_of_limit(parts_of("selection.limit.macs=3e7")),
        identity_of_limit(parts_of("selection.limit.macs=4e7")),
        identity_of_limit(parts_of("selection.limit.macs=3e7", "evaluation.network.channels=8")),
        identity_of_price(parts_of("search/part=cost")),
        identity_of_price(parts_of("search/part=cost", "evaluation.network.channels=8")),
    ]
    assert len({json.dumps(one) for one in seen}) == len(seen)
    without = identity_of_limit(parts_of("selection.limit.macs=3e7", "evaluation=none"))["limit"]["skeleton"]
    assert without["network"] == {  # of the supernet's sizes
        "channels": 4,
        "layers": 3,
        "stem": "conv3x3",
        "head": {"build": "torch.nn.modules.linear.Linear", "pooled": True},
    }


@pytest.mark.usefixtures("hydra")
def test_a_head_of_a_users_own_is_told_from_others_by_its_file_and_all_of_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from torch import nn\ndef Head(channels, outputs, hidden):\n"
        "    layers = [nn.Linear(a, b) for a, b in zip([channels, *hidden], [*hidden, outputs])]\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)\n"
    )
    (file := tmp_path / "my_code_of_limits.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))

    def identity(hidden: str) -> str:
        head = f"evaluation.network.head={{_target_:my_code_of_limits.Head,hidden:{hidden}}}"
        parts = parts_of("selection.limit.macs=3e7", "search/part=cost", head)
        return json.dumps([identity_of_limit(parts), identity_of_price(parts)])

    before = identity("[8]")
    assert before == identity("[8]") != identity("[512,512]")
    file.write_text(code + "# changed")
    assert identity("[8]") != before
    with pytest.raises(ValueError, match=r"must be numbers, texts, classes, .* got b'8'"):
        _plain({"_target_": "my_code_of_limits.Head", "hidden": (8, b"8")})


@pytest.mark.parametrize("selection", ["magnitude", pytest.param("perturb", marks=pytest.mark.slow)])
def test_a_run_ends_within_its_limit_and_says_what_it_excluded(selection: str, logs: str) -> None:
    run = train(*tiny("s2", "darts", selection, "selection.limit.macs=8e4", "search/part=cost", logs))
    said, excluded = run.summary["selection.limit"]["macs"], [one for one in run.decisions() if "excluded" in one]
    assert said == {"most": 8e4, "of_network": run.summary["costs.macs"]}
    assert run.summary["costs.macs"] <= 8e4
    assert run.summary["selection.limited_decisions"] == len(excluded) > 0
    assert all("expected_macs" in one["metrics"] for one in run.history("search"))


def test_what_a_search_has_decided_beyond_the_limit_is_a_sentence() -> None:
    supernet = two_cells()
    model = model_of(list(supernet.cell_spaces.values()), Generator(0))
    budget = Budget(supernet.cell_spaces, [Bound("macs", model, model.lowest)])
    budget.check(supernet.decisions, "Every network", "")
    decided = dict(supernet.decisions)
    dearest = [max(range(3), key=edge.__getitem__) for edge in model.operations["normal"]]
    for edge, operation in enumerate(dearest):
        decided["normal"] = decided["normal"].keep_operation(edge, operation)
    with pytest.raises(
        ValueError, match=rf"Every network has at least \d+ MACs, but selection.limit.macs allows {model.lowest}"
    ):
        budget.check(decided, "Every network", "")


def test_limits_that_can_be_met_one_by_one_only_are_a_sentence() -> None:
    supernet = two_cells()
    models = [model_of(list(supernet.cell_spaces.values()), Generator(seed)) for seed in (1, 2)]
    bounds = [Bound(name, model, model.lowest) for name, model in zip(("macs", "params"), models, strict=True)]
    with pytest.raises(ValueError, match=r"meets each of selection.limit.macs \(\d+ MACs\) and .* alone, but not all"):
        Budget(supernet.cell_spaces, bounds).check(supernet.decisions, "Every network", "")
