import errno
import logging
import subprocess
from pathlib import Path

import pytest
import torch

from archselect import kernels
from archselect.kernels.cpu import build

KINDS = [(torch.float32, 4), (torch.float64, 4), (torch.float64, 1)]


def forget():
    for function in (build.library, build._cache, build._own_folder, build._warn):
        function.cache_clear()


@pytest.fixture
def forgetful():
    """What the process knows of the machine is forgotten before and after."""
    forget()
    yield
    forget()


@pytest.fixture
def cache(forgetful, monkeypatch, tmp_path):
    """The folder of compiled files, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "archselect"


@pytest.fixture
def compiled(monkeypatch, cache):
    """The files that were compiled, by a compiler that leaves them empty."""
    paths = []
    monkeypatch.setattr(build, "_compile", lambda *given: paths.append(given[-1]) or given[-1].touch())
    return paths


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("no-such-compiler", "there is no C compiler: install one (Debian, Ubuntu: apt install gcc) or set CC"),
        ("false", "false failed"),
    ],
    ids=["no_compiler", "one_that_fails"],
)
def test_where_the_loops_cannot_be_compiled_one_warning_says_why(compiler, reason, monkeypatch, caplog):
    monkeypatch.setenv("CC", compiler)
    for dtype, width in KINDS * 2:
        assert build.library(dtype, width) is None
    assert not kernels.is_available(torch.zeros(1, 4, 2, 2))
    ours = [record.levelno for record in caplog.records if record.name == build.log.name]
    assert [level for level in ours if level > logging.INFO] == [logging.WARNING]
    assert "Cells run on PyTorch's operators" in caplog.text
    assert reason in caplog.text


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (subprocess.TimeoutExpired("cc", 300), "timed out after 300 seconds"),
        (OSError(errno.ENOEXEC, "Exec format error"), "Exec format error"),
    ],
    ids=["hangs", "cannot_be_run"],
)
def test_a_compiler_that_gives_nothing_is_one_that_fails(error, reason, monkeypatch, caplog):
    run = subprocess.run

    def run_or_fail(command, **options):
        if "--version" in command:
            return run(command, **options)
        raise error

    monkeypatch.setattr(build.subprocess, "run", run_or_fail)
    assert build.library(torch.float64, 1) is None
    assert reason in caplog.text


@pytest.mark.parametrize(
    ("owner", "name", "value", "reason"),
    [
        (build, "OPENMP", ("libnone",), "PyTorch runs on none of the OpenMP libraries libnone"),
        *(
            (build.platform, "system", lambda system=system: system, f"on {system} they are not tested")
            for system in ("Darwin", "Windows")
        ),
    ],
    ids=["OpenMP", "Darwin", "Windows"],
)
def test_where_the_loops_are_not_tried_one_warning_says_why(owner, name, value, reason, compiled, monkeypatch, caplog):
    monkeypatch.setattr(owner, name, value)
    for dtype in (torch.float64, torch.float64, torch.float32):
        assert build.library(dtype, 1) is None
    assert compiled == []
    assert [reason in record.message for record in caplog.records] == [True]


def test_a_file_that_cannot_be_loaded_is_reported(compiled, caplog):
    assert build.library(torch.float64, 1) is None
    assert compiled[0].name in caplog.text


def test_a_file_is_compiled_once_for_each_dtype_width_compiler_source_and_options(
    cache, compiled, monkeypatch, tmp_path
):
    def compile_twice():
        assert len({build.compiled(dtype, width) for dtype, width in KINDS * 2}) == len(KINDS)

    compile_twice()
    for file in build.FOLDER.glob("*.[ch]"):
        (tmp_path / file.name).write_text(file.read_text() + ("/* new */" if file.name == "vector.h" else ""))
    for owner, name, value in (
        (build, "FOLDER", tmp_path),
        (build, "FLAGS", ("-O2", *build.FLAGS[1:])),
        (build.os, "environ", {**build.os.environ, "CC": "env cc"}),  # a compiler may have a launcher
    ):
        monkeypatch.setattr(owner, name, value)
        compile_twice()
    assert len(set(compiled)) == len(compiled) == 4 * len(KINDS)
    assert {path.parent for path in compiled} == {cache}


def fails(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("obstacle", ["read_only", "no_folder", "no_home"])
def test_where_the_cache_cannot_be_written_a_folder_of_the_process_is_used(
    obstacle, cache, compiled, monkeypatch, tmp_path
):
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setattr(build.tempfile, "tempdir", str(own))
    if obstacle == "no_folder":
        cache.parent.write_text("a file stands here")
    elif obstacle == "no_home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(build.Path, "home", fails(RuntimeError("Could not determine home directory.")))
    else:
        monkeypatch.setattr(build.tempfile, "TemporaryFile", fails(OSError(errno.EROFS, "Read-only file system")))
    paths = [build.compiled(dtype, 1) for dtype in (torch.float32, torch.float64)]
    assert compiled == paths
    assert {path.parent.parent for path in paths} == {own}
    assert paths[0].parent == paths[1].parent


def openmp_runtimes():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return {path for line in maps if any(name in (path := line.split()[-1]) for name in build.OPENMP)}


def test_what_is_compiled_runs_on_the_openmp_of_pytorch_and_leaves_no_other_file(cache, monkeypatch):
    monkeypatch.setattr(build, "FLAGS", ("-O0", *build.FLAGS[1:]))  # faster
    before = openmp_runtimes()
    library = build.library(torch.float64, 1)
    assert library.convolutions_forward
    assert openmp_runtimes() == before != set()
    assert [str(path) for path in cache.iterdir()] == [library._name]


@pytest.mark.parametrize("folder", ["torch/lib", "My Projects/site-packages/torch.libs"])
def test_of_several_openmp_libraries_that_of_pytorch_is_taken(folder, monkeypatch, tmp_path):
    own = tmp_path / folder / "libgomp-1234.so.1"
    maps = [f"7f00-7f01 r-xp 00000000 08:01 123    {path}" for path in ("/x/sklearn.libs/libgomp-5.so.1", own, own)]
    (tmp_path / "maps").write_text("\n".join(["7e00-7e01 rw-p 00000000 00:00 0", *maps]))
    monkeypatch.setattr(build, "Path", lambda path: Path(tmp_path / "maps" if path == "/proc/self/maps" else path))
    monkeypatch.setattr(build.torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    assert build._openmp_runtime() == own
