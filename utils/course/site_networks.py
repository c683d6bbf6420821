"""What the page "Draw a digit" runs: one network in four sizes as ONNX files, and test digits to try them on."""

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from utils.checkpoint_files import CHECKPOINTS
from utils.datasets import calibration_batches, load
from utils.entropy_coding import RangeCoderMissingError, decode_network
from utils.files import replace_file
from utils.models import load_checkpoint
from utils.onnx_export import OnnxModel, export_onnx, quantize_onnx_static

ABOUT = "about.json"
"""The file that names the others, written last: where it is, everything is."""

DISAGREEMENTS_SHOWN = 5


@dataclass(frozen=True)
class Network:
    """A network on the page: the name of its ONNX file, what it is called, the file of the course it comes from.

    Without a source it is the first network, quantized to int8 after training.
    """

    name: str
    title: str
    source: str = ""


NETWORKS = (
    Network("dense", "dense, float32", "LeNet5.safetensors"),
    Network("int8", "int8 after training"),
    Network("3-kB", "narrowed, pruned, few levels, coded", "compressed/LeNet5-3-kB-seed0.nnz"),
    Network("1-kB", "the same, narrower still", "compressed/LeNet5-1-kB-seed0.nnz"),
)
"""LeNet-5 four times; the last two are notebook 15's."""


def read_network(source: str) -> nn.Module:
    """Return the LeNet-5 of a file in `data/checkpoints/`: a coded one, or the plain checkpoint."""
    if source.endswith(".nnz"):
        return decode_network((CHECKPOINTS / source).read_bytes())
    return load_checkpoint(Path(source).stem)


def write_networks(folder: Path) -> Path:
    """Write the networks, their errors on the test digits, and the digits of the page, unless they are there already.

    Where the range coder is not installed, the coded networks are left out, and so are they from the page.
    """
    digest = _digest()
    about_file = folder / ABOUT
    if about_file.is_file() and json.loads(about_file.read_bytes())["digest"] == digest:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    test = load("mnist").test
    rows, answers = [], {}
    for network in NETWORKS:
        path = folder / f"{network.name}.onnx"
        try:
            _write_network(network, path, folder / f"{NETWORKS[0].name}.onnx")
        except RangeCoderMissingError:
            continue
        answers[network.name] = _answers(path, test.images)
        size = (CHECKPOINTS / network.source).stat().st_size if network.source else path.stat().st_size
        wrong = int((answers[network.name] != test.labels).sum())
        rows.append({"name": network.name, "title": network.title, "bytes": size, "wrong": wrong})
        rows[-1] |= {"loaded": path.stat().st_size, "otherwise": int((answers[network.name] != answers["dense"]).sum())}
    chosen = _shown_digits(answers, test.labels)
    digits = [_digit(number, test.images[number], int(test.labels[number])) for number in chosen]
    about = {"digest": digest, "of": len(test.labels), "networks": rows, "digits": digits}
    replace_file(about_file, (json.dumps(about, indent=1) + "\n").encode())
    return folder


@functools.cache
def _digest() -> str:
    """Return a digest of what the files depend on: the checkpoints and this module."""
    files = [CHECKPOINTS / network.source for network in NETWORKS if network.source]
    return hashlib.sha256(b"".join(path.read_bytes() for path in (Path(__file__), *files))).hexdigest()[:16]


def _write_network(network: Network, path: Path, dense: Path) -> None:
    if network.source:
        export_onnx(read_network(network.source), torch.zeros(1, 1, 28, 28), path)
    else:
        batches = calibration_batches(load("mnist").train, batches=16, batch_size=32, seed=0)
        quantize_onnx_static(dense, path, batches)


def _answers(path: Path, images: torch.Tensor) -> torch.Tensor:
    network = OnnxModel(path)
    return torch.cat([network(batch).argmax(1) for batch in images.split(500)])


def _shown_digits(answers: Mapping[str, torch.Tensor], labels: torch.Tensor) -> list[int]:
    """Choose test digits: the first of each class that all read rightly, then the first that they read differently."""
    said = torch.stack(list(answers.values()))  # (networks, digits)
    alike = (said == said[0]).all(0)
    plain = [int(((labels == digit) & alike & (said[0] == labels)).nonzero()[0]) for digit in range(10)]
    return plain + (~alike).nonzero().flatten().tolist()[:DISAGREEMENTS_SHOWN]


def _digit(number: int, image: torch.Tensor, label: int) -> dict[str, object]:
    pixels = (255 * image).round().to(torch.uint8).numpy().tobytes()  # 28 rows of 28, 255 is ink
    return {"number": number, "label": label, "pixels": base64.b64encode(pixels).decode()}
