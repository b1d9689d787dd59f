"""The config tree as code: everything that can be chosen composes, is built, and says what it is."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from tests.command import CONFIGS

from archselect.evaluation import NoEvaluation, Retraining
from archselect.pipeline.command_line import evaluation_for, register_resolvers
from archselect.pipeline.config import instantiate_parts
from archselect.pipeline.preflight import check
from archselect.selection import Perturbation, Racing, Scoring
from archselect.utils.errors import RunError

GROUPS = ("search_space", "search", "selection", "evaluation", "data", "trainer", "logger")
SPACES = ("darts", "s1", "s2", "s3", "s4", "nasbench201")


def members(group: str) -> list[str]:
    return sorted(file.stem for file in (CONFIGS / group).glob("*.yaml"))


MEMBERS = [(group, member) for group in GROUPS for member in members(group)]


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    register_resolvers()
    before = HydraConfig.instance().cfg
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield
    HydraConfig.instance().cfg = before


def composed(*overrides: str, folder: Path | None = None) -> DictConfig:
    """Compose as `train.py` does; `folder` stands for the run folder."""
    config = compose("train", list(overrides), return_hydra_config=True)
    config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    return config


def fitting(group: str, member: str) -> list[str]:
    """Return what has to be chosen along with a member."""
    if group == "evaluation" and "nasbench201" in member:
        return ["search_space=nasbench201"]
    return []


def targets(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if "_target_" in config:
            yield config["_target_"]
        for part in config.values():
            yield from targets(part)


@pytest.mark.parametrize(("group", "member"), MEMBERS)
def test_every_member_of_every_group_composes_to_what_its_file_says(group: str, member: str, tmp_path: Path) -> None:
    config = composed(*fitting(group, member), f"{group}={member}", folder=tmp_path)
    assert config.hydra.runtime.choices[group] == member
    plain = OmegaConf.to_container(config[group], resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    if group not in ("trainer", "logger"):
        assert plain["name"] == member
    written = OmegaConf.to_container(OmegaConf.load(CONFIGS / group / f"{member}.yaml"))
    assert isinstance(written, dict)
    for key, value in written.items():
        if key != "defaults" and not isinstance(value, dict) and "${" not in str(value):
            assert plain[key] == value
    # What the run folder and the group in W&B are called needs all of it.
    name = f"{config.search_space.name}-{config.search.name}-{config.selection.name}-{config.data.name}"
    assert config.name == name
    assert config.hydra.run.dir.startswith(f"logs/runs/{name}-seed0/")


@pytest.mark.parametrize(("group", "member"), MEMBERS)
def test_every_target_is_built(group: str, member: str, tmp_path: Path) -> None:
    config = composed(*fitting(group, member), f"{group}={member}", folder=tmp_path)
    built = instantiate(config[group], _convert_="all")
    if group == "trainer":
        assert built.func is Trainer
        assert set(built.keywords) == {"accelerator", "devices", "sync_batchnorm", "precision"}
    elif group == "logger":
        expected = {
            "csv": [CSVLogger],
            "wandb": [CSVLogger, WandbLogger],
            "tensorboard": [CSVLogger, TensorBoardLogger],
            "none": [],
        }[member]
        assert [type(logger) for logger in built.values()] == expected
        assert all(isinstance(logger, Logger) for logger in built.values())
    else:
        assert isinstance(built, get_class(config[group]["_target_"]))
        assert built.name == member
    plain = OmegaConf.to_container(config[group], resolve=True)
    assert len(list(targets(plain))) == (OmegaConf.to_yaml(config[group]).count("_target_"))


@pytest.mark.parametrize(
    ("group", "member"), [pair for pair in MEMBERS if pair[0] in ("search_space", "search", "selection")]
)
def test_the_parts_of_every_choice_go_together(group: str, member: str, tmp_path: Path) -> None:
    parts = instantiate_parts(composed("data=digits", "evaluation=none", f"{group}={member}", folder=tmp_path))
    check(parts)
    chosen = {"search_space": parts.space, "search": parts.search, "selection": parts.selection}[group]
    assert chosen.name == member


def test_every_yaml_file_is_in_a_group_that_is_tested() -> None:
    tested = {f"{group}/{member}.yaml" for group, member in MEMBERS} | {
        f"experiment/{name}.yaml" for name in EXPERIMENTS
    }
    files = {str(file.relative_to(CONFIGS)) for file in CONFIGS.rglob("*.yaml")}
    scorings = {f"selection/scoring/{name}.yaml" for name in SCORINGS}
    parts = {f"search/part/{name}.yaml" for name in members("search/part")}  # see test_grid.py
    protocols = {str(file.relative_to(CONFIGS)) for file in (CONFIGS / "protocol").rglob("*.yaml")}  # test_protocols.py
    sizes = {f"search_space/size/{name}.yaml" for name in members("search_space/size")}
    grids = {"experiment/grid_small.yaml", "experiment/grid_tiny.yaml"}  # see there too
    analyses = {f"analysis/{name}.yaml" for name in members("analysis")}  # see tests/analysis
    sweeps = {  # see test_launchers.py and test_hparams_search.py
        f"{group}/{name}.yaml"
        for group in ("hydra/launcher", "hydra/sweeper", "hparams_search")
        for name in members(group)
    }
    others = {"train.yaml", "analyze.yaml", "hydra/folders.yaml", "hydra/analysis_folders.yaml"}
    assert files == tested | scorings | parts | protocols | sizes | grids | analyses | sweeps | others


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


@pytest.mark.parametrize(("group", "member"), [pair for pair in MEMBERS if pair[0] != "logger"])
def test_every_file_opens_with_what_it_is_for(group: str, member: str) -> None:
    first = (CONFIGS / group / f"{member}.yaml").read_text().splitlines()[0]
    if group != "trainer" or member == "default":
        assert re.match(r"# .{15,}", first)


# --- Experiments. One that is not named here fails `test_every_yaml_file_is_in_a_group_that_is_tested`. ---

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "quickstart": {
        "search_space": "s2",
        "selection": "perturb",
        "data": "digits",
        "evaluation": "retrain_digits",
        "tuning": 17,
    },
    "tiny": {
        "search_space": "s2",
        "selection": "perturb",
        "data": "digits",
        "evaluation": "retrain_tiny",
        "tuning": 17,
    },
    "cifar10_small": {
        "search_space": "s2",
        "selection": "perturb",
        "data": "cifar10",
        "evaluation": "retrain_quick",
        "tuning": 17,
    },
    "nasbench201_small": {
        "search_space": "nasbench201",
        "selection": "perturb",
        "data": "cifar10",
        "evaluation": "nasbench201",
        "tuning": 6,
    },
    "paper_s2": {
        "search_space": "s2",
        "selection": "perturb",
        "data": "cifar10",
        "evaluation": "retrain_quick",
        "tuning": 17,
    },
    "paper_nasbench201": {
        "search_space": "nasbench201",
        "selection": "perturb",
        "data": "cifar10",
        "evaluation": "nasbench201",
        "tuning": 6,
    },
}


def header(experiment: str) -> tuple[list[str], list[str]]:
    """Return the sentences and the commands of an experiment's first comment lines."""
    package, *comments = [
        line
        for line in (CONFIGS / "experiment" / f"{experiment}.yaml").read_text().split("defaults:")[0].splitlines()
        if line
    ]
    assert package == "# @package _global_"
    comments = [line.removeprefix("# ") for line in comments]
    commands = [line for line in comments if line.startswith("python train.py ")]
    return [line for line in comments if line not in commands], commands


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_what_it_is_and_with_which_command_it_runs(name: str) -> None:
    sentences, commands = header(name)
    assert sentences and all(sentence.endswith(".") for sentence in sentences[-1:])
    assert commands and all(f"experiment={name}" in shlex.split(command) for command in commands)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_command_of_an_experiment_composes_to_parts_that_go_together(name: str, tmp_path: Path) -> None:
    expected = EXPERIMENTS[name]
    for command in header(name)[1]:
        _, script, *overrides = shlex.split(command)
        assert script == "train.py"
        config = composed(*(override.replace("FOLDER", str(tmp_path)) for override in overrides), folder=tmp_path)
        for group in ("search_space", "selection", "data", "evaluation"):
            assert config.hydra.runtime.choices[group] == expected[group]
        if expected["data"] != "digits":
            config.data.path = None
        parts = instantiate_parts(config)
        assert isinstance(parts.selection, Perturbation)
        assert parts.selection.tuning.total_epochs(parts.selection.points(parts.space.cells)) == expected["tuning"]
        check(parts)


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("selection", members("selection"))
def test_the_selection_of_an_experiment_can_be_exchanged(name: str, selection: str, tmp_path: Path) -> None:
    assert (
        instantiate_parts(composed(f"experiment={name}", f"selection={selection}", folder=tmp_path)).selection.name
        == selection
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_can_stop_after_the_selection(name: str, tmp_path: Path) -> None:
    parts = instantiate_parts(composed(f"experiment={name}", "evaluation=none", folder=tmp_path))
    assert isinstance(parts.evaluation, NoEvaluation)


@pytest.mark.parametrize("name", ["tiny", "quickstart", "cifar10_small"])
@pytest.mark.parametrize("space", ["darts", "s1", "s3", "s4", "nasbench201"])
def test_the_space_of_an_experiment_can_be_exchanged(name: str, space: str, tmp_path: Path) -> None:
    parts = instantiate_parts(composed(f"experiment={name}", f"search_space={space}", "data=digits", folder=tmp_path))
    check(parts)
    assert (parts.space.name, parts.space.protocol.epochs_between) == (space, 1)
    assert parts.space.protocol.selection_epochs is None


@pytest.mark.parametrize("name", ["tiny", "quickstart", "cifar10_small"])
def test_an_experiment_can_look_its_cell_up(name: str, tmp_path: Path) -> None:
    choices = ["search_space=nasbench201", "evaluation=nasbench201", "data=digits"]
    check(instantiate_parts(composed(f"experiment={name}", *choices, folder=tmp_path)))


# --- Which evaluation is taken where none is named. ---

PROTOCOLS = [
    *((space, "cifar10", "retrain_cifar10") for space in SPACES[:5]),
    *((space, data, "retrain_small") for space in ("darts", "s3") for data in ("cifar100", "svhn", "image_folder")),
    *((space, "digits", "retrain_digits") for space in SPACES[:5]),
    *(("nasbench201", data, "nasbench201") for data in ("cifar10", "cifar100")),
    *(("nasbench201", data, "retrain_nasbench201") for data in ("svhn", "digits", "image_folder")),
]


@pytest.mark.parametrize(("space", "data", "evaluation"), PROTOCOLS)
def test_space_and_data_pick_the_evaluation(space: str, data: str, evaluation: str) -> None:
    assert evaluation_for(space, data) == evaluation
    config = composed(f"search_space={space}", f"data={data}")
    assert config.hydra.runtime.choices.evaluation == config.evaluation.name == evaluation


def test_without_any_choice_it_is_the_full_protocol_of_the_darts_space_on_cifar10() -> None:
    config = composed()
    choices = config.hydra.runtime.choices
    assert [choices[group] for group in GROUPS[:5]] == ["darts", "darts", "perturb", "retrain_cifar10", "cifar10"]
    assert (config.search.epochs, config.evaluation.epochs, config.evaluation.network) == (
        50,
        600,
        {"channels": 36, "layers": 20},
    )


@pytest.mark.parametrize("evaluation", ["none", "retrain_small"])
def test_an_evaluation_that_is_named_stays(evaluation: str) -> None:
    config = composed("search_space=darts", "data=cifar10", f"evaluation={evaluation}")
    assert config.hydra.runtime.choices.evaluation == evaluation


@pytest.mark.parametrize(
    ("space", "data", "evaluation"),
    [
        ("nasbench201", "cifar100", "nasbench201"),
        ("nasbench201", "digits", "retrain_nasbench201"),
        ("s4", "svhn", "retrain_small"),
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
        "search_space.protocol.epochs=1",
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


def test_a_wrong_value_of_a_perturbation_option_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"selection\.scoring\.batch_norm must be one of batch, running, recalibrated"):
        instantiate_parts(composed("selection.scoring.batch_norm=frozen", folder=tmp_path))


# --- Each option of the perturbation reaches it. ---

NORMAL_FIRST = list(range(14))
OPTIONS: list[tuple[str, str, Any]] = [
    ("operation_rule=magnitude", "operation_rule", "magnitude"),
    ("operation_criterion=loss", "operation_criterion", "loss"),
    ("edge_order=global", "edge_order", "global"),
    ("topology_criterion=loss", "topology_criterion", "loss"),
    (f"edge_order={NORMAL_FIRST}".replace(" ", ""), "edge_order", NORMAL_FIRST),
    ("edge_order={normal:[1,0],reduction:[0,1]}", "edge_order", {"normal": [1, 0], "reduction": [0, 1]}),
    ("node_order=[5,4,3]", "node_order", [5, 4, 3]),
    ("renormalize=true", "renormalize", True),
    ("topology_rounds=cumulative", "topology_rounds", "cumulative"),
    ("score_unmasked=true", "score_unmasked", True),
    ("report_strengths=true", "report_strengths", True),
    ("tuning.epochs_between=2", "tuning.epochs_between", 2),
    ("tuning.epochs=90", "tuning.epochs", 90),
    ("tuning.learning_rate=0.01", "tuning.learning_rate", 0.01),
    ("tuning.schedule=cosine", "tuning.schedule", "cosine"),
    ("tuning.train_alpha=false", "tuning.train_alpha", False),
    ("tuning.architecture_optimizer_state=fresh", "tuning.architecture_optimizer_state", "fresh"),
    ("scoring.batch_norm=recalibrated", "scoring.batch_norm", "recalibrated"),
    ("scoring.recalibration_batches=3", "scoring.recalibration_batches", 3),
    ("scoring.batch_size=17", "scoring.batch_size", 17),
    ("scoring.held_out_share=0.25", "scoring.held_out_share", 0.25),
    ("scoring.batches=2", "scoring.batches", 2),
]


def reached(selection: Perturbation, path: str) -> Any:
    value: Any = selection
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(("override", "path", "value"), OPTIONS, ids=[override for override, _, _ in OPTIONS])
def test_an_option_of_the_perturbation_is_given_on_the_command_line(
    override: str, path: str, value: Any, tmp_path: Path
) -> None:
    selection = instantiate_parts(composed(f"selection.{override}", folder=tmp_path)).selection
    assert isinstance(selection, Perturbation)
    assert reached(selection, path) == value
    assert reached(Perturbation(), path) != value


def test_these_are_all_options_of_the_perturbation(tmp_path: Path) -> None:
    plain = OmegaConf.to_container(composed(folder=tmp_path).selection)
    assert isinstance(plain, dict)
    given = {path for _, path, _ in OPTIONS}
    assert given == set(leaves(plain)) - {"name"}


def leaves(config: dict[Any, Any], prefix: Sequence[str] = ()) -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from leaves(value, (*prefix, key))
        elif not key.startswith("_"):
            yield ".".join((*prefix, key))


def test_the_defaults_of_the_file_are_those_of_the_class(tmp_path: Path) -> None:
    selection = instantiate_parts(composed(folder=tmp_path)).selection
    assert isinstance(selection, Perturbation)
    for path in {path for _, path, _ in OPTIONS} - {"scoring.batch_size"}:
        assert reached(selection, path) == reached(Perturbation(), path)
    assert selection.scoring.batch_size == 64


def test_the_lengths_of_the_space_reach_the_methods() -> None:
    config = composed("search_space=nasbench201")
    assert (config.search.epochs, config.selection.tuning.epochs, config.selection.tuning.epochs_between) == (
        100,
        25,
        5,
    )
    config = composed("search_space.protocol.epochs_between=2", "search_space.protocol.scoring_batches=7")
    assert (config.selection.tuning.epochs_between, config.selection.scoring.batches) == (2, 7)


def test_the_retraining_of_the_papers_is_what_the_files_say() -> None:
    evaluation = instantiate_parts(composed("data=digits", "evaluation=retrain_cifar10")).evaluation
    assert isinstance(evaluation, Retraining)
    assert (evaluation.epochs, evaluation.batch_size, evaluation.cutout, evaluation.drop_path) == (600, 96, 16, 0.2)
    assert (evaluation.auxiliary_weight, evaluation.gradient_clip, evaluation.learning_rate_min) == (0.4, 5.0, 0.0)
