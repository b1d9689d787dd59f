"""Every search method with every selection, generated from the config folder: a new YAML joins by itself."""

import itertools
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from tests.command import CONFIGS, sweep, tiny, train

from archselect.genotype import Genotype
from archselect.pipeline.command_line import register_resolvers
from archselect.pipeline.preflight import check_pair
from archselect.reporting.report import main as report
from archselect.search import SearchMethod
from archselect.selection import Selector


def members(group: str) -> list[str]:
    return sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))


SPACES, SEARCHES, SELECTIONS = members("search_space"), members("search"), members("selection")
PARTS = members("search/part")

SMALL = ["experiment=grid_tiny", "selection.tuning.epochs_between=0"]
"""Without tuning: that of every selection is the same."""

READS_ALPHA = {"magnitude", "perturb_magnitude", "sampling"}


def made(space: str, search: str, selection: str) -> tuple[SearchMethod, Selector, Any]:
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", [f"search_space={space}", f"search={search}", f"selection={selection}"])
        return tuple(instantiate(config[group], _convert_="all") for group in ("search", "selection", "search_space"))


@pytest.fixture(scope="module")
def parts() -> tuple[dict[str, SearchMethod], dict[str, Selector]]:
    searches = {search: made("s2", search, "magnitude")[0] for search in SEARCHES}
    return searches, {selection: made("s2", "darts", selection)[1] for selection in SELECTIONS}


@pytest.mark.parametrize("space", SPACES)
def test_a_pair_goes_together_or_is_refused_with_the_reason(space: str, parts: Any) -> None:
    searches, selections = parts
    cells = made(space, "darts", "magnitude")[2].cells
    for search, selection in itertools.product(SEARCHES, SELECTIONS):
        refused = search == "fixed_alpha" and selection in READS_ALPHA
        with pytest.raises(ValueError, match="never trains alpha") if refused else nullcontext():
            check_pair(searches[search], selections[selection], cells)


@pytest.mark.parametrize("selection", SELECTIONS)
def test_where_the_search_decides_everything_there_is_nothing_to_compare(selection: str, parts: Any) -> None:
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["search_space=s2", "search=sgas", "search.greedy.share=1"])
    search, selector = instantiate(config.search, _convert_="all"), parts[1][selection]
    cells = made("s2", "darts", "magnitude")[2].cells
    refusal = pytest.raises(ValueError, match="search=sgas decides every edge while it trains")
    with refusal if selector.needs_candidates else nullcontext():
        check_pair(search, selector, cells)


SHORTER = {
    "shapley": ["selection.permutations=1"],
    "zero_cost": ["selection.proxy=grad_norm"],
    "sampling": ["selection.samples=10"],
    **dict.fromkeys(("perturb", "perturb_magnitude", "perturb_random"), SMALL[1:]),
}


@pytest.mark.parametrize(
    ("search", "selection", "part"),
    [
        *((search, "random" if search == "fixed_alpha" else "magnitude", None) for search in SEARCHES),
        ("sgas", "perturb", None),  # which decides what the search has left
        *(("darts", selection, None) for selection in SELECTIONS if selection not in ("magnitude", "discretization")),
        *(("drnas", "magnitude", part) for part in PARTS),
    ],
)
def test_every_search_selection_and_part_ends_in_an_architecture(
    search: str, selection: str, part: str | None, logs: str
) -> None:
    parts = [f"search/part=[{part}]"] if part else []
    choices = ["experiment=grid_tiny", f"search={search}", f"selection={selection}", *parts]
    run = train(*choices, *SHORTER.get(selection, []), logs)
    assert (run.summary["search"], run.summary["selection"]) == (search, selection)
    run.parts.space.check(Genotype.from_text(run.summary["genotype"]))


def test_the_small_grid_is_the_small_experiment_made_shorter(tmp_path: Path) -> None:
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["experiment=grid_small", f"data.path={tmp_path}"])
    assert (config.search.epochs, config.evaluation.epochs, config.data.train_subset) == (8, 8, 1200)


def test_parts_add_up_and_ask_for_a_name(logs: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = train("experiment=grid_tiny", "search/part=[curvature,skip_limit,l2,entropy]", "selection=magnitude", logs)
    assert set(run.config.search.stopping) == {"eigenvalue", "skips"}
    assert set(run.config.search.regularizers) == {"l2", "entropy"}
    measured = run.history("search")[0]["metrics"]
    assert {"stopping_eigenvalue", "stopping_skips"} <= set(measured)
    assert "search.name=darts+curvature+skip_limit+l2+entropy tells them apart" in capsys.readouterr().out
    named = train("experiment=grid_tiny", "search/part=[l2]", "selection=magnitude", "search.name=darts+l2", logs)
    assert named.summary["search"] == "darts+l2" and "tells them apart" not in capsys.readouterr().out


def test_a_sweep_shares_its_supernets_and_the_report_shows_who_was_refused(own_logs: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        choices = ["search_space=nasbench201", "search=darts,fixed_alpha", "selection=magnitude,random"]
        sweep("experiment=grid_tiny", *choices, own_logs)
    folder = tmp_path / "logs"
    searches = [path for path in (folder / "stages" / "search").iterdir() if path.is_dir()]
    assert len(searches) == 2
    assert report([str(folder), "--output", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    grid = text[text.index("## Grid: nasbench201, none, digits") :]
    assert [line for line in grid.splitlines() if line.startswith("|")] == [
        "| search | magnitude | random |",
        "| --- | --- | --- |",
        "| darts | decided | decided |",
        "| fixed_alpha | refused (1) | decided |",
    ]
    assert "- (1) selection=magnitude reads the size of alpha, but search=fixed_alpha never trains alpha" in text


@pytest.mark.slow
@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("space", [space for space in SPACES if space != "s2"])
def test_every_search_ends_in_an_architecture_on_every_space(space: str, search: str, logs: str) -> None:
    run = train(*tiny(space, search, "perturb", *SMALL[1:]), logs)
    run.parts.space.check(Genotype.from_text(run.summary["genotype"]))


@pytest.mark.parametrize("selection", ["magnitude", "perturb"])
def test_the_strengths_of_all_operations_are_a_table_and_a_picture(
    selection: str, own_logs: str, capsys: pytest.CaptureFixture[str], with_figures: None
) -> None:
    own = ["search_space=nasbench201", "selection.report_strengths=true", *SHORTER.get(selection, [])]
    run = train("experiment=grid_tiny", f"selection={selection}", *own, own_logs)
    lines = (run.folder / "strengths.csv").read_text().splitlines()
    assert lines[0] == "cell,edge,candidate,rank,strength,standard_error,kept"
    assert len(lines) == 1 + 6 * 5
    assert (run.folder / "figures" / "strengths.png").exists()
    assert "Strength of the operations" in capsys.readouterr().out
