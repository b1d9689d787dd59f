"""What a GPU gives, in one call: correctness, step times, kernels, and as much of a search as the time allows.

Every stage writes its rows to LOGS/STAGE.json as it finds them; one that the time left does not do for is left out and
says so. The search comes last; another call with the same logs goes on with it, so `--only search` again and again
ends it. `--device cpu --tiny` checks this program itself.
"""

import gc
import json
import subprocess
import sys
import time
import traceback
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor
from torch._C._autograd import DeviceType
from torch.profiler import profile

from archselect import kernels
from archselect.data.loader import BilevelBatch
from archselect.training.cuda_graphs import CaptureName
from archselect.training.step import optimizer_step
from benchmarks import decisions
from benchmarks.measuring import medians, synchronize
from benchmarks.output import progress, show, write_json
from benchmarks.overhead import batches
from benchmarks.profiling import activities
from benchmarks.retraining import images_per_second
from benchmarks.settings import ROOT, THREE, Conditions, Device, Setting, device_name, versions, without_tf32
from benchmarks.sides import Package, Plain, Side, data_for

Rows = Iterator[tuple[str, Any]]

TESTS = ("tests/test_cuda.py", "tests/training/test_cuda_graphs.py", "tests/models/test_channels_last.py")
SMALL = {"darts": Setting("darts", 4, 3), "s2": Setting("s2", 4, 3), "nasbench201": Setting("nasbench201", 4, 1)}
TOP = 15
GRACE = 20.0  # seconds that a search gets to end after it was told to


@dataclass(frozen=True)
class Call:
    """What the command line says; `deadline` is when to be done, by `time.monotonic()`."""

    device: Device
    tiny: bool
    deadline: float
    logs: Path
    data: Path | None
    table: Path | None

    @property
    def left(self) -> float:
        """Return how many seconds are left."""
        return self.deadline - time.monotonic()

    @property
    def captured(self) -> CaptureName:
        """Return what captures steps on the device."""
        return "cuda_graphs" if self.device == "cuda" else "none"

    def setting(self, name: str) -> Setting:
        """Return a supernet in the size of the call."""
        return SMALL[name] if self.tiny else Setting(name)

    def conditions(self, batch: int = 64, **options: Any) -> Conditions:
        """Return the conditions on the device."""
        return Conditions(self.device, batch=4 if self.tiny else batch, **options)

    def medians(self, *runs: Callable[[], object]) -> list[float]:
        """Return the median seconds of each."""
        return medians(runs, 2 if self.tiny else 10, self.device, warm_ups=1 if self.tiny else 3)


def environment(call: Call) -> Rows:
    """Which versions, on which device."""
    yield "device", device_name(call.device)
    yield "versions", versions()
    yield "cuDNN", torch.backends.cudnn.version()
    if call.device == "cuda":
        yield "CUDA", torch.version.cuda
        yield "memory", torch.cuda.get_device_properties(0).total_memory


def tests(call: Call) -> Rows:
    """Run the project's own tests that need a device."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS[: 1 if call.tiny else None]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(call.left, 1))
    yield "result", done.stdout.splitlines()[-1:]
    if done.returncode not in (0, 5):  # 5: all of them were skipped
        raise RuntimeError(done.stdout[-4000:] + done.stderr[-1000:])


def correctness(call: Call) -> Rows:
    """Compare bilevel steps of small supernets with float64 on the CPU, and captured ones with uncaptured ones."""
    for name, setting in ((name, SMALL[name]) for name in THREE):
        expected = step_tensors(setting, Conditions(batch=8), torch.float64)
        under = Conditions(call.device, batch=8)
        yield f"{name}: float64 / CPU float64", error(step_tensors(setting, under, torch.float64), expected)
        with without_tf32():
            found = step_tensors(setting, under, torch.float32)
        yield f"{name}: float32 without TF32 / CPU float64", error(found, expected)
        yield f"{name}: float32 / CPU float64", error(step_tensors(setting, under, torch.float32), expected)
        captured = Conditions(call.device, batch=8, capture=call.captured)
        pair = (step_tensors(setting, one, torch.float32, steps=3) for one in (captured, under))
        yield f"{name}: captured / not captured, three steps", error(*pair)


def step_tensors(setting: Setting, under: Conditions, dtype: torch.dtype, steps: int = 1) -> list[Tensor]:
    """Return the gradients of bilevel steps, then the statistics, in float64 on the CPU."""
    side = Package(setting, under)
    side.supernet.to(dtype)
    data = BilevelBatch(*((images.to(dtype), labels) for images, labels in data_for(side, under)))
    found = [x.double().cpu() for _ in range(steps) for x in side.step(data) if x is not None]
    return [*found, *(buffer.double().cpu() for buffer in side.supernet.buffers())]


def error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Return the largest difference of a tensor, relative to its norm."""
    pairs = zip(found, expected, strict=True)
    return max(float((one - other).norm() / other.norm().clamp_min(1e-30)) for one, other in pairs)


