"""The card beside an exported network: what it takes and gives, how good it is, what it costs, how it came to be."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archselect.data.pixels import MODES
from archselect.deployment.check import Agreement
from archselect.deployment.formats import Image
from archselect.deployment.network import TrainedNetwork
from archselect.pipeline.finished_run import FinishedRun
from archselect.results.metric import CLASSIFICATION, Metric
from archselect.store.redact_paths import redact

COSTS = {
    "params": "parameters",
    "macs": "multiply-accumulates per image",
    "peak_activation_bytes": "largest activations of an image, in bytes",
    "latency_ms_batch1": "milliseconds for one image, where it was trained",
    "latency_ms_batch64": "milliseconds for 64 images, where it was trained",
}
FOUND = ("search_space", "search", "selection", "evaluation", "data", "seed")


def card_of(
    run: FinishedRun,
    network: TrainedNetwork,
    images: Image,
    normalizes: bool,
    file: Path,
    agreement: Agreement,
    trusted: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what the card says, as plain data; the packages that are `trusted` are those that loading asks for."""
    summary = run.summary
    metric = Metric.of(summary)
    session = run.stage("evaluation").folder.read_json("provenance.json")[-1]
    git = session.get("git") or {}
    return {
        "file": file.name,
        "trusted": list(trusted),
        "task": summary.get("task", CLASSIFICATION),
        "task_options": dict(network.description.task),
        "classes": list(network.classes),
        "images": {
            **asdict(images),
            "center_crop": run.parts.data.center_crop,
            "normalization": "inside" if normalizes else "outside",
            "mean": list(network.normalization.mean),
            "std": list(network.normalization.std),
        },
        "metric": metric.name,
        "test": summary.get(f"evaluation.{metric.key('test')}"),
        "costs": {name: value for name in COSTS if (value := summary.get(f"costs.{name}", summary.get(name)))},
        "found": {name: summary.get(name) for name in FOUND},
        "genotype": network.description.genotype,
        "provenance": {
            "run": redact(str(run.folder)),
            "command": " ".join(["python", *session.get("command", [])]),
            "commit": git.get("commit"),
            "changed_since": git.get("dirty"),
            "versions": session.get("versions", {}),
        },
        "checked": asdict(agreement),
    }


def as_markdown(card: Mapping[str, Any]) -> str:
    """Return the card as a page."""
    found, made = card["found"], card["provenance"]
    how = f"found by search={found['search']}, selection={found['selection']}" if found["search"] else "given"
    checked = card["checked"]
    lines = [
        f"# {card['file']}",
        f"A network for {card['task']}, trained on {found['data']}: an architecture of the space "
        f"{found['search_space']}, {how}.",
        _table(_results(card)),
        "## Images",
        "\n".join(_images(card["images"])),
        "## Use",
        f"```python\n{usage(card)}```",
        "## How it was found",
        _table({name.replace("_", " "): value for name, value in found.items()}),
        f"```\n{card['genotype']}\n```",
        "## Where it comes from",
        _table(
            {
                "run": made["run"],
                "command": f"`{made['command']}`",
                "commit": f"{made['commit']}{', with changes' if made['changed_since'] else ''}",
                "versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
                "checked": f"on {checked['random_images']} random and {checked['test_images']} test images: outputs "
                f"differ by {checked['difference']:.1g} of the largest at most ({checked['tolerance']:g} is allowed)",
            }
        ),
    ]
    return "\n\n".join(lines) + "\n"


def _results(card: Mapping[str, Any]) -> dict[str, Any]:
    rows = {"classes": ", ".join(card["classes"])} if card["classes"] else {}
    if card["test"] is not None:
        metric = Metric(card["metric"])
        rows[f"{metric.words} on the test images"] = metric.amount(card["test"])
    return rows | {words: f"{card['costs'][name]:,}" for name, words in COSTS.items() if name in card["costs"]}


def _images(images: Mapping[str, Any]) -> Iterator[str]:
    size, multiple = images["size"], images["multiple"]
    yield f"Any number of them, `float32`, `(B, {images['channels']}, {size}, {size})`."
    if images["normalization"] == "inside":
        yield "Pixels lie between 0 and 1; they are normalised inside."
    else:
        yield f"Pixels between 0 and 1 are normalised before: minus {images['mean']}, divided by {images['std']}."
    yield f"The network was trained on {size} x {size} pixels: other images are scaled and cropped to that, as below."
    if multiple is not None:
        yield f"It takes other multiples of {multiple} as height and width, from {2 * multiple} on; nobody tested that."


def _table(rows: Mapping[str, Any]) -> str:
    shown = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *shown])


def usage(card: Mapping[str, Any]) -> str:
    """Return lines of Python that ask the file about `image.png`, in the folder of both and of the card."""
    images, file = card["images"], Path(card["file"])
    trusted = f", trusted={card['trusted']}" if card["trusted"] else ""
    size, channels, inside = images["size"], images["channels"], images["normalization"] == "inside"
    module, load, ask = {
        ".pt2": (
            "torch",
            f'network = torch.export.load("{file}").module()',
            "network(torch.from_numpy(images)).detach().numpy()[0]",
        ),
        ".onnx": (
            "onnxruntime",
            f'session = onnxruntime.InferenceSession("{file}")',
            'session.run(None, {"images": images})[0][0]',
        ),
        ".safetensors": (
            "archselect",
            f'network = archselect.load_network("{file}"{trusted})',
            f"network({'network.normalize' if inside else ''}(torch.from_numpy(images))).detach().numpy()[0]",
        ),
    }[file.suffix]
    lines = ["import json", "", "import numpy as np", f"import {module}"]
    lines += ["import torch"] if module == "archselect" else []
    if channels in MODES:
        lines += ["from PIL import Image, ImageOps"]
        bleed = "" if images["center_crop"] == 1 else f", bleed={(1 - images['center_crop']) / 2}"
        options = f"({size}, {size}), Image.BILINEAR{bleed}"
        fitted = f'ImageOps.fit(Image.open("image.png").convert("{MODES[channels]}"), {options})'
        pixels = f"np.float32({fitted}).reshape({size}, {size}, {channels}) / 255"
    else:
        pixels = f'np.float32(np.load("image.npy")).reshape({size}, {size}, {channels}) / 255'
    lines += ["", f'card = json.load(open("{file.with_suffix(".json")}"))', load, f"pixels = {pixels}"]
    if not inside:
        lines += ['pixels = (pixels - np.float32(card["images"]["mean"])) / np.float32(card["images"]["std"])']
    lines += ["images = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])", f"outputs = {ask}"]
    return "\n".join([*lines, *ANSWERS.get(card["task"], ["print(outputs)"])]) + "\n"


ANSWERS = {
    "classification": [
        "probabilities = np.exp(outputs - outputs.max()) / np.exp(outputs - outputs.max()).sum()",
        'print(card["classes"][outputs.argmax()], probabilities.max())',
    ],
    "multilabel": [
        "probabilities = 1 / (1 + np.exp(-outputs))",
        'there = probabilities >= card["task_options"]["threshold"]',
        'print([name for name, is_there in zip(card["classes"], there) if is_there])',
    ],
    "regression": [
        'std, mean = (np.float32(card["task_options"][name]) for name in ("std", "mean"))',
        'print(dict(zip(card["classes"], (outputs * std + mean).tolist())))',
    ],
}
"""By task, the lines that say what outputs mean."""
