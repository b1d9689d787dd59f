"""Compiles the C files of this folder, once for each machine, compiler and state of the files."""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import lru_cache
from math import gcd
from pathlib import Path

import torch

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "csrc"
TYPES = {torch.float32: ("float", "int"), torch.float64: ("double", "long")}
FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-std=gnu11")
VECTOR_BYTES = {"AVX512": 64, "AVX2": 32}
OPENMP = ("libgomp", "libiomp5")
SECONDS = 300


class CannotCompileError(Exception):
    """This machine cannot compile the loops; its text says why."""


def lanes(channels: int, dtype: torch.dtype) -> int:
    """Return how many channels a vector holds: as many as the processor takes at once and divide the channels."""
    return gcd(channels, VECTOR_BYTES.get(torch.backends.cpu.get_cpu_capability(), 16) // dtype.itemsize)


@lru_cache
def library(dtype: torch.dtype, width: int) -> ctypes.CDLL | None:
    """Return the loops for a dtype and a number of lanes; None, with a warning, where they cannot be compiled."""
    try:
        return ctypes.CDLL(str(compiled(dtype, width)))
    except (CannotCompileError, OSError) as error:
        _warn(str(error))
        return None


def compiled(dtype: torch.dtype, width: int) -> Path:
    """Return the compiled file, made now unless it is there; a `CannotCompileError` where it cannot be made."""
    if platform.system() != "Linux":
        raise CannotCompileError(f"on {platform.system()} they are not tested")
    compiler = shlex.split(os.environ.get("CC") or "cc")  # it may have a launcher: CC="ccache gcc"
    if shutil.which(compiler[0]) is None:
        raise CannotCompileError("there is no C compiler: install one (Debian, Ubuntu: apt install gcc) or set CC")
    real, whole = TYPES[dtype]
    options = [*FLAGS, f"-DREAL={real}", f"-DWHOLE={whole}", f"-DLANES={width}"]
    runtime = _openmp_runtime()
    path = _cache() / f"{real}{width}-{_fingerprint(compiler, options, runtime)}.so"
    if not path.exists():
        _compile(compiler, options, runtime, path)
    return path


def _compile(compiler: list[str], options: list[str], runtime: Path, path: Path) -> None:
    log.info("Compiling the loops for CPUs, once: %s", path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        sources = [str(file) for file in sorted(FOLDER.glob("*.c"))]
        # Two OpenMP runtimes in a process would fight for the cores, so PyTorch's is the one that is linked.
        command = [*compiler, *options, "-shared", *sources, str(runtime), "-Wl,--as-needed", "-lm", "-o", str(made)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotCompileError(f"{compiler[0]}: {error}") from error
        if done.returncode != 0:
            raise CannotCompileError(f"{compiler[0]} failed: {done.stderr.strip()[-500:]}")
        made.replace(path)


def _openmp_runtime() -> Path:
    """Return the OpenMP library that PyTorch has loaded; other packages may have loaded one of their own."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    paths = [Path(fields[5]) for fields in (line.split(maxsplit=5) for line in maps) if len(fields) == 6]
    loaded = list(dict.fromkeys(path for path in paths if path.name.startswith(OPENMP)))
    if not loaded:
        raise CannotCompileError(f"PyTorch runs on none of the OpenMP libraries {', '.join(OPENMP)}")
    torch_folder = Path(torch.__file__).parent
    own = [path for path in loaded if torch_folder in path.parents or path.parent.name == "torch.libs"]
    return (own or loaded)[0]


def _fingerprint(compiler: list[str], options: list[str], runtime: Path) -> str:
    """Return a hash of all that determines the compiled file."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False).stdout
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    described = [line for line in cpu if line.startswith(("model name", "flags", "Features"))]
    sources = [file.read_text(encoding="utf-8") for file in sorted(FOLDER.glob("*.[ch]"))]
    parts = [*compiler, version, *options, str(runtime), platform.machine(), *sorted(set(described)), *sources]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@lru_cache
def _cache() -> Path:
    """Return where compiled files are kept: the user's cache, or a folder of this process's if that is read-only."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "archselect"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # the latter: there is no home
        return Path(_own_folder().name)
    return folder


@lru_cache
def _own_folder() -> "tempfile.TemporaryDirectory[str]":
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="archselect-")


@lru_cache
def _warn(reason: str) -> None:
    log.warning(
        "Cells run on PyTorch's operators, several times slower than on loops compiled for this CPU: %s.", reason
    )
