"""Every option, given what makes no sense: the run goes together, or a sentence says why not."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tests.command import CONFIGS

from archselect.pipeline.config import (
    GROUPS,
    Components,
    as_user_error,
    check_groups,
    instantiate_part,
    instantiate_parts,
)
from archselect.pipeline.preflight import check, check_objective
from archselect.utils.errors import UserError

VALUES: tuple[Any, ...] = (None, "abc", {"a": 1}, float("nan"))
DARTS = ["search_space=s2", "search=darts", "selection=perturb"]
CHOICES = {
    "darts": DARTS,
    "nasbench201": ["search_space=nasbench201", "search=gdas", "selection=shapley"],
    "parts": ["search=sgas", "search/part=[curvature,skip_limit,gradient_matching]", "selection=zero_cost"],
}


def options(config: DictConfig, place: str = "") -> Iterator[str]:
    """Yield every option, groups included, by its full name."""
    for name in config:
        full = f"{place}.{name}" if place else str(name)
        node = config._get_node(name)
        if not str(name).startswith("_"):
            yield full
        if isinstance(node, DictConfig) and not node._is_none():
            yield from options(node, full)


@pytest.mark.parametrize(
    ("choices", "values"),
    [
        pytest.param(DARTS, VALUES[:2], id="quick"),
        *(pytest.param(given, VALUES, id=name, marks=pytest.mark.slow) for name, given in CHOICES.items()),
    ],
)
def test_a_value_that_makes_no_sense_goes_together_or_is_refused_in_a_sentence(
    choices: list[str], values: tuple[Any, ...]
) -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["experiment=tiny", "logger=none", *choices])
    OmegaConf.set_struct(config, False)
    parts = instantiate_parts(config)
    names = [name for name in options(config) if name.partition(".")[0] in ("seed", "name", "genotype", *GROUPS)]
    assert len(names) > 80
    failures = {f"{name}={value}": failure(config, parts, name, value) for name in names for value in values}
    assert {option: error for option, error in failures.items() if error is not None} == {}


def failure(config: DictConfig, parts: Components, name: str, value: Any) -> Exception | None:
    """Return the error, no sentence for a user, that an option's value ends in."""
    changed = config.copy()
    OmegaConf.update(changed, name, value, merge=False)
    group = name.partition(".")[0]
    try:
        with as_user_error():
            check_groups(changed)
            check_objective(changed)
            if group in GROUPS:  # the other parts are as they were
                field = {"search_space": "space"}.get(group, group)
                check(replace(parts, **{field: instantiate_part(changed, group)}))
            else:
                check(instantiate_parts(changed))
    except UserError:
        return None
    except Exception as error:
        return error
    return None


def test_the_gradient_of_a_search_need_not_be_clipped() -> None:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["experiment=tiny", "logger=none", "search.gradient_clip=null"])
    assert instantiate_parts(config).search.gradient_clip is None
