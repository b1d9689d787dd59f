"""A data set of one's own is named after where it lies, and two of them never share a name."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from archselect.pipeline.command_line import data_name, register_resolvers


def test_the_name_is_that_of_the_folder_and_stays_the_same() -> None:
    name = data_name("/data/birds/", {}, "image_folder")
    assert name == data_name("/data/birds", {}, "image_folder") == data_name("/data/x/../birds", {}, "huggingface")
    label, _, digits = name.rpartition("-")
    assert label == "birds" and len(digits) == 4 and int(digits, 16) >= 0


def test_two_folders_of_one_name_and_two_labels_of_one_folder_get_two_names() -> None:
    names = {
        data_name("/a/birds", {}, "x"),
        data_name("/b/birds", {}, "x"),
        data_name("/a/birds", {"label_column": "species"}, "x"),
        data_name("/a/birds", {"label_column": "family"}, "x"),
        data_name("/a/birds", {"test_split": "validation"}, "x"),
        data_name(None, {"repository": "a/birds"}, "x"),
        data_name(None, {"repository": "b/birds"}, "x"),
    }
    assert len(names) == 7


def test_below_home_a_name_is_the_same_for_all_users_and_tells_none(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for home in ("/home/ada", "/users/bob"):
        monkeypatch.setenv("HOME", home)
        names |= {data_name(f"{home}/birds", {}, "x"), data_name("~/birds", {}, "x")}
    assert len(names) == 1
    monkeypatch.chdir(Path("/"))
    assert data_name("birds", {}, "x") == data_name("/birds", {}, "x")


@pytest.mark.parametrize(("path", "label"), [("/a/my birds (2)", "my-birds-2"), ("/a/…", "x"), ("/", "x")])
def test_a_name_is_one_for_a_folder(path: str, label: str) -> None:
    assert data_name(path, {}, "x").rpartition("-")[0] == label
    assert data_name(None, {"repository": "me/birds"}, "x").startswith("me-birds-")
    assert data_name(None, {"repository": None}, "huggingface") == "huggingface"


def test_a_config_names_its_data_set_by_the_options_beside_the_name() -> None:
    register_resolvers()
    text = "{name: '${archselect.data_name:own}', path: /a/birds, source: {repository: null}}"
    config = OmegaConf.create({"run": "s2-${data.name}", "data": OmegaConf.create(text)})
    assert config.run == f"s2-{data_name('/a/birds', {'repository': None}, 'own')}"
    config.data.path = None
    assert config.run == "s2-own"


def test_naming_imports_nothing_that_takes_long() -> None:
    module = "archselect.pipeline.command_line"
    code = f"import sys, {module}; print(sorted({{'torch', 'datasets', 'PIL', 'numpy'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
