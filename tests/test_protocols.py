"""`protocol=authors` runs a search method at its authors' constants, each of which has its place in their code here.

DARTS       quark0/darts                          DrNAS      xiangning-chen/DrNAS
DARTS-PT    ruocwang/darts-pt                     PC-DARTS   yuhuixu1993/PC-DARTS
SmoothDARTS xiangning-chen/SmoothDARTS            FairDARTS  xiaomi-automl/FairDARTS
SGAS        lightaime/sgas                        SNAS       SNAS-Series/SNAS-Series
GDAS        D-X-Y/AutoDL-Projects                 RobustDARTS automl/RobustDARTS
"""

import itertools
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tests.command import CONFIGS, tiny, train

from archselect.pipeline.command_line import register_resolvers
from archselect.pipeline.config import identity_of, instantiate_parts
from archselect.pipeline.preflight import check
from archselect.search import GumbelSoftmax
from archselect.utils.errors import UserError

METHODS = sorted(file.stem for file in (CONFIGS / "search").glob("*.yaml"))
OFFICIAL = CONFIGS / "protocol"

LEARNING_RATE, WEIGHT_DECAY = "search.weight_optimizer.lr", "search.weight_optimizer.weight_decay"
LAST, ALPHA = "search.learning_rate_min", "search.architecture_optimizer"
COMMON: Mapping[str, Any] = {
    "search.batch_size": 64,
    LEARNING_RATE: 0.025,
    LAST: 0.001,
    "search.weight_optimizer.momentum": 0.9,
    WEIGHT_DECAY: 3e-4,
    "search.weight_optimizer.nesterov": None,
    "search.gradient_clip": 5.0,
    f"{ALPHA}.lr": 3e-4,
    f"{ALPHA}.betas": [0.5, 0.999],
    f"{ALPHA}.weight_decay": 1e-3,
    "search.architecture_gradient_clip": None,
    "search.update_order": "alpha_first",
    "search.weight_share": 0.5,
    "search.alpha_warmup": 0.0,
    "search.partial_channels": 1,
    "search_space.alpha_scale": 1e-3,
    "search_space.channels": 16,
}
"""What a method's authors have where the table below says nothing else: DARTS, cnn/train_search.py and architect.py."""