def steps(call: Call) -> Rows:
    """Time bilevel steps and forwards of either side: eager, captured, in bf16."""
    variants: dict[str, tuple[Callable[[Setting, Conditions], Side], dict[str, Any]]] = {
        "eager": (Package, {}),
        "captured": (Package, {"capture": call.captured}),
        "captured, bf16": (Package, {"capture": call.captured, "precision": "bf16"}),
        "plain, eager": (Plain, {}),
        "plain, captured": (partial(Plain, captured=True), {"capture": call.captured}),
    }
    for name, (what, (make, options)) in product(THREE, variants.items()):
        under = call.conditions(**options)
        side = make(call.setting(name), under)
        data = data_for(side, under)
        step, forward = call.medians(partial(side.step, data), partial(side.forward, data))
        yield f"{name}: {what}", {"step": step, "forward": forward}


def scoring(call: Call) -> Rows:
    """Score every removal of an operation, captured and not: seconds, and whether the decisions are the same."""
    for name in (name for name in THREE if name != "darts"):  # minutes there
        under = call.conditions()
        side = Package(call.setting(name), under)
        read = [data_for(side, under).architecture] * (1 if call.tiny else 4)
        search = decisions.FinishedSearch(side.supernet, read)
        found = []
        for capture in ("none", call.captured):
            started = time.perf_counter()
            found.append(decisions.scored(search, (capture, nullcontext, capture), call.device))
            yield f"{name}: {'captured' if len(found) > 1 else 'eager'}, seconds", time.perf_counter() - started
        yield f"{name}: same by accuracy, by loss, largest difference", decisions.compare(*found)


def device_time(call: Call) -> Rows:
    """Return the kernels (on a CPU the operators) that a step spends most of its time in."""
    for name in THREE:
        under = call.conditions()
        side = Package(call.setting(name), under)
        data = data_for(side, under)
        spent, calls = profiled(partial(side.step, data), call.device)
        top = [(kernel, calls[kernel], round(1e3 * time, 3)) for kernel, time in spent.most_common(TOP)]
        yield name, {"ms": 1e3 * sum(spent.values()), "launches": calls.total(), "name, launches, ms": top}


def profiled(run: Callable[[], object], device: Device) -> tuple[Counter[str], Counter[str]]:
    """Return the seconds and the calls of every kernel, on a CPU of every operator, in the second of two calls."""
    run()
    synchronize(device)
    with profile(activities=activities(device)) as profiler:
        run()
        synchronize(device)
    spent, calls = Counter[str](), Counter[str]()
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA if device == "cuda" else event.name.startswith("aten::"):
            spent[event.name] += 1e-6 * (event.device_time_total if device == "cuda" else event.self_cpu_time_total)
            calls[event.name] += 1
    return spent, calls


def training(call: Call) -> Rows:
    """Time a step as a search makes it, in the epoch after the one that captures; and the clip and SGD alone."""
    count = 4 if call.tiny else 60
    shown = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet: dict[str, Any] = dict.fromkeys(shown, False)
    for name in THREE:
        side, marks = Package(call.setting(name), call.conditions(capture=call.captured)), list[float]()

        def mark(*_: Any, marks: list[float] = marks) -> None:
            synchronize(call.device)
            marks.append(time.perf_counter())

        clock = LambdaCallback(on_train_epoch_start=mark, on_train_epoch_end=mark)
        made = batches(side.conditions.batch, count, call.device)
        accelerator = "gpu" if call.device == "cuda" else "cpu"
        trainer = pl.Trainer(max_epochs=2, accelerator=accelerator, devices=1, callbacks=[clock], **quiet)
        with kernels.enabled():
            trainer.fit(side.module, made)
        # After a fit Lightning leaves supernet and optimizers on the CPU: the optimizer alone has a side of its own.
        fresh = Package(call.setting(name), call.conditions())
        parameters, gradients = fresh.supernet.weight_parameters(), fresh.weights(data_for(fresh, fresh.conditions))
        optimizer = fresh.module.method.weight_optimizer(parameters)
        update = partial(optimizer_step, optimizer, parameters, gradients, fresh.module.method.gradient_clip)
        _, calls = profiled(update, call.device)
        strides = zip(map(strides_of, gradients), map(strides_of, parameters), strict=True)
        yield (
            name,
            {
                "step": (marks[3] - marks[2]) / count,
                "clip and optimizer": call.medians(update)[0],
                "their launches": calls.total(),
                "gradients with other strides than their parameters": sum(a != b for a, b in strides if a),
            },
        )


def strides_of(tensor: Tensor | None) -> list[int]:
    """Return the strides that matter, none of no tensor."""
    sizes = () if tensor is None else zip(tensor.stride(), tensor.shape, strict=True)
    return [step for step, size in sizes if size > 1]


def retraining(call: Call) -> Rows:
    """Count the images per second that networks are retrained on, eager and captured."""
    channels, layers = (4, 3) if call.tiny else (36, 20)
    for capture in ("none", call.captured):
        under = call.conditions(96, capture=capture)
        package, plain = images_per_second("DARTS_V2", channels, layers, under, repeat=5)
        what = "captured" if under.capture == "cuda_graphs" else "eager"
        yield f"DARTS_V2, C={channels}, L={layers}, {what}", {"package": package, "plain, eager": plain}


