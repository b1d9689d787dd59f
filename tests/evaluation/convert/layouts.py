"""The benchmark's files, made small: the fields, types and globals that the published ones have."""

import bz2
import io
import pickle
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

SUBSETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("ori-test", "x-valid", "x-test"),
    "ImageNet16-120": ("ori-test", "x-valid", "x-test"),
}
ARCHS = (
    "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
    "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|",
)

Accuracies = Mapping[tuple[str, str], Sequence[float]]
"""The last accuracy by data set and images, with each seed."""


def accuracies(seeds: int, first: float) -> dict[tuple[str, str], list[float]]:
    """Return made-up accuracies, each of them another."""
    pairs = [(data, images) for data, subsets in SUBSETS.items() for images in subsets]
    return {pair: [first + number + 0.01 * seed**2 for seed in range(seeds)] for number, pair in enumerate(pairs)}


def trial(data: str, arch: str, last: Mapping[str, float], seed: int, epochs: int, every: int) -> dict[str, Any]:
    """Return what one training left: curves over the epochs, of which only each `every`-th is there and the last."""
    steps = sorted({*range(0, epochs, every), epochs - 1})
    drawn = random.Random(seed)
    curve = {step: drawn.uniform(0, 100) for step in steps}
    by_images = {f"{images}@{step}": drawn.uniform(0, 100) for images in last for step in steps}
    return {
        "name": data,
        "net_state_dict": None,
        "train_acc1es": dict(curve),
        "train_acc5es": None,
        "train_losses": {step: drawn.uniform(0, 3) for step in steps},
        "train_times": OrderedDict((step, drawn.uniform(1, 9)) for step in steps),
        "arch_config": {"channel": 16, "num_cells": 5, "arch_str": arch, "class_num": 10},
        "params": np.float64(0.129306),
        "flop": 15.64737,
        "seed": f"{seed:04d}",
        "epochs": epochs,
        "latency": [np.float64(0.0139)],
        "eval_names": list(last),
        "eval_acc1es": by_images | {f"{images}@{epochs - 1}": accuracy for images, accuracy in last.items()},
        "eval_times": {f"{images}@{step}": drawn.uniform(1, 9) for images in last for step in steps},
        "eval_losses": {f"{images}@{step}": drawn.uniform(0, 3) for images in last for step in steps},
    }


def trained(index: int, arch: str, last: Accuracies, epochs: int = 200, every: int = 100) -> dict[str, Any]:
    """Return the results of an architecture, as `ArchResults.state_dict` has them."""
    seeds = [777 + 111 * number for number in range(len(next(iter(last.values()))))]
    results = {
        (data, seed): trial(data, arch, {images: last[data, images][at] for images in subsets}, seed, epochs, every)
        for at, seed in enumerate(seeds)
        for data, subsets in SUBSETS.items()
    }
    return {
        "arch_index": index,
        "arch_str": arch,
        "all_results": results,
        "dataset_seed": {data: list(seeds) for data in SUBSETS},
        "clear_net_done": True,
    }


def nasbench201(archs: Sequence[str], results: Mapping[int, Any]) -> dict[str, Any]:
    """Return what the .pth file holds, from the results of 200 epochs; those of 12 epochs have other accuracies."""
    return {
        "meta_archs": list(archs),
        "total_archs": len(archs),
        "basestr": "C16-N5",
        "arch2infos": {index: {"full": full, "less": _less(full)} for index, full in results.items()},
        "evaluated_indexes": sorted(results),
    }


def nats(archs: Sequence[str], results: Mapping[int, Any]) -> dict[str, Any]:
    """Return what the .pickle.pbz2 file holds."""
    both = {index: OrderedDict({"12": _less(full), "200": full}) for index, full in results.items()}
    return {"meta_archs": list(archs), "total_archs": len(archs), "arch2infos": both, "evaluated_indexes": set(results)}


def _less(full: Mapping[str, Any]) -> dict[str, Any]:
    last = {(data, images): [1.5, 2.5] for data, subsets in SUBSETS.items() for images in subsets}
    return trained(full["arch_index"], full["arch_str"], last, epochs=12, every=6)


def write_old_torch(folder: Path, archs: Sequence[str], results: Mapping[int, Any]) -> Path:
    """Write the old format of `torch.save`, with the names that numpy 1 gave its functions."""
    made = io.BytesIO()
    torch.save(nasbench201(archs, results), made, _use_new_zipfile_serialization=False)
    path = folder / "NAS-Bench-201-v1_0-e61699.pth"
    path.write_bytes(made.getvalue().replace(b"cnumpy._core.", b"cnumpy.core."))
    return path


def write_torch(folder: Path, archs: Sequence[str], results: Mapping[int, Any]) -> Path:
    """Write the zip format of `torch.save`."""
    torch.save(nasbench201(archs, results), folder / "NAS-Bench-201-v1_1-096897.pth")
    return folder / "NAS-Bench-201-v1_1-096897.pth"


def write_nats(folder: Path, archs: Sequence[str], results: Mapping[int, Any]) -> Path:
    """Write all of NATS-Bench's topology search space into one file."""
    return write_pickle(folder / "NATS-tss-v1_0-3ffb9.pickle.pbz2", nats(archs, results))


def write_nats_simple(folder: Path, archs: Sequence[str], results: Mapping[int, Any]) -> Path:
    """Write a file per architecture, and `meta`."""
    content = nats(archs, results)
    path = folder / "NATS-tss-v1_0-3ffb9-simple"
    path.mkdir()
    for index, one in content["arch2infos"].items():
        write_pickle(path / f"{index:06d}.pickle.pbz2", one)
    write_pickle(path / "meta.pickle.pbz2", content | {"arch2infos": None, "evaluated_indexes": set()})
    return path


def write_pickle(path: Path, content: Any) -> Path:
    """Write a pickle in bz2."""
    with bz2.open(path, "wb") as file:
        pickle.dump(content, file, protocol=4)
    return path


WRITERS: dict[str, Callable[[Path, Sequence[str], Mapping[int, Any]], Path]] = {
    "old torch": write_old_torch,
    "torch": write_torch,
    "nats": write_nats,
    "nats simple": write_nats_simple,
}
