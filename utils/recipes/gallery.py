"""The gallery of notebook 22: which of the course's tools work on networks that were not built for it.

`python -m utils gallery` tries every tool on every network, writes `data/experiments/22_gallery.jsonl` and prints it.
Each cell is measured, or refused with the tool's own words. The weights are random, but for EfficientNet-Lite0's, and
the inputs small, so that nothing here is about errors: "off" says how far a network's outputs are from those that they
should equal or approach.
"""

import copy
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from utils import qat
from utils.accounting import count_macs, count_parameters
from utils.environment import library_versions
from utils.experiment_files import EXPERIMENTS, digest_of, read_experiment, write_experiment
from utils.imagenet import load_efficientnet
from utils.low_rank import split_layers, split_linear
from utils.onnx_export import OnnxModel, export_onnx, quantize_onnx_dynamic
from utils.pruning import apply_masks, global_magnitude_masks
from utils.quantization import signal_to_noise_db
from utils.structured_pruning import ChannelGroup, channel_groups, channels_by_score, narrow_network, silence_network
from utils.training import logits
from utils.transformer import Transformer

NAME = "22_gallery"

MINUTES = 4

SEED = 0

Row = dict[str, object]


class Exhibit(NamedTuple):
    """A network in evaluation mode, and inputs for it."""

    network: nn.Module
    example: torch.Tensor


class LSTMClassifier(nn.Module):
    """Two layers of LSTM over sequences of shape (N, T, 20), then ten classes from the last state."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(20, 64, num_layers=2, batch_first=True)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.lstm(x)[0][:, -1])


# --- the networks -----------------------------------------------------------------------------------------------------


def _torchvision(name: str, side: int = 32, **arguments: object) -> Exhibit:
    from torchvision import models  # a second to import

    network = getattr(models, name)(weights=None, **arguments)
    for layer in network.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.1)  # a vision transformer's last begins at zero: any answer were right
    return Exhibit(network, torch.randn(4, 3, side, side))


def _transformer() -> Exhibit:
    model = Transformer(width=64, blocks=2, heads=4, hidden=160, context=64)
    nn.init.normal_(model.head.weight, std=0.1)  # it begins at zero, and every answer would be right
    return Exhibit(model, torch.randint(65, (4, 16)))


NETWORKS: dict[str, Callable[[], Exhibit]] = {
    "resnet18": partial(_torchvision, "resnet18"),
    "mobilenet_v2": partial(_torchvision, "mobilenet_v2"),
    "EfficientNet-Lite0": lambda: Exhibit(load_efficientnet(), torch.randn(4, 3, 64, 64)),
    "densenet121": partial(_torchvision, "densenet121", side=64),
    "vit_b_16": partial(_torchvision, "vit_b_16", image_size=32),
    "LSTM": lambda: Exhibit(LSTMClassifier(), torch.randn(4, 12, 20)),
    "GPT": _transformer,
}
"""What makes each network; those of torchvision have random weights."""


def lived_in(network: nn.Module) -> nn.Module:
    """Give batch norms that never saw an image statistics as training would leave them, none of them 0 or 1.

    >>> lived_in(nn.BatchNorm2d(2)).running_mean.min() > 0
    tensor(True)
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked == 0:
            for numbers in (module.weight, module.bias, module.running_mean, module.running_var):
                numbers.data.uniform_(0.5, 1.5)
    return network.eval()


# --- the tools: each returns what it measured, or raises --------------------------------------------------------------


def _parameters(exhibit: Exhibit) -> Row:
    return {"parameters": count_parameters(exhibit.network)}


def _macs(exhibit: Exhibit) -> Row:
    return {"macs": count_macs(exhibit.network, exhibit.example[:1])}


def _masks(exhibit: Exhibit) -> Row:
    """Remove nine of ten weights by magnitude; biases, norms and embeddings are left alone."""
    pruned = copy.deepcopy(exhibit.network)
    masks = global_magnitude_masks(pruned, 0.9)
    apply_masks(pruned, masks)
    return {"in_reach": sum(mask.numel() for mask in masks.values()) / count_parameters(pruned)}


def _narrowing(exhibit: Exhibit) -> Row:
    """Remove half of the channels of every group that can be narrowed by itself."""
    network, example = exhibit
    groups = channel_groups(network, example)
    if not groups:
        raise ValueError("no group of channels can be removed")
    half = channels_by_score(network, groups, 0.5)
    fitting = _narrowable(network, example, groups, half)
    if not fitting:
        raise ValueError(f"none of the {len(groups)} groups of channels that its graph shows can be removed")
    kept = {name: half[name] for name in fitting}
    small = narrow_network(network, example, kept)
    wanted = logits(silence_network(network, example, kept), example)
    return {
        "groups": len(fitting),
        "of_groups": len(groups),
        "parameters_left": count_parameters(small) / count_parameters(network),
        "off": _off(logits(small, example), wanted),
    }