def search(call: Call) -> Rows:
    """Search NAS-Bench-201 for the time that is left; another call with the same logs goes on."""
    overrides = ["search_space=nasbench201", "selection=magnitude", "logger=none", f"logs={call.logs / 'runs'}"]
    overrides += [f"evaluation.table={call.table}"] if call.table else ["evaluation=none"]
    on_device = [f"trainer={'gpu' if call.device == 'cuda' else 'cpu'}", f"search.capture={call.captured}"]
    overrides += ["experiment=tiny"] if call.tiny else [f"data.path={call.data}", *on_device]
    with (call.logs / "search.log").open("a", encoding="utf-8") as output:
        run = subprocess.Popen([sys.executable, "train.py", *overrides], cwd=ROOT, stdout=output, stderr=output)
        code = _code_of(run, call.left - GRACE)
    yield "ended", "no: call again with the same --logs to go on" if code is None else f"with code {code}"
    histories = (call.logs / "runs").glob("stages/search/*/history.jsonl")
    epochs = [json.loads(line) for file in histories for line in file.read_text(encoding="utf-8").splitlines()]
    yield "epochs", len(epochs)
    if epochs:
        yield "seconds per epoch", median(epoch["seconds"] for epoch in epochs)
        yield "last epoch", epochs[-1]["metrics"]
    for file in sorted((call.logs / "runs").glob("runs/*/*/summary.json"))[-1:]:
        yield "summary", json.loads(file.read_text(encoding="utf-8"))
    if code:
        raise RuntimeError(f"The search ended with code {code}: see {call.logs / 'search.log'}")


def _code_of(run: "subprocess.Popen[bytes]", timeout: float) -> int | None:
    """Return how a process ended; None: it was stopped, because the time was over."""
    with suppress(subprocess.TimeoutExpired):
        return run.wait(max(timeout, 1))
    run.terminate()  # it goes on from its last epoch
    with suppress(subprocess.TimeoutExpired):
        run.wait(GRACE)
    run.kill()  # nothing happens to one that has ended
    run.wait()
    return None


class Stage(NamedTuple):
    """What is measured, and how many seconds it needs at least on a GPU."""

    rows: Callable[[Call], Rows]
    needs: float


STAGES = {
    "environment": Stage(environment, 0),
    "tests": Stage(tests, 60),
    "correctness": Stage(correctness, 30),
    "steps": Stage(steps, 90),
    "scoring": Stage(scoring, 30),
    "device_time": Stage(device_time, 20),
    "training": Stage(training, 30),
    "retraining": Stage(retraining, 20),
    "search": Stage(search, 60),
}


def measure(name: str, call: Call) -> bool:
    """Run a stage as far as the time allows, write its rows as they come, and return whether nothing failed."""
    started, found, file = time.monotonic(), dict[str, Any](), call.logs / f"{name}.json"
    missing = f"{STAGES[name].needs:.0f} s, {call.left:.0f} s are left" if call.left < STAGES[name].needs else ""
    if name == "search" and not (call.data or call.tiny):
        missing = "--data, a folder with CIFAR-10"
    if missing:  # what an earlier call has found stays
        show(f"{name}: left out, needs {missing}")
        return True
    progress(f"{name} ...")
    try:
        for key, value in STAGES[name].rows(call):
            found[key] = value
            write_json(found, file)
            gc.collect()  # what a row held on the device
            if call.left < 0 and name != "search":
                found["left out"] = "what would have come next: the time is over"
                break
    except Exception:  # the next stages may still tell something
        found["failed"] = traceback.format_exc()
    found["seconds"] = round(time.monotonic() - started, 1)
    write_json(found, file)
    show(f"{name}: {json.dumps(found)}")
    return "failed" not in found


def add_arguments(parser: ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--minutes", type=float, default=8, help="when to be done (default: %(default)s)")
    parser.add_argument("--logs", type=Path, default=Path("logs/gpu"), help="default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), help="stages; default: all")
    parser.add_argument("--data", type=Path, help="folder with CIFAR-10, for the search")
    parser.add_argument("--table", type=Path, help="the NAS-Bench-201 table, to look up what is found")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda", help="default: %(default)s")
    parser.add_argument("--tiny", action="store_true", help="the smallest size: a check of this program")


def run(options: Namespace) -> int:
    """Run the stages in order; return 1 if one failed."""
    deadline = time.monotonic() + 60 * options.minutes
    data, table = (path and path.resolve() for path in (options.data, options.table))
    options.logs.mkdir(parents=True, exist_ok=True)
    call = Call(options.device, options.tiny, deadline, options.logs.resolve(), data, table)
    call.conditions().apply()
    return 0 if all([measure(name, call) for name in STAGES if name in options.only]) else 1


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.exit(main(["gpu", *sys.argv[1:]]))
