"""Code of a user's own is part of a stage's name: a changed file is another stage, wherever a `_target_` names it."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose
from omegaconf import DictConfig

from archselect.pipeline.config import identity_of, instantiate_parts
from archselect.pipeline.own_code import own_sources, own_targets
from archselect.pipeline.plan import Plan, own_operations
from archselect.store.integrity import sha256_of

CODE = """
from archselect.models.ops import SepConv
from archselect.selection.magnitude import Magnitude

class Mine(SepConv):
    def __init__(self, channels, stride, affine, kernel):
        super().__init__(channels, kernel, stride, affine)

class Chosen(Magnitude):
    pass
"""
MINE = "{name: mine, _target_: my_code_of_stages.Mine, kernel: 3}"


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of the user's own in a folder that Python finds."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_code_of_stages", raising=False)
    file = tmp_path / "my_code_of_stages.py"
    file.write_text(CODE)
    return file


def composed(*overrides: str) -> DictConfig:
    return compose("train", ["experiment=tiny", *overrides])


def identities(config: DictConfig) -> Any:
    return identity_of(config, "fingerprint")


def test_a_config_of_the_packages_own_classes_names_no_sources(hydra: None) -> None:
    config = composed("search/part=[entropy]")
    assert all("sources" not in identity for identity in identities(config).values())
    assert own_targets({"a": [{"_target_": "torch.optim.SGD"}, {"_target_": "archselect.x.Y"}]}) == []


def test_every_stage_knows_the_file_of_each_class_that_its_part_of_the_config_names(hydra: None, code: Path) -> None:
    config = composed(f"search_space.operations=[skip_connect,{MINE}]", "selection=magnitude")
    config.selection["_target_"] = "my_code_of_stages.Chosen"
    before = identities(config)
    digest = sha256_of(code)
    assert before["search"]["sources"] == {"my_code_of_stages.Mine": digest}
    assert before["selection"]["sources"] == {"my_code_of_stages.Chosen": digest}
    assert "sources" not in before["evaluation"]  # of operations it knows those of the architecture
    code.write_text(CODE + "\n# changed\n")
    after = identities(config)
    assert after["search"]["sources"] == {"my_code_of_stages.Mine": sha256_of(code)} != before["search"]["sources"]
    config.search_space.operations[1].kernel = 5
    assert identities(config)["search"] != after["search"]


def test_an_evaluation_knows_the_definitions_that_its_architecture_has(hydra: None, code: Path) -> None:
    space = instantiate_parts(composed(f"search_space.operations=[skip_connect,{MINE}]")).space
    both, plain = space.example(), instantiate_parts(composed("search_space.operations=[skip_connect]")).space.example()
    assert own_operations(space, both) == {"mine": {"_target_": "my_code_of_stages.Mine", "kernel": 3}}
    assert own_operations(space, plain) == {}


def test_costs_that_are_kept_know_the_definition_and_file_of_each_own_class(hydra: None, code: Path) -> None:
    config = composed(f"search_space.operations=[skip_connect,{MINE}]")
    config.search_space.stem = {"_target_": "my_code_of_stages.Stem"}
    code.write_text(f"{CODE}\nclass Stem: pass\n")
    space = instantiate_parts(composed(f"search_space.operations=[skip_connect,{MINE}]")).space

    def judged(space: Any = space) -> Any:
        parts: Any = SimpleNamespace(
            space=space,
            data=SimpleNamespace(image_size=8, channels=3, fingerprint=lambda: "f"),
            evaluation=SimpleNamespace(name="none"),
            trainer=None,
        )
        return Plan(config, parts, SimpleNamespace(outputs=10)).judged(space.example())  # type: ignore[arg-type]

    before = judged()
    config.evaluation.network.channels = 99  # of the network, not of its images
    assert judged() == before | {"channels": 99}
    config.evaluation.network.channels = before["channels"]
    assert before["sources"] == dict.fromkeys(("my_code_of_stages.Mine", "my_code_of_stages.Stem"), sha256_of(code))
    code.write_text(CODE + "\nclass Stem: pass\n# changed\n")
    assert judged()["sources"] != before["sources"]
    larger = instantiate_parts(composed(f"search_space.operations=[skip_connect,{MINE.replace('3', '5')}]")).space
    assert judged(larger)["operations"] != before["operations"]


def test_files_of_what_a_class_inherits_from_and_a_partial_calls_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    base, mine = tmp_path / "my_base_code.py", tmp_path / "my_derived_code.py"
    base.write_text("class Base: pass\nclass Given: pass\n")
    mine.write_text(
        "from functools import partial\nfrom my_base_code import Base, Given\n"
        "class Mine(Base): pass\nMade = partial(Mine, 3)\nOther = partial(dict, kind=Given)\nNamed = Base\n"
    )
    for name in ("Mine", "Made", "Other", "Named"):
        config = {"_target_": f"my_derived_code.{name}"}
        found = [own_sources(config)]
        for file in (mine, base):
            file.write_text(f"{file.read_text()}# {name}\n")
            found.append(own_sources(config))
        assert len({str(one) for one in found}) == 3, name


def test_a_class_that_was_read_from_no_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = types.ModuleType("typed_in_code")
    exec("class Mine: pass", typed.__dict__)
    monkeypatch.setitem(sys.modules, "typed_in_code", typed)
    with pytest.raises(ValueError, match=r"'typed_in_code.Mine', which was not read from a file.*into a file"):
        own_sources({"_target_": "typed_in_code.Mine"})
    with pytest.raises(ValueError, match=r"'my_missing_code.Mine', which cannot be imported"):
        own_sources({"_target_": "my_missing_code.Mine"})
