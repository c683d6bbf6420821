"""What the page "Draw a digit" runs: one network in four sizes, as files of the course, and test digits to try.

The page computes by itself (`site/static/networks/`), so a file is handed on as it is: the checkpoint of the dense
network, and the coded files of notebook 15, which the page decodes. The int8 network alone is made here.
"""

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
from utils.models import load_checkpoint, to_safetensors
from utils.qat import MovingAverageRange, WeightRange, calibrate, convert, prepare

ABOUT = "about.json"
"""The file that names the others, written last: where it is, everything is."""

DISAGREEMENTS_SHOWN = 5


@dataclass(frozen=True)
class Network:
    """A network on the page: its name there, what it is called, the file of the course it comes from.

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


def read_network(network: Network) -> nn.Module:
    """Return the LeNet-5 of a row of the page, in evaluation mode."""
    if not network.source:
        return int8_network(read_network(NETWORKS[0]))
    if network.source.endswith(".nnz"):
        return decode_network((CHECKPOINTS / network.source).read_bytes())
    return load_checkpoint(Path(network.source).stem)


def int8_network(dense: nn.Module) -> nn.Module:
    """Return the network in int8: weights with a scale for each channel, activations with one for each layer.

    The ranges are those of 512 training images. It computes with integers, as the page does.
    """
    prepared = prepare(
        dense, weight=lambda channels: WeightRange(8, channels), activation=lambda: MovingAverageRange(8)
    )
    batches = calibration_batches(load("mnist").train, batches=16, batch_size=32, seed=0)
    calibrate(prepared, torch.cat(list(batches)))
    return convert(prepared)


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
        try:
            model = read_network(network)
        except RangeCoderMissingError:
            continue
        file = Path(network.source or f"{Path(NETWORKS[0].source).stem}-int8.safetensors").name
        content = (CHECKPOINTS / network.source).read_bytes() if network.source else to_safetensors(model)
        replace_file(folder / file, content)
        said = answers[network.name] = _answers(model, test.images)
        wrong, otherwise = (int((said != other).sum()) for other in (test.labels, answers["dense"]))
        row = {"name": network.name, "title": network.title, "file": file, "bytes": len(content), "wrong": wrong}
        rows.append({**row, "otherwise": otherwise})
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


@torch.no_grad()
def _answers(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(batch).argmax(1) for batch in images.split(500)])


def _shown_digits(answers: Mapping[str, torch.Tensor], labels: torch.Tensor) -> list[int]:
    """Choose test digits: the first of each class that all read rightly, then the first that they read differently."""
    said = torch.stack(list(answers.values()))  # (networks, digits)
    alike = (said == said[0]).all(0)
    plain = [int(((labels == digit) & alike & (said[0] == labels)).nonzero()[0]) for digit in range(10)]
    return plain + (~alike).nonzero().flatten().tolist()[:DISAGREEMENTS_SHOWN]


def _digit(number: int, image: torch.Tensor, label: int) -> dict[str, object]:
    pixels = (255 * image).round().to(torch.uint8).numpy().tobytes()  # 28 rows of 28, 255 is ink
    return {"number": number, "label": label, "pixels": base64.b64encode(pixels).decode()}
