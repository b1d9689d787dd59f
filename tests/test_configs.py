"""The config tree as code: everything that can be chosen composes, is built, and says what it is."""

import re
import shlex
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from tests.command import CONFIGS

from archselect.evaluation import NoEvaluation, Retraining
from archselect.pipeline.command_line import evaluation_for
from archselect.pipeline.config import instantiate_parts
from archselect.pipeline.preflight import check
from archselect.selection import Perturbation, Racing, Scoring

GROUPS = ("search_space", "search", "selection", "evaluation", "data", "trainer", "task", "logger")
SPACES = ("darts", "s1", "s2", "s3", "s4", "nasbench201")


def members(group: str) -> list[str]:
    return sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))


MEMBERS = [(group, member) for group in GROUPS for member in members(group)]


pytestmark = pytest.mark.usefixtures("hydra")


def composed(*overrides: str, folder: Path | None = None) -> DictConfig:
    """Compose as `train.py` does; `folder` stands for the run folder."""
    config = compose("train", list(overrides), return_hydra_config=True)
    config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    return config


LOGGERS = {
    "csv": [CSVLogger],
    "wandb": [CSVLogger, WandbLogger],
    "tensorboard": [CSVLogger, TensorBoardLogger],
    "none": [],
}


@pytest.mark.parametrize(("group", "member"), MEMBERS)
def test_every_member_of_every_group_composes_to_what_its_file_says_and_is_built(
    group: str, member: str, tmp_path: Path
) -> None:
    chosen = ["search_space=nasbench201"] if group == "evaluation" and "nasbench201" in member else []
    if group in ("search_space", "search", "selection"):  # the data of the others need not be there
        chosen = ["data=digits", "evaluation=none"]
    config = composed(*chosen, f"{group}={member}", folder=tmp_path)
    assert config.hydra.runtime.choices[group] == member
    plain = OmegaConf.to_container(config[group], resolve=True, throw_on_missing=True)
    written = OmegaConf.to_container(OmegaConf.load(CONFIGS / group / f"{member}.yaml"))
    assert isinstance(plain, dict) and isinstance(written, dict)
    for key, value in written.items():
        if key != "defaults" and not isinstance(value, dict) and "${" not in str(value):
            assert plain[key] == value
    # What the run folder and the group in W&B are called needs all of it.
    name = f"{config.search_space.name}-{config.search.name}-{config.selection.name}-{config.data.name}"
    assert config.name == name
    assert config.hydra.run.dir.startswith(f"logs/runs/{name}-seed0/")

    built = instantiate(config[group], _convert_="all")
    if group == "trainer":
        assert built.func is Trainer
        options = ("accelerator", "devices", "sync_batchnorm", "precision", "checkpoint_minutes")
        assert set(built.keywords) == set(options)
    elif group == "logger":
        assert [type(logger) for logger in built.values()] == LOGGERS[member]
    else:
        assert isinstance(built, get_class(plain["_target_"]))
        assert built.name == plain["name"] == member
    if "data=digits" in chosen:
        check(instantiate_parts(config))


OTHER_GROUPS = (
    *("search/part/", "hydra/launcher/", "hydra/sweeper/", "hparams_search/", "analysis/", "protocol/"),
    *("search_space/size/", "selection/limit/"),
)


def test_every_yaml_file_is_in_a_group_that_is_tested() -> None:
    files = {str(file.relative_to(CONFIGS).with_suffix("")) for file in CONFIGS.rglob("*.yaml")}
    tested = {f"{group}/{member}" for group, member in MEMBERS}
    tested |= {f"experiment/{name}" for name in EXPERIMENTS} | {f"selection/scoring/{name}" for name in SCORINGS}
    elsewhere = {  # test_grid.py, test_launchers.py, test_hparams_search.py, tests/analysis, test_protocols.py, below
        *("experiment/grid_small", "experiment/grid_tiny", "hydra/folders", "hydra/analysis_folders"),
        *(name for name in files if name.startswith(OTHER_GROUPS)),
    }
    assert files == tested | elsewhere | {"train", "analyze", "predict", "export"}