GDAS = "exps/NAS-Bench-201-algos/GDAS.py"
CONSTANTS: Mapping[tuple[str, str], Mapping[str, tuple[Any, str]]] = {
    ("darts", "darts"): {"search.epochs": (50, "DARTS, cnn/train_search.py --epochs")},
    ("darts", "nasbench201"): {"search.epochs": (100, "DARTS-PT, nasbench201/train_search.py --epochs")},
    ("darts_second_order", "darts"): {
        "search.architecture_gradient.step": (0.01, "DARTS, cnn/architect.py, _hessian_vector_product r"),
    },
    ("fixed_alpha", "darts"): {"search.architecture_gradient": (None, "DARTS-PT, nasbench201/architect_ig.py, blank")},
    ("sdarts_rs", "darts"): {
        "search.smoothing.first": (0.03, "SmoothDARTS, sota/cnn/train_search.py:170"),
        "search.smoothing.last": (0.3, "SmoothDARTS, sota/cnn/train_search.py --epsilon_alpha"),
        "search.smoothing.endpoint": (False, "SmoothDARTS, sota/cnn/train_search.py:170, epoch / args.epochs"),
    },
    ("sdarts_adv", "darts"): {
        "search.smoothing.steps": (7, "SmoothDARTS, attacker/perturb.py, Linf_PGD_alpha"),
        "search.smoothing.revive": (True, "SmoothDARTS, sota/cnn/model_search.py, MixedOp"),
        "search.smoothing.endpoint": (False, "SmoothDARTS, sota/cnn/train_search.py:170"),
    },
    ("sgas", "darts"): {
        "search.greedy.share": (1, "SGAS, cnn/train_search.py, num_edges = model._steps * 2"),
        "search.greedy.first": (0.18, "SGAS, cnn/train_search.py --warmup_dec_epoch 9"),
        "search.greedy.every": (0.1, "SGAS, cnn/train_search.py --decision_freq 5"),
        "search.epochs": (50, "SGAS, cnn/train_search.py, 9 + 5 * 7 + 5 + 1"),
    },
    ("sgas2", "darts"): {
        "search.greedy.share": (1, "SGAS, cnn/train_search.py, num_edges = model._steps * 2"),
        "search.greedy.memory": (4, "SGAS, cnn/train_search.py --history_size"),
        "search.greedy.criterion": (2, "SGAS, cnn/train_search.py --use_history"),
    },
    ("gdas", "darts"): {
        "search.epochs": (250, "GDAS, configs/search-opts/GDAS-NASNet-CIFAR.config"),
        "search.batch_size": (256, "GDAS, configs/search-opts/GDAS-NASNet-CIFAR.config"),
        WEIGHT_DECAY: (5e-4, "GDAS, configs/search-opts/GDAS-NASNet-CIFAR.config, decay"),
        "search.weight_optimizer.nesterov": (True, "GDAS, configs/search-opts/GDAS-NASNet-CIFAR.config"),
        "search.update_order": ("weights_first", f"GDAS, {GDAS}, search_func"),
        "search.relaxation.first": (10.0, "GDAS, scripts-search/NASNet-space-search-by-GDAS.sh --tau_max"),
        "search.relaxation.last": (0.1, "GDAS, scripts-search/NASNet-space-search-by-GDAS.sh --tau_min"),
        "search.relaxation.undrawn": ("omitted", "GDAS, xautodl/models/cell_searchs/search_cells.py, MixedOp"),
        "search_space.layers": (6, "GDAS, configs/search-archs/GDAS-NASNet-CIFAR.config, N"),
    },
    ("gdas", "nasbench201"): {
        "search.epochs": (250, "GDAS, configs/nas-benchmark/algos/GDAS.config"),
        WEIGHT_DECAY: (5e-4, "GDAS, configs/nas-benchmark/algos/GDAS.config, decay"),
        "search.weight_optimizer.nesterov": (True, "GDAS, configs/nas-benchmark/algos/GDAS.config"),
        "search.update_order": ("weights_first", f"GDAS, {GDAS}, search_func"),
        "search.relaxation.undrawn": (
            "constant",
            "GDAS, xautodl/models/cell_searchs/search_cells.py, NAS201SearchCell",
        ),
    },
    ("snas", "darts"): {
        "search.epochs": (150, "SNAS, SNAS/README.md"),
        "search.architecture_gradient_clip": (10.0, "SNAS, SNAS/train_search.py:505"),
        "search.weight_share": (0.95, "SNAS, SNAS/train_search.py, train_queue: all images"),
        "search.relaxation.first": (1.0, "SNAS, SNAS/README.md --temp"),
        "search.relaxation.last": (0.03, "SNAS, SNAS/README.md --temp_min --temp_annealing"),
        "search_space.alpha_scale": (0.01, "SNAS, SNAS/train_search.py --loc_std"),
    },
    ("drnas", "darts"): {
        LEARNING_RATE: (0.1, "DrNAS, DARTS-space/train_search.py --learning_rate"),
        LAST: (0.0, "DrNAS, DARTS-space/train_search.py --learning_rate_min"),
        f"{ALPHA}.lr": (6e-4, "DrNAS, DARTS-space/train_search.py --arch_learning_rate"),
        f"{ALPHA}.weight_decay": (1e-3, "DrNAS, architect.py; DARTS-space/train_search.py --reg_type l2 --reg_scale"),
        "search.regularizers.kl": (None, "DrNAS, DARTS-space/train_search.py --reg_type"),
        "search.alpha_warmup": (0.2, "DrNAS, DARTS-space/train_search.py, train: epoch >= 10"),
        "search.partial_channels": (6, "DrNAS, DARTS-space/train_search.py --k"),
        "search_space.channels": (36, "DrNAS, DARTS-space/train_search.py --init_channels"),
        "search_space.layers": (20, "DrNAS, DARTS-space/train_search.py --layers"),
        "search.epochs": (50, "DrNAS, DARTS-space/train_search.py, train_epochs"),
    },
    ("drnas", "nasbench201"): {
        f"{ALPHA}.weight_decay": (1e-3, "DrNAS, architect.py; 201-space/train_search.py --reg_type l2 --reg_scale"),
        "search.regularizers.kl": (None, "DrNAS, 201-space/train_search.py --reg_type"),
        "search.epochs": (100, "DrNAS, 201-space/train_search.py --epochs"),
    },
    ("pc_darts", "darts"): {
        "search.batch_size": (256, "PC-DARTS, train_search.py --batch_size"),
        LEARNING_RATE: (0.1, "PC-DARTS, train_search.py --learning_rate"),
        LAST: (0.0, "PC-DARTS, train_search.py --learning_rate_min"),
        f"{ALPHA}.lr": (6e-4, "PC-DARTS, train_search.py --arch_learning_rate"),
        "search.alpha_warmup": (0.3, "PC-DARTS, train_search.py, train: epoch >= 15"),
        "search.partial_channels": (4, "PC-DARTS, model_search.py, MixedOp k"),
    },
    ("fair_darts", "darts"): {
        "search.batch_size": (128, "FairDARTS, fairdarts/train_search.py --batch_size"),
        LEARNING_RATE: (0.005, "FairDARTS, fairdarts/train_search.py --learning_rate"),
        f"{ALPHA}.lr": (3e-3, "FairDARTS, fairdarts/train_search.py --arch_learning_rate"),
        f"{ALPHA}.betas": ([0.9, 0.999], "FairDARTS, fairdarts/architect.py, args.arch_lr_gamma"),
        "search.regularizers.zero_one.weight": (10.0, "FairDARTS, fairdarts/train_search.py --aux_loss_weight"),
        "search_space.alpha_scale": (0, "FairDARTS, fairdarts/model_search.py, _initialize_alphas"),
    },
}


