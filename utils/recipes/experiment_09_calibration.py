"""Notebook 09: four ways of choosing the ranges of activations, at 8 and at 4 bits, for a network that sorts clothes.

`python -m utils experiments 09_calibration` quantizes LeNet5 by each of them, with five draws of 256 training images to
calibrate on, and writes `data/experiments/09_calibration.jsonl`: the error on validation in per cent. Interrupted,
the same command goes on from there. Nothing is trained, and the test split is not read.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import torch

from utils import onnx_export
from utils.datasets import Splits, calibration_batches, load
from utils.experiment_files import complete, digest_of
from utils.files import temporary_folder
from utils.onnx_export import OnnxModel, activation_ranges, export_onnx, quantize_onnx_static
from utils.quantization import mse_range
from utils.recipes import fashion
from utils.training import evaluate

NAME = "09_calibration"

MINUTES = 3

SEEDS = range(5)

BITS = (8, 4)

METHODS = (*onnx_export.METHODS, "mse")

NETWORK = "LeNet5-fashion"

EVERY = 37
"""The least squared error is sought over every 37th value, which says as much as all."""


def quantized(source: Path, batches: list[torch.Tensor], *, method: str, bits: int) -> Path:
    """Quantize a float32 file: weights of 7 bits, a scale for each channel; activations of `bits`, ranges by `method`.

    Returns the path of the new file, which lies beside `source` and is written over by the next call.
    """
    target = source.with_name("quantized.onnx")
    if method != "mse":
        return quantize_onnx_static(source, target, batches, method=method, activation_bits=bits)
    ranges = activation_ranges(source, batches, lambda values: mse_range(values[::EVERY], bits=bits, signed=False))
    return quantize_onnx_static(source, target, batches, ranges=ranges, activation_bits=bits)


def _splits() -> Splits:
    return load(fashion.DATA_SET)  # read anew each time: kept, the training images would take 172 MB of the notebook


@functools.cache
def _exported() -> Path:
    example = _splits().validation.images[:1]
    return export_onnx(fashion.load_fashion_checkpoint(NETWORK), example, temporary_folder() / "float32.onnx")


def error_of(bits: int, method: str, seed: int) -> float:
    """Return the error on validation, in per cent, with activations of `bits`, calibrated on the images of a seed.

    The rounding is simulated in float32, so that no kernel's arithmetic plays a part; `bits` of 32 quantizes nothing.
    """
    validation = _splits().validation
    path = _exported()
    if bits != 32:
        batches = calibration_batches(_splits().train, batches=8, batch_size=32, seed=seed)
        path = quantized(path, batches, method=method, bits=bits)
    return 100 * (1 - evaluate(OnnxModel(path, optimized=False), validation, batch_size=64).accuracy)


def conditions() -> Iterator[dict]:
    """Yield what is measured, in order; the float32 network first."""
    yield {"bits": 32, "method": "none", "seed": 0}
    for seed in SEEDS:
        for bits in BITS:
            for method in METHODS:
                yield {"bits": bits, "method": method, "seed": seed}


def digest() -> str:
    """Return a digest of what the rows depend on: this module's code, what it calls, and the network."""
    code = (quantized, error_of, quantize_onnx_static, activation_ranges, mse_range)
    return digest_of(code, [fashion.FOLDER / f"{NETWORK}.safetensors"])


def run() -> str:
    """Measure what the table lacks, write it, and return a line that says how much it holds."""
    return complete(NAME, digest(), conditions(), lambda wanted: error_of(**wanted))