def _narrowable(
    network: nn.Module, example: torch.Tensor, groups: Mapping[str, ChannelGroup], kept: Mapping[str, torch.Tensor]
) -> list[str]:
    """Return the groups that can be narrowed: all at once if they can be, else those that can be by themselves."""
    for tried in (list(groups), *([name] for name in groups)):
        try:
            narrow_network(network, example, {name: kept[name] for name in tried})
        except ValueError:
            continue
        if len(tried) == len(groups):
            return tried
        return [name for name in groups if name in tried or _can_be_narrowed(network, example, {name: kept[name]})]
    return []


def _can_be_narrowed(network: nn.Module, example: torch.Tensor, kept: Mapping[str, torch.Tensor]) -> bool:
    try:
        narrow_network(network, example, kept)
    except ValueError:
        return False
    return True


def _int8(exhibit: Exhibit) -> Row:
    """Round weights and inputs of linear layers and convolutions to 8 bits by hand, and compute with integers."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        prepared = qat.prepare(
            exhibit.network, weight=partial(qat.WeightRange, 8), activation=partial(qat.MovingAverageRange, 8)
        )
    left_float = sum(str(each.message).count(",") + 1 for each in said if "stay float" in str(each.message))
    qat.calibrate(prepared, exhibit.example)
    converted = qat.convert(prepared)
    wanted = logits(exhibit.network, exhibit.example)
    decibels = signal_to_noise_db(wanted, logits(converted, exhibit.example))
    return {"decibels": decibels, "weights_left_in_float": left_float}


def _export(exhibit: Exhibit) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = export_onnx(exhibit.network, exhibit.example, Path(folder) / "float32.onnx")
        answers = logits(OnnxModel(path), exhibit.example)
        return {"bytes": path.stat().st_size, "off": _off(answers, logits(exhibit.network, exhibit.example))}


def _dynamic_int8(exhibit: Exhibit) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        source = export_onnx(exhibit.network, exhibit.example, Path(folder) / "float32.onnx")
        path = quantize_onnx_dynamic(source, Path(folder) / "int8.onnx")
        wanted = logits(exhibit.network, exhibit.example)
        decibels = signal_to_noise_db(wanted, logits(OnnxModel(path), exhibit.example))
        return {"times_smaller": source.stat().st_size / path.stat().st_size, "decibels": decibels}


def _low_rank(exhibit: Exhibit) -> Row:
    """Split every linear layer at full rank, where nothing may change, and at an eighth of it, where it shrinks."""
    network, example = exhibit
    full = {name: min(layer.weight.shape) for name, layer in network.named_modules() if type(layer) is nn.Linear}
    if not full:
        raise ValueError("there is no linear layer of its own")
    off = _off(logits(split_layers(network, full, split=split_linear), example), logits(network, example))
    eighth = split_layers(network, {name: max(1, rank // 8) for name, rank in full.items()}, split=split_linear)
    return {"layers": len(full), "off": off, "parameters_left": count_parameters(eighth) / count_parameters(network)}


TOOLS: dict[str, Callable[[Exhibit], Row]] = {
    "parameters": _parameters,
    "MACs": _macs,
    "masks": _masks,
    "narrowing": _narrowing,
    "int8 by hand": _int8,
    "export": _export,
    "dynamic int8": _dynamic_int8,
    "low rank": _low_rank,
}
"""What is tried, in the order of the table's columns."""