@cache
def composed(*overrides: str) -> DictConfig:
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", ["evaluation=none", "selection=random", *overrides])


def at_authors(method: str, space: str, *more: str) -> DictConfig:
    return composed("data=digits", "protocol=authors", f"search={method}", f"search_space={space}", *more)


def in_common(method: str) -> DictConfig:
    return composed("data=digits", f"search={method}")


def value_of(config: DictConfig, option: str) -> Any:
    """Return an option of the config; None where there is none, as for an argument that an optimizer is not given."""
    value = OmegaConf.select(config, option)
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


@pytest.mark.parametrize(("method", "space"), CONSTANTS, ids=lambda name: name)
def test_a_method_has_the_constants_of_its_authors(method: str, space: str) -> None:
    config = at_authors(method, space)
    here = CONSTANTS[method, space]
    expected = {**COMMON, **{option: value for option, (value, _) in here.items()}}
    assert {option: value_of(config, option) for option in expected} == expected
    assert all(source for _, source in here.values())


@pytest.mark.parametrize("method", METHODS)
def test_what_a_file_of_the_protocol_sets_is_in_the_table(method: str) -> None:
    """A constant that is set without a source is none of the authors'."""
    for space in ("darts", "nasbench201"):
        files = [f"search/authors/{method}.yaml", f"search_space/authors/{method}_{space}.yaml"]
        options = {option for file in files if (OFFICIAL / file).exists() for option in set_by(OFFICIAL / file)}
        sourced = set(CONSTANTS.get((method, space), CONSTANTS[method, "darts"])) | set(COMMON)
        assert options <= sourced


def set_by(file: Path) -> set[str]:
    def leaves(node: Any, prefix: str = "") -> Iterator[str]:
        for key, value in node.items():
            yield from leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]

    written = OmegaConf.to_container(OmegaConf.load(file))
    return {option for option in leaves(written) if option not in ("search.name", "protocol.authors_of")}


@pytest.mark.parametrize(
    ("method", "space"), [*itertools.product(METHODS, ("darts", "nasbench201")), ("gdas", "s2"), ("drnas", "s2")]
)
def test_every_method_is_built_at_its_authors_constants(method: str, space: str) -> None:
    config = at_authors(method, space)
    assert config.protocol.authors_of == method
    parts = instantiate_parts(config)
    check(parts)
    parts.search.variant.active_channels(config.search_space.channels)  # they can be divided
    if method == "gdas":
        assert isinstance(parts.search.relaxation, GumbelSoftmax)
        assert parts.search.relaxation.undrawn == ("constant" if space == "nasbench201" else "omitted")


@pytest.mark.parametrize("method", ["darts", "darts_second_order", "fixed_alpha", "sdarts_rs", "sdarts_adv"])
def test_a_method_whose_authors_have_the_common_constants_is_the_same_search(method: str) -> None:
    assert identity_of(at_authors(method, "darts"), "data") == identity_of(in_common(method), "data")


@pytest.mark.parametrize("method", ["sgas", "sgas2", "gdas", "snas", "drnas", "pc_darts", "fair_darts"])
def test_the_others_are_other_searches_with_names_of_their_own(method: str) -> None:
    config = at_authors(method, "darts")
    assert config.search.name == f"{method}_authors"
    assert identity_of(config, "data")["search"] != identity_of(in_common(method), "data")["search"]


def test_without_it_every_method_has_the_common_protocol() -> None:
    allowed = {
        "drnas": {f"{ALPHA}.lr", f"{ALPHA}.weight_decay"},  # the KL takes the place of the decay
        "pc_darts": {f"{ALPHA}.lr", "search.alpha_warmup", "search.partial_channels"},
    }
    for method in METHODS:
        config = in_common(method)
        assert config.protocol.name == "paper"
        others = {option for option, value in COMMON.items() if value_of(config, option) != value}
        assert others == allowed.get(method, set()), method


