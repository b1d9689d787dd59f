"""A run folder of somebody else's making: one sentence, and nothing of it is run, resolved or read elsewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.command import ANALYZE, tiny, train
from tests.safe_io.hostile import GENOTYPE, Touch, make_run, touching

from archselect.pipeline.command_line import data_name
from archselect.pipeline.finished_run import load_genotype, open_run
from archselect.safe_io import tensors
from archselect.safe_io.config import read_config
from archselect.store import StageFolder
from archselect.training.fit import AtomicCheckpointIO


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("os.system", "lies in no package that it may name"),
        ("builtins.eval", "lies in no package that it may name"),
        ("hydra.utils.get_method", "lies in no package that it may name"),
        ("pytorch_lightning.os.system", "lies in no package that it may name"),
        ("pytorch_lightning.cli.instantiate_class", "lies in no package that it may name"),
        ("archselect.pipeline.config.os.system", "lies in no package that it may name"),
        ("archselect.searching.Method", "lies in no package that it may name"),
        ("archselect.search.method.torch.load", "'archselect.search.method' is not a package"),
        ("archselect.search.method.partial", "is defined in functools, not in archselect.search"),
        ("archselect.data.sources.Path", "is defined in pathlib, not in archselect.data"),
        ("archselect.data.ImageData.__init__", "is private"),
        ("archselect.data.stratified_split", "is no class"),
        ("archselect.data.nothing", "is no class of archselect.data"),
        ("archselect.data.nothing.Nothing", "No module named 'archselect.data.nothing'"),
        ("torch.optim.sys.modules", "No module named 'torch.optim.sys'"),
        ("torch.optim.sgd.torch.load", "'torch.optim.sgd' is not a package"),
        ("torch.optim.lr_scheduler.LambdaLR", "is no optimizer"),
        ("os.${name}", "is no dotted name"),
        ("${name}", "is no dotted name"),
        (["os.system"], "is no dotted name"),
        ("archselect..data", "is no dotted name"),
    ],
)
@pytest.mark.parametrize("nested", [False, True], ids=["part", "deep"])
def test_a_config_names_nothing_but_classes_that_a_config_may_name(
    target: Any, why: str, nested: bool, tmp_path: Path
) -> None:
    part = {"_target_": target, "_partial_": True, "command": f"touch {tmp_path / 'made'}"}
    search = {"_target_": "archselect.search.SearchMethod", "parts": [{"a": [part]}]} if nested else part
    made = make_run(tmp_path, {"seed": 0, "name": "system", "search": search})
    with pytest.raises(ValueError, match=why) as said:
        open_run(made.folder)
    assert ("search.parts.0.a.0._target_" if nested else "search._target_") in str(said.value)
    assert "trusted=[my_package]" in str(said.value)
    assert not (tmp_path / "made").exists()


def test_what_the_configs_of_this_project_name_may_be_named(tmp_path: Path) -> None:
    names = {
        re.split(r"[},#]", line.split("_target_:")[1])[0].strip()
        for file in ANALYZE.parent.glob("configs/**/*.yaml")
        if not {"logger", "hydra", "hparams_search"} & set(file.parts)  # no part of a run's own config
        for line in file.read_text().splitlines()
        if "_target_:" in line.partition("#")[0]
    }
    assert len(names) > 40
    open_run(make_run(tmp_path, {"parts": [{"_target_": name} for name in sorted(names)]}).folder)


def test_a_package_of_ones_own_is_run_when_it_is_trusted_and_only_what_it_defines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_plugin.py").write_text("import os\nfrom json import JSONDecoder\n\n\nclass Mine:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = make_run(tmp_path / "logs", {"selection": {"_target_": "my_plugin.Mine"}})
    with pytest.raises(ValueError, match=r"'my_plugin\.Mine' as selection\._target_"):
        open_run(made.folder)
    assert "my_plugin" not in sys.modules  # not even imported
    assert str(load_genotype(made.folder)) == GENOTYPE  # which needs no config
    assert open_run(made.folder, trusted=["my_plugin"]).config.selection["_target_"] == "my_plugin.Mine"
    for target, trusted, why in (
        ("my_plugin.os.system", "my_plugin", "'my_plugin' is not a package"),
        ("my_plugin.__main__.Mine", "my_plugin", "is private"),
        ("my_plugin.JSONDecoder", "my_plugin", "in json.decoder"),
        ("my_plugin.Mine", "my plugin", "trusted lists packages by name"),
        ("my_other.Mine", "my_other", "my_other cannot be imported here"),
    ):
        made.config.write_text(yaml.safe_dump({"selection": {"_target_": target}}))
        with pytest.raises(ValueError, match=why):
            open_run(made.folder, trusted=[trusted])


@pytest.mark.parametrize(
    "config",
    [
        {"data": {"path": "${oc.env:SECRET}"}},
        {"data": {"path": "a${oc.env:SECRET}b"}},
        {"data": {"path": "${${kind}:SECRET}"}, "kind": "oc.env"},
        {"data": {"path": "${oc.${kind}:SECRET}"}, "kind": "env"},
        {"data": {"path": "${dollar}{oc.env:SECRET}"}, "dollar": "$"},
        {"data": {"path": "$${open}oc.env:SECRET}"}, "open": "{"},
        {"data": [{"path": "\\${oc.env:SECRET}"}]},
        {"data": {"path": "${oc.decode:'${oc.env:SECRET}'}"}},
        {"data": {"path": "${hydra:runtime.cwd}"}},
        {"data": {"path": "${archselect.data_name:own}"}},
        {"data": {"name": "${archselect.data_name:own}${oc.env:SECRET}"}},
        {"data": {"name": "${archselect.data_name:${oc.env:SECRET}}"}},
        {"data": {"name": "${archselect.evaluation_for:s2,digits}"}},
    ],
    ids=lambda config: str(config["data"]),
)
def test_no_resolver_of_a_config_that_is_read_back_is_asked(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "unsaid")
    with pytest.raises(ValueError, match="Write the value itself there") as said:
        open_run(make_run(tmp_path, config).folder)
    assert "unsaid" not in str(said.value)


def test_references_and_the_name_of_own_data_are_kept_and_the_loggers_of_the_run_are_not(tmp_path: Path) -> None:
    config = {"a": 3, "b": {"c": "${a}"}, "logger": {"csv": {"_target_": "os.system", "dir": "${oc.env:HOME}"}}}
    data = {"name": "${archselect.data_name:own}", "path": "/a/birds", "source": {"repository": None}}
    run = open_run(make_run(tmp_path, {**config, "data": data}).folder, {"data": {"path": "/b/birds"}})
    assert run.config.b.c == 3
    assert "logger" not in run.config
    assert run.config.data.name == data_name("/b/birds", {"repository": None}, "own")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for below, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, r"repeats a part of the file by the alias \*a"),
        ("a: &a {b: *a}", "alias"),
        ("a: " + "[" * 100_000, "nested more than 30 deep"),
        ("a: " + "{b: " * 31 + "}" * 31, "nested more than 30 deep"),
        ("a: x" * 100_000, "has 400,000 bytes, and such a file has at most 262,144"),
        ("a: !!python/object/apply:os.system ['touch made']", "has the tag"),
        ("a: !!python/name:os.system", "has the tag"),
        ("a: 1\na: 2", "duplicate key a in line 2"),
        ("- a", "no config of a run"),
        ("a: [1\nb: {", "is damaged, or no YAML"),
        ("\0", "is damaged, or no YAML"),
    ],
    ids=["laughs", "itself", "lists", "objects", "long", "call", "name", "twice", "list", "broken", "binary"],
)
def test_yaml_that_is_large_deep_or_more_than_data_is_refused(
    text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = make_run(tmp_path / "logs", text)
    with pytest.raises(ValueError, match=why) as said:
        open_run(made.folder)
    assert str(made.config) in str(said.value)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", [".hydra/config.yaml", "summary.json"])
def test_a_file_of_a_run_that_is_a_link_out_of_it_is_not_read(name: str, tmp_path: Path) -> None:
    made, secret = make_run(tmp_path / "logs"), tmp_path / "secret"
    secret.write_text('{"unsaid": 1}')
    (made.folder / name).unlink()
    (made.folder / name).symlink_to(secret)
    with pytest.raises(ValueError, match="is a link that leads out of") as said:
        assert open_run(made.folder).summary
    assert "unsaid" not in str(said.value)


def test_a_pipe_or_device_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(ValueError, match="no file but a folder, a pipe or a device"):
        read_config(tmp_path / "config.yaml", tmp_path)


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("/etc", "The links of a run are relative"),
        ("../../../elsewhere", "no folder of a store"),
        ("../../stages/evaluation/x", "no folder of a store"),
        (None, "no folder of a store"),
    ],
)
def test_a_stage_that_is_no_stage_of_a_store_or_itself_a_link_is_refused(
    link: str | None, why: str, tmp_path: Path
) -> None:
    made = make_run(tmp_path / "logs")
    (tmp_path / "logs" / "stages" / "evaluation" / "x").mkdir(parents=True)
    shutil.move(made.search.path, tmp_path / "elsewhere")
    linked = made.search.path if link is None else made.folder / "search"
    linked.unlink(missing_ok=True)
    linked.symlink_to(link or tmp_path / "elsewhere")
    assert (made.folder / "search").exists()
    with pytest.raises(ValueError, match=why):
        open_run(made.folder).stage("search")


OUTSIDE = ("../../../etc", "/etc", "/x/stages/search/../../../etc/stages/search/x", 7, None)


@pytest.mark.parametrize(
    ("summary", "why"),
    [
        *(({"stages": {"search": {"folder": place}}}, "no folder of a store") for place in OUTSIDE),
        *(({"stages": stages}, "no summary of a run") for stages in ({"../../x": {"folder": "x"}}, {"search": "x"}, 5)),
        *((summary, "no summary of a run") for summary in ([], 7, {})),
    ],
)
def test_a_summary_names_stages_that_there_are_and_not_wherever_it_likes(
    summary: Any, why: str, tmp_path: Path
) -> None:
    made = make_run(tmp_path / "logs")
    (made.folder / "search").unlink()
    (made.folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match=why):
        open_run(made.folder).stage("search")


def test_a_moved_run_finds_its_stages_by_its_links_and_a_copied_one_by_its_summary(tmp_path: Path) -> None:
    made = make_run(tmp_path / "logs")
    copy = shutil.copytree(made.folder, tmp_path / "copy", symlinks=True)
    assert open_run(copy).stage("search").result == {"val_accuracy": 0.5}
    shutil.move(tmp_path / "logs", tmp_path / "moved")
    assert open_run(tmp_path / "moved" / "runs" / "run").stage("search").result == {"val_accuracy": 0.5}


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize("text", [DEEP, "[" * 51 + "]" * 51, "[" * 5000], ids=["objects", "51", "open"])
def test_deep_json_is_refused_wherever_it_stands(text: str, tmp_path: Path) -> None:
    made = make_run(tmp_path / "logs")
    stage = made.search
    (stage.path / "finished.json").write_text('{"files": {}}')  # whoever made the folder leaves out its digests
    (stage.path / "decisions.jsonl").write_text(text + "\n")
    with pytest.raises(ValueError, match=r"Line 1 of .*decisions\.jsonl is damaged"):
        stage.read_lines("decisions.jsonl")
    for file, read in (
        (stage.path / "result.json", stage.result),
        (stage.path / "identity.json", lambda: StageFolder.found(stage.path)),
        (made.folder / "summary.json", lambda: open_run(made.folder).summary),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=rf"{file.name} is damaged, or no JSON"):
            read()


def test_a_pickle_in_place_of_tensors_is_not_run(tmp_path: Path) -> None:
    made, file = tmp_path / "made", tmp_path / "supernet.pt"
    for content in ({"weight": Touch(made)}, Touch(made)):
        torch.save(content, file)
        for read in (tensors.load_state, AtomicCheckpointIO().load_checkpoint):
            with pytest.raises(
                ValueError, match=r"holds more than tensors and plain data.* run code: .*system"
            ) as said:
                read(file)
            assert "\n" not in str(said.value)
    torch.save({"weight": Touch(made)}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="is damaged, or no file of PyTorch"):
        tensors.load_state(file)
    assert not made.exists()
    torch.load(file, weights_only=False)
    assert made.exists()  # it would have been


def test_tensors_that_are_packed_cut_off_or_elsewhere_are_not_loaded(tmp_path: Path) -> None:
    import zipfile

    file = tmp_path / "supernet.pt"
    torch.save({"weight": torch.zeros(1000)}, file)
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in archive.infolist():
            packed.writestr(entry.filename, archive.read(entry))
    (tmp_path / "cut.pt").write_bytes(file.read_bytes()[:-100])
    (tmp_path / "link.pt").symlink_to(file)
    torch.save([1], tmp_path / "list.pt")
    for name, why in (
        ("packed.pt", "is compressed"),
        ("cut.pt", "is damaged"),
        ("link.pt", "is a link"),
        ("list.pt", "but a list"),
    ):
        with pytest.raises(ValueError, match=why):
            tensors.load_state(tmp_path / name)
    with pytest.raises(ValueError, match=r"weight should have the shape \(2, 3\), and has \(1000,\)"):
        tensors.load_into(torch.nn.Linear(3, 2), file)


def test_the_file_of_the_supernet_bounds_what_is_made_of_the_config(own_logs: str) -> None:
    small = ("search.epochs=1", "data.train_subset=20", "search.batch_size=10", "evaluation=none")
    run = train(*tiny("nasbench201", "darts", "magnitude"), *small, own_logs).folder
    assert open_run(run).supernet()
    with pytest.raises(ValueError, match=r"another network than the config describes: .* should have the shape"):
        open_run(run, {"search_space": {"channels": 1_000_000}}).supernet()  # 10 TB
    stage = (run / "search").resolve()
    torch.save({"weight": Touch(run / "made")}, stage / "supernet.pt")
    (stage / "finished.json").write_text('{"files": {}}')  # whoever made the folder leaves out its digests
    with pytest.raises(ValueError, match="holds more than tensors and plain data"):
        open_run(run).supernet()
    assert not (run / "made").exists()


@pytest.mark.slow
def test_analyze_ends_in_a_sentence(tmp_path: Path) -> None:
    made = make_run(tmp_path, {"seed": 0, "search": touching(tmp_path / "made")})
    command = [sys.executable, str(ANALYZE), "analysis=cells", f"run={made.folder}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "names 'os.system' as search._target_, which lies in no package" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "made").exists()