def _off(answers: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference over the largest answer."""
    return float((answers - wanted).abs().max() / wanted.abs().max())


# --- the table --------------------------------------------------------------------------------------------------------


def tried(name: str, tool: str, exhibit: Exhibit) -> Row:
    """Return a cell of the table: what a tool measured on a network, or the words with which it refused.

    Raises what is no refusal: an error that a learner could make nothing of is a fault of ours.

    >>> tried("one layer", "parameters", Exhibit(nn.Linear(2, 3), torch.zeros(1, 2)))["parameters"]
    9
    """
    began = time.perf_counter()
    torch.manual_seed(SEED)
    try:
        found = {key: _rounded(value) for key, value in TOOLS[tool](exhibit).items()}
    except (ValueError, TypeError, RuntimeError) as error:
        found = {"refused": _first_line(error)}
    return {"network": name, "tool": tool, **found, "seconds": round(time.perf_counter() - began, 2)}


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    if not lines or any(sign in lines[0] for sign in ("Traceback", "object has no attribute")):
        raise error
    return lines[0]


def _rounded(value: float) -> float:
    if isinstance(value, int) or not math.isfinite(value):
        return value if isinstance(value, int) else str(value)
    return float(f"{value:.4g}")


def digest() -> str:
    """Return a digest of what the cells depend on: this module's code, the tools that it tries."""
    code = (
        *TOOLS.values(), LSTMClassifier, lived_in, _torchvision, _transformer, _narrowable, _off, count_macs,
        global_magnitude_masks, channel_groups, channels_by_score, narrow_network, silence_network, qat.prepare,
        qat.calibrate, qat.convert, export_onnx, quantize_onnx_dynamic, split_layers, split_linear, Transformer,
    )  # fmt: skip
    return digest_of(code)


def run(networks: Iterable[str] = NETWORKS, *, folder: Path = EXPERIMENTS) -> str:
    """Try every tool on the networks, write the table after each of them, and return it as text.

    Networks whose rows are there, of this code and these versions, are not tried again.
    """
    about = {"digest": digest(), "versions": library_versions(), "minutes": 0.0}
    rows: list[Row] = []
    if (folder / f"{NAME}.jsonl").exists():
        before, found = read_experiment(NAME, folder=folder)
        if (before["digest"], before["versions"]) == (about["digest"], about["versions"]):
            about, rows = before, found
    for name in networks:
        if any(row["network"] == name for row in rows):
            continue
        torch.manual_seed(SEED)
        network, example = NETWORKS[name]()
        exhibit = Exhibit(lived_in(network), example)
        rows += [tried(name, tool, exhibit) for tool in TOOLS]
        rows.sort(key=lambda row: list(NETWORKS).index(row["network"]))
        about["minutes"] = round(sum(row["seconds"] for row in rows) / 60, 2)
        write_experiment(NAME, about, rows, folder=folder)
    return as_text(rows)


def as_text(rows: Sequence[Mapping]) -> str:
    """Return the table as text: a block for each network, a line for each tool.

    >>> print(as_text([{"network": "net", "tool": "export", "refused": "it has an if", "seconds": 0.1}]))
    net
      export        refused: it has an if
    """
    lines = []
    for name in dict.fromkeys(row["network"] for row in rows):
        lines.append(name)
        for row in (row for row in rows if row["network"] == name):
            lines.append(f"  {row['tool']:<14}{_said(row)}")
    return "\n".join(lines)


def _said(row: Mapping) -> str:
    if "refused" in row:
        return f"refused: {row['refused']}"
    values = {key: value for key, value in row.items() if key not in ("network", "tool", "seconds")}
    shown = (f"{v:,}" if isinstance(v, int) else v if isinstance(v, str) else f"{v:.3g}" for v in values.values())
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in zip(values, shown, strict=True))


def as_markdown(rows: Sequence[Mapping]) -> str:
    """Return the table as the lesson's: a row for each network, a column for each tool, refusals in a list below it.

    >>> print(as_markdown([{"network": "net", "tool": "export", "refused": "it has an if", "seconds": 0.1}]))
    | network | export |
    |---|---|
    | net | refused (1) |
    <BLANKLINE>
    1. "it has an if"
    """
    tools = list(dict.fromkeys(row["tool"] for row in rows))
    refusals = list(dict.fromkeys(row["refused"] for row in rows if "refused" in row))
    cells = {
        (row["network"], row["tool"]): f"refused ({refusals.index(row['refused']) + 1})"
        if "refused" in row
        else _briefly(row)
        for row in rows
    }
    lines = [f"| network | {' | '.join(tools)} |", "|---" * (len(tools) + 1) + "|"]
    for name in dict.fromkeys(row["network"] for row in rows):
        lines.append(f"| {name} | {' | '.join(cells.get((name, tool), '') for tool in tools)} |")
    lines += ["", *(f'{number}. "{words}"' for number, words in enumerate(refusals, start=1))]
    return "\n".join(lines).rstrip()


def _briefly(row: Mapping) -> str:
    """Return a cell in few words, with the units of the table's legend."""
    in_units = {
        "parameters": lambda count: f"{count / 1e6:.3g} M",
        "macs": lambda count: f"{count / 1e6:.3g} M",
        "in_reach": lambda share: f"{100 * share:.1f} % in reach",
        "groups": lambda count: f"{count} of {row['of_groups']} groups",
        "layers": lambda count: f"{count} layer{'s' * (count > 1)}",
        "parameters_left": lambda share: f"{100 * share:.0f} % left",
        "off": lambda share: f"off {float(share):.0e}",
        "decibels": lambda ratio: f"{float(ratio):.0f} dB",
        "weights_left_in_float": lambda count: f"{count} weight tensors in float" if count else "",
        "bytes": lambda count: f"{count / 1e6:.3g} MB",
        "times_smaller": lambda ratio: f"{ratio:.1f}x smaller",
    }
    return ", ".join(said for key, show in in_units.items() if key in row and (said := show(row[key])))