LENGTHS = ("search.epochs", "selection.tuning.epochs_between", "selection.tuning.epochs", "selection.scoring.batches")


@pytest.mark.parametrize(
    ("overrides", "lengths"),
    [
        ((), (50, 5, None, None)),
        (("search_space=nasbench201",), (100, 5, 25, None)),
        (("search_space=nasbench201", "protocol=authors"), (100, 5, 25, None)),
        (("search_space=nasbench201", "protocol/size=small"), (100, 1, None, 4)),
        (("experiment=tiny", "protocol=authors"), (2, 1, None, 1)),
        (("protocol.epochs_between=2", "protocol.scoring_batches=7"), (50, 2, None, 7)),
        (("protocol.search_epochs=9", "protocol.selection_epochs=3"), (9, 5, 3, None)),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_the_protocol_sets_the_lengths_of_search_and_selection(
    overrides: tuple[str, ...], lengths: tuple[int | None, ...]
) -> None:
    """DARTS searches 50 epochs; DARTS-PT 100 in NAS-Bench-201, where it tunes 25, and 5 between two decisions."""
    config = composed("data=digits", "selection=perturb", *overrides)
    assert tuple(OmegaConf.select(config, option) for option in LENGTHS) == lengths


def test_what_is_typed_and_what_an_experiment_says_wins_over_the_protocol() -> None:
    config = at_authors("gdas", "darts", "search.epochs=3", "search.weight_optimizer.nesterov=false")
    assert (config.search.epochs, config.search.weight_optimizer.nesterov, config.search.batch_size) == (3, False, 256)
    config = composed("experiment=tiny", "protocol=authors", "search=gdas", "search_space=darts")
    assert (config.search.epochs, config.search.batch_size, config.search_space.layers) == (2, 30, 3)
    assert config.search.update_order == "weights_first"


def test_parts_are_added_after_the_protocol() -> None:
    config = at_authors("drnas", "darts", "search/part=[l2,alpha_warmup]")
    assert config.search.alpha_warmup == 0.3
    assert config.search.regularizers.kl is None
    assert list(instantiate_parts(config).search.regularizers) == ["l2"]


@pytest.mark.parametrize(("protocol", "flips"), [("paper", False), ("authors", True)])
def test_digits_are_mirrored_where_the_authors_of_darts_pt_do(protocol: str, flips: bool) -> None:
    assert composed("data=svhn", f"protocol={protocol}").data.flip is flips
    assert composed("data=digits", f"protocol={protocol}").data.flip is False  # they have no such data


def test_a_method_without_constants_of_its_authors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "mine.yaml").write_text("defaults: [darts, _self_]\nname: mine\n")
    mine = (f"hydra.searchpath=[file://{tmp_path}]", "search=mine", "data=digits")
    assert instantiate_parts(composed(*mine)).search.name == "mine"
    config = composed(*mine, "protocol=authors")
    with pytest.raises(UserError, match="protocol=authors has no constants for search=mine: there is no"):
        instantiate_parts(config)


def test_every_file_says_whose_it_is_and_names_a_source() -> None:
    names = {file.stem for file in (OFFICIAL / "search" / "authors").glob("*.yaml")}
    assert names == set(METHODS)
    for file in OFFICIAL.glob("*/authors/*.yaml"):
        package, comment = file.read_text().splitlines()[:2]
        assert package == "# @package _global_"
        assert comment.startswith("# ")
        assert ".py" in comment or ".config" in comment, file
    for name in names:
        assert OmegaConf.load(OFFICIAL / "search" / "authors" / f"{name}.yaml").protocol.authors_of == name


def test_the_windows_of_the_curvature_are_those_of_robust_darts() -> None:
    """src/search/args.py: window, delta, factor, es_start_epoch; scripts/DARTS-ADA_search.sh: report_freq_hessian."""
    rule = composed("data=digits", "search/part=[curvature]").search.stopping.eigenvalue
    assert (rule.window, rule.lag, rule.every, rule.factor, rule.earliest * 50) == (5, 4, 2, 1.3, 10)


def test_a_run_at_the_authors_constants_goes_through(logs: str) -> None:
    overrides = [one for one in tiny("nasbench201", "gdas", "magnitude") if "evaluation" not in one]
    run = train(*overrides, "protocol=authors", "evaluation=none", logs)
    assert run.summary["search"] == "gdas_authors"
    assert len(run.history("search")) == 2
