import errno
import logging
import subprocess
from pathlib import Path

import pytest
import torch

from archselect import kernels
from archselect.kernels.cpu import build
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.supernet.nasbench201 import NASBench201Supernet

KINDS = [(torch.float32, 4), (torch.float64, 4), (torch.float64, 1)]


def forget():
    for function in (build.library, build._cache, build._own_folder, build._possible, build._warn):
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


@pytest.mark.parametrize(("capability", "size"), [("AVX512", 64), ("AVX2", 32), ("DEFAULT", 16), ("SVE256", 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 6, 12, 16, 20, 36, 64, 96])
def test_a_vector_is_as_wide_as_the_processor_takes_and_divides_the_channels(
    channels, dtype, capability, size, monkeypatch
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    possible = [lanes for lanes in (1, 2, 4, 8, 16) if lanes * dtype.itemsize <= size and channels % lanes == 0]
    assert build.lanes(channels, dtype) == max(possible)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("no-such-compiler", "there is no C compiler: install one (on Debian and Ubuntu: apt install gcc) or set CC"),
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


def test_without_the_openmp_of_pytorch_nothing_is_compiled(compiled, monkeypatch, caplog):
    monkeypatch.setattr(build, "OPENMP", ("libnone",))
    assert build.library(torch.float64, 1) is None
    assert compiled == []
    assert "PyTorch runs on none of the OpenMP libraries libnone" in caplog.text


def test_a_file_that_cannot_be_loaded_is_reported(compiled, caplog):
    assert build.library(torch.float64, 1) is None
    assert compiled[0].name in caplog.text


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_other_systems_are_not_tried(system, compiled, monkeypatch, caplog):
    monkeypatch.setattr(build.platform, "system", lambda: system)
    assert build.library(torch.float64, 1) is None
    assert build.library(torch.float32, 1) is None
    assert compiled == []
    assert [f"on {system} they are not tested" in record.message for record in caplog.records] == [True]


def test_a_file_that_is_there_is_not_compiled_again(cache, compiled):
    first = build.compiled(torch.float64, 4)
    assert build.compiled(torch.float64, 4) == first
    assert compiled == [first]
    assert first.parent == cache


def test_each_dtype_and_width_has_a_file_of_its_own(compiled):
    assert len({build.compiled(dtype, width) for dtype, width in KINDS}) == len(KINDS) == len(compiled)


def test_a_change_of_the_source_is_compiled(compiled, monkeypatch, tmp_path):
    before = build.compiled(torch.float64, 4)
    for file in build.FOLDER.glob("*.[ch]"):
        (tmp_path / file.name).write_text(file.read_text() + ("/* new */" if file.name == "vector.h" else ""))
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    after = build.compiled(torch.float64, 4)
    assert compiled == [before, after]
    assert before != after


def test_so_is_a_change_of_the_options(compiled, monkeypatch):
    before = build.compiled(torch.float64, 4)
    monkeypatch.setattr(build, "FLAGS", ("-O2", *build.FLAGS[1:]))
    assert compiled == [before, build.compiled(torch.float64, 4)]
    assert len(set(compiled)) == 2


@pytest.mark.parametrize("obstacle", ["read_only", "no_folder"])
def test_where_the_cache_cannot_be_written_a_folder_of_the_process_is_used(
    obstacle, cache, compiled, monkeypatch, tmp_path
):
    own = tmp_path / "tmp"
    own.mkdir()
    monkeypatch.setattr(build.tempfile, "tempdir", str(own))
    if obstacle == "no_folder":
        cache.parent.write_text("a file stands here")
    else:
        monkeypatch.setattr(build.tempfile, "TemporaryFile", read_only)
    paths = [build.compiled(dtype, 1) for dtype in (torch.float32, torch.float64)]
    assert compiled == paths
    assert all(path.parent.parent == own for path in paths)
    assert paths[0].parent == paths[1].parent


def read_only(dir):
    raise OSError(errno.EROFS, "Read-only file system", str(dir))


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


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_supernet_gives_the_same_without_the_loops(training, monkeypatch):
    names = ("none", "skip_connect", "nor_conv_3x3", "sep_conv_3x3", "avg_pool_3x3")
    space = CellSpace("cell", CellTopology(1, 2, "last", None), (names,) * 3)
    supernet = NASBench201Supernet({"cell": space}, 4, 1, 3, alpha_scale=0.5).double().train(training)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def served_and_results():
        logits = supernet(x)
        return [
            kernels.is_available(x),
            logits.detach(),
            *torch.autograd.grad(logits.square().sum(), supernet.parameters()),
        ]

    by_loops, *expected = served_and_results()
    forget()
    monkeypatch.setenv("CC", "no-such-compiler")
    otherwise, *actual = served_and_results()
    assert (by_loops, otherwise) == (True, False)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("folder", ["torch/lib", "My Projects/site-packages/torch.libs"])
def test_of_several_openmp_libraries_that_of_pytorch_is_taken(folder, monkeypatch, tmp_path):
    own = tmp_path / folder / "libgomp-1234.so.1"
    maps = [f"7f00-7f01 r-xp 00000000 08:01 123    {path}" for path in ("/x/sklearn.libs/libgomp-5.so.1", own, own)]
    (tmp_path / "maps").write_text("\n".join(["7e00-7e01 rw-p 00000000 00:00 0", *maps]))
    monkeypatch.setattr(build, "Path", lambda path: Path(tmp_path / "maps" if path == "/proc/self/maps" else path))
    monkeypatch.setattr(build.torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    assert build._openmp_runtime() == own


def test_a_compiler_may_have_a_launcher(cache, compiled, monkeypatch):
    monkeypatch.setenv("CC", "env cc")
    assert build.compiled(torch.float64, 4).parent == cache
    assert len(compiled) == 1


def test_a_user_without_a_home_has_a_folder_of_the_process(compiled, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(build.tempfile, "tempdir", str(tmp_path))

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(build.Path, "home", no_home)
    assert build.compiled(torch.float64, 4).parent.parent == tmp_path