@pytest.mark.parametrize("name", members("analysis"))
def test_an_analysis_is_named_as_its_file_and_a_test_makes_it(name: str) -> None:
    config = compose("analyze", [f"analysis={name}"])
    assert config.analysis.name == name
    get_class(config.analysis._target_)
    tests = Path(__file__).with_name("analysis").glob("test_*.py")
    assert any(f'"analysis={name}"' in file.read_text() or f"analysis={name} " in file.read_text() for file in tests)


SCORINGS = {"full": Scoring, "racing": Racing}


@pytest.mark.parametrize("name", SCORINGS)
def test_the_scoring_of_a_selection_is_a_choice_of_its_own(name: str, tmp_path: Path) -> None:
    parts = instantiate_parts(composed("data=digits", "evaluation=none", f"selection/scoring={name}", folder=tmp_path))
    assert type(parts.selection.scoring) is SCORINGS[name]


def test_every_file_opens_with_what_it_is_for_and_no_comment_is_longer_than_a_line() -> None:
    for file in CONFIGS.rglob("*.yaml"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
        if file.parent.name not in ("trainer", "logger") or file.stem == "default":
            assert re.match(r"# .{15,}", lines[0]), file
        assert all(len(line) <= 120 for line in lines if line.lstrip().startswith("#")), file


# --- Experiments. One that is not named here fails `test_every_yaml_file_is_in_a_group_that_is_tested`. ---

GROUPS_OF_EXPERIMENTS = ("search_space", "selection", "data", "evaluation")
EXPERIMENTS: dict[str, tuple[tuple[str, ...], int]] = {  # name: choices of these groups, epochs of tuning
    "quickstart": (("s2", "perturb", "digits", "retrain_digits"), 17),
    "tiny": (("s2", "perturb", "digits", "retrain_tiny"), 17),
    "cifar10_small": (("s2", "perturb", "cifar10", "retrain_quick"), 17),
    "nasbench201_small": (("nasbench201", "perturb", "cifar10", "nasbench201"), 6),
    "paper_s2": (("s2", "perturb", "cifar10", "retrain_quick"), 17),
    "paper_nasbench201": (("nasbench201", "perturb", "cifar10", "nasbench201"), 6),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_what_it_is_and_its_command_composes_to_parts_that_go_together(
    name: str, tmp_path: Path
) -> None:
    package, *lines = (CONFIGS / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0].splitlines()
    lines = [line.removeprefix("# ") for line in lines]
    (command,) = (line for line in lines if line.startswith("python train.py "))
    assert package == "# @package _global_" and lines[0] != command and lines[-2].endswith(".")
    overrides = shlex.split(command.replace("FOLDER", str(tmp_path)))[2:]
    assert f"experiment={name}" in overrides

    config = composed(*overrides, folder=tmp_path)
    choices, tuning = EXPERIMENTS[name]
    assert tuple(config.hydra.runtime.choices[group] for group in GROUPS_OF_EXPERIMENTS) == choices
    if "data.path" in command:
        config.data.path = None
    parts = instantiate_parts(config)
    assert isinstance(parts.selection, Perturbation)
    assert parts.selection.steps(parts.space.cells)[-1].epochs.stop == tuning
    check(parts)


@pytest.mark.parametrize(
    ("name", "selection"),
    [*((name, "zero_cost") for name in EXPERIMENTS), *(("tiny", selection) for selection in members("selection"))],
)
def test_the_selection_of_an_experiment_can_be_exchanged(name: str, selection: str, tmp_path: Path) -> None:
    choices = (f"experiment={name}", f"selection={selection}", "evaluation=none")
    parts = instantiate_parts(composed(*choices, folder=tmp_path))
    assert parts.selection.name == selection
    assert isinstance(parts.evaluation, NoEvaluation)


@pytest.mark.parametrize(
    ("name", "space"),
    [*(("tiny", space) for space in SPACES), *(("quickstart", "s4"), ("cifar10_small", "darts"))],
)
def test_the_space_of_an_experiment_can_be_exchanged(name: str, space: str, tmp_path: Path) -> None:
    parts = instantiate_parts(composed(f"experiment={name}", f"search_space={space}", "data=digits", folder=tmp_path))
    check(parts)
    tuning = parts.selection.tuning
    assert (parts.space.name, tuning.epochs_between, tuning.epochs) == (space, 1, None)


@pytest.mark.parametrize("name", ["quickstart", "cifar10_small"])
def test_an_experiment_can_look_its_cell_up(name: str, tmp_path: Path) -> None:
    choices = ["search_space=nasbench201", "evaluation=nasbench201", "data=digits"]
    check(instantiate_parts(composed(f"experiment={name}", *choices, folder=tmp_path)))


# --- Which evaluation is taken where none is named. ---

EVALUATIONS = [
    *((space, "cifar10", "retrain_cifar10") for space in SPACES[:5]),
    *((space, data, "retrain_small") for space in ("darts", "s3") for data in ("cifar100", "svhn", "image_folder")),
    *((space, "digits", "retrain_digits") for space in SPACES[:5]),
    *(("nasbench201", data, "nasbench201") for data in ("cifar10", "cifar100")),
    *(("nasbench201", data, "retrain_nasbench201") for data in ("svhn", "digits", "image_folder")),
]


@pytest.mark.parametrize(("space", "data", "evaluation"), EVALUATIONS)
def test_space_and_data_pick_the_evaluation(space: str, data: str, evaluation: str) -> None:
    assert evaluation_for(space, data) == evaluation


@pytest.mark.parametrize(("space", "data", "evaluation"), EVALUATIONS[5::6])
def test_it_is_picked_where_none_is_named(space: str, data: str, evaluation: str) -> None:
    config = composed(f"search_space={space}", f"data={data}")
    assert config.hydra.runtime.choices.evaluation == config.evaluation.name == evaluation


def test_without_any_choice_it_is_the_full_protocol_of_the_darts_space_on_cifar10() -> None:
    config = composed()
    choices = config.hydra.runtime.choices
    assert [choices[group] for group in GROUPS[:5]] == ["darts", "darts", "perturb", "retrain_cifar10", "cifar10"]
    assert (config.search.epochs, config.evaluation.epochs) == (50, 600)
    assert config.evaluation.network == {"channels": 36, "layers": 20, "stem": None, "head": None}


@pytest.mark.parametrize(
    ("space", "data", "evaluation"),
    [
        ("nasbench201", "digits", "retrain_nasbench201"),
        ("nasbench201", None, "nasbench201"),
        (None, "digits", "retrain_digits"),
    ],
)
def test_an_experiment_file_picks_it_too(space: str | None, data: str | None, evaluation: str, tmp_path: Path) -> None:
    choices = [
        f"  - override /{group}: {member}" for group, member in (("search_space", space), ("data", data)) if member
    ]
    file = tmp_path / "experiment" / "mine.yaml"
    file.parent.mkdir()
    file.write_text("\n".join(["# @package _global_", "defaults:", *choices, "", "seed: 3", ""]))
    config = composed("experiment=mine", f"hydra.searchpath=[file://{tmp_path}]")
    assert config.seed == 3
    assert config.search_space.name == (space or "darts")
    assert config.evaluation.name == evaluation


# --- What Hydra refuses. ---


@pytest.mark.parametrize(
    "override",
    [
        "sead=1",
        "search.epoch=3",
        "search.weight_optimizer.learning_rate=0.1",
        "selection.tuning.epochs_betwen=1",
        "selection.scoring.batch=1",
        "evaluation.network.channel=3",
        "data.subset=3",
        "trainer.acelerator=cpu",
        "protocol.epochs=1",
    ],
)
def test_an_unknown_key_is_refused_by_name(override: str) -> None:
    key = override.split("=")[0]
    with pytest.raises(ConfigCompositionException, match=f"'{key}'") as refused:
        composed(override)
    assert f"Key '{key.split('.')[-1]}' is not in struct" in str(refused.value.__cause__)


@pytest.mark.parametrize("group", [*GROUPS, "experiment"])
def test_an_unknown_member_is_refused_with_those_there_are(group: str) -> None:
    with pytest.raises(MissingConfigException) as refused:
        composed(f"{group}=imaginary")
    assert f"'{group}/imaginary'" in str(refused.value)
    assert all(f"\t{member}" in str(refused.value) for member in members(group))


# --- Each option of the perturbation reaches it. ---

OPTIONS: dict[str, Any] = {
    "operation_criterion": "loss",
    "edge_order": "global",
    "node_order": [5, 4, 3],
    "topology_criterion": "loss",
    "renormalize": True,
    "topology_rounds": "cumulative",
    "score_unmasked": True,
    "report_strengths": True,
    "tuning.epochs_between": 2,
    "tuning.epochs": 90,
    "tuning.learning_rate": 0.01,
    "tuning.schedule": "cosine",
    "tuning.train_alpha": False,
    "tuning.architecture_optimizer_state": "fresh",
    "scoring.batch_norm": "recalibrated",
    "scoring.recalibration_batches": 3,
    "scoring.batch_size": 17,
    "scoring.held_out_share": 0.25,
    "scoring.batches": 2,
}


def test_every_option_of_the_perturbation_is_given_on_the_command_line(tmp_path: Path) -> None:
    usual = composed(folder=tmp_path)
    assert set(leaves(OmegaConf.to_container(usual.selection))) - {"name", *LIMITS} == {*OPTIONS, *ALONE}  # type: ignore[arg-type]
    made = instantiate_parts(usual).selection
    typed = [f"selection.{path}={str(value).lower().replace(' ', '')}" for path, value in OPTIONS.items()]
    given = instantiate_parts(composed(*typed, folder=tmp_path)).selection
    for path, value in OPTIONS.items():
        reached, of_the_file, of_the_class = (attrgetter(path)(one) for one in (given, made, Perturbation()))
        assert reached == value != of_the_file, path
        assert of_the_file == of_the_class or path == "scoring.batch_size"
    assert made.scoring.batch_size == 64


LIMITS = ("limit.macs", "limit.params", "limit.latency_ms", "limit.latency_table")  # tests/pipeline/test_limits.py
ALONE = {"edge_order": [list(range(14)), {"normal": [1, 0], "reduction": [0, 1]}], "operation_rule": ["magnitude"]}


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in ALONE.items() for value in values])
def test_an_option_that_does_not_go_with_all_others_is_given_alone(path: str, value: Any, tmp_path: Path) -> None:
    typed = str(value).replace(" ", "").replace("'", "")
    assert getattr(instantiate_parts(composed(f"selection.{path}={typed}", folder=tmp_path)).selection, path) == value


def leaves(config: dict[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        elif not key.startswith("_"):
            yield f"{prefix}{key}"


def test_the_retraining_of_the_papers_is_what_the_files_say() -> None:
    evaluation = instantiate_parts(composed("data=digits", "evaluation=retrain_cifar10")).evaluation
    assert isinstance(evaluation, Retraining)
    assert (evaluation.epochs, evaluation.batch_size, evaluation.cutout, evaluation.drop_path) == (600, 96, 16, 0.2)
    assert (evaluation.auxiliary_weight, evaluation.gradient_clip, evaluation.learning_rate_min) == (0.4, 5.0, 0.0)
