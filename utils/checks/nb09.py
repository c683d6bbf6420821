"""Checks for notebook 09, post_training_quantization."""

import copy
import math
import secrets
from collections.abc import Callable

import torch
from torch import nn

from utils.checks import WrongAnswerError, below, check_cases, exercise, told_as_wrong
from utils.datasets import load
from utils.models import load_checkpoint
from utils.onnx_export import fold_batch_norm
from utils.quantization import parameters_for, round_to_grid
from utils.training import evaluate, logits


@exercise("09.1")
def largest_safe_weight(answer: Callable) -> None:
    """The largest weight with which no pair of products leaves 16 bits."""

    def specification(largest_code: int) -> int:
        safe = 0
        for weight in range(1, 128):
            products = [code * w for code in (0, largest_code) for w in (-weight, weight)]
            sums = [one + other for one in products for other in products]
            if max(sums) <= 32767 and min(sums) >= -32768:
                safe = weight
        return safe

    drawn = [1 + secrets.randbelow(255) for _ in range(20)]  # others in each process: a table of answers is no answer
    codes = [1, 2, 127, 128, 129, 130, 200, 254, 255, *drawn]
    check_cases(answer, [((code,), specification(code)) for code in codes])


@exercise("09.2")
def fold_norm_in_front(answer: Callable) -> None:
    """Fold a batch norm into the linear layer behind it."""

    def specification(weight: torch.Tensor, bias: torch.Tensor, norm: dict) -> tuple:
        new_weight, new_bias = weight.clone(), bias.clone()
        for o in range(len(weight)):
            for i in range(weight.shape[1]):
                deviation = math.sqrt(norm["variance"][i].item() + norm["epsilon"])
                factor = norm["gamma"][i].item() / deviation
                new_weight[o, i] = weight[o, i] * factor
                new_bias[o] += weight[o, i] * (norm["beta"][i].item() - factor * norm["mean"][i].item())
        return new_weight, new_bias

    def norm_of(gamma: list, beta: list, mean: list, variance: list, epsilon: float) -> dict:
        four = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
        return {name: torch.tensor(values) for name, values in four.items()} | {"epsilon": epsilon}

    one, nothing = torch.tensor([[2.0]]), torch.tensor([0.0])
    cases = [
        (one, nothing, norm_of([1.0], [0.0], [0.0], [1.0], 0.0)),
        (one, nothing, norm_of([3.0], [0.0], [0.0], [4.0], 0.0)),
        (one, nothing, norm_of([1.0], [0.5], [0.0], [1.0], 0.0)),
        (one, torch.tensor([1.0]), norm_of([3.0], [1.0], [0.5], [4.0], 0.0)),
        (one, nothing, norm_of([1.0], [0.0], [1.0], [0.0], 0.25)),
    ]
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    cases.append((square, torch.zeros(2), norm_of([2.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], 0.0)))
    generator = torch.Generator().manual_seed(secrets.randbits(32))
    for inputs, outputs in ((2, 3), (3, 2), (4, 4), (5, 1)):
        four = [torch.randn(inputs, generator=generator).tolist() for _ in range(3)]
        variance = torch.rand(inputs, generator=generator).tolist()
        layer = torch.randn(outputs, inputs, generator=generator), torch.randn(outputs, generator=generator)
        cases.append((*layer, norm_of(*four, variance, 1e-2)))
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-4)


CHALLENGE = {"bits": 4, "error": 6.0}
"""What 09.3 asks for: bits of the weights, one scale a layer, and the error on validation in per cent at most."""


@exercise("09.3")
def equalized(answer: Callable) -> None:
    """Channels made alike: the check rounds the network with one scale for each layer and runs it."""
    network = fold_batch_norm(load_checkpoint("SmallDepthwiseNet"))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    given = [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in layers]
    validation = load("mnist").validation
    few = validation.take(200).images
    wanted = logits(network, few)
    with told_as_wrong("your function raised "):
        received = answer(copy.deepcopy(given))
    if not isinstance(received, list | tuple) or len(received) != len(layers):
        raise WrongAnswerError(f"return a list of {len(layers)} pairs (weight, bias), as many as came in")
    for number, (layer, pair) in enumerate(zip(layers, received, strict=True)):
        for name, before, after in zip(("weight", "bias"), given[number], _pair(number, pair), strict=True):
            if not isinstance(after, torch.Tensor) or after.shape != before.shape:
                raise WrongAnswerError(f"layer {number}: its {name} must be a tensor of shape {tuple(before.shape)}")
            if not torch.isfinite(after).all():
                raise WrongAnswerError(f"layer {number}: its {name} has NaN or infinity in it; was a scale 0?")
            getattr(layer, name).data = after.detach().float()
    off = ((logits(network, few) - wanted).abs().max() / wanted.abs().max()).item()
    if off > 1e-3:
        raise WrongAnswerError(
            f"not yet: before any rounding the network's logits must stay, and they differ by {off:.2%} of the "
            "largest. What a channel is divided by, its bias and all that reads it must know of"
        )
    for layer in layers:
        grid = parameters_for(layer.weight.data, bits=CHALLENGE["bits"], symmetric=True)
        layer.weight.data = round_to_grid(layer.weight.data, grid)
    error = round(100 * (1 - evaluate(network, validation).accuracy), 6)
    if error > CHALLENGE["error"]:
        raise WrongAnswerError(
            f"not yet: the logits stay, but with {CHALLENGE['bits']} bits and one scale a layer the error on "
            f"validation is {error:.2f} %, and at most {CHALLENGE['error']:g} % is asked for. Which layers have a "
            "filter that is far larger than the others?"
        )
    print(f"the same logits, and with {CHALLENGE['bits']} bits an error on validation {below(error)}")


def _pair(number: int, pair: object) -> tuple:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise WrongAnswerError(f"layer {number}: a pair (weight, bias) is asked for, got {type(pair).__name__}")
    return tuple(pair)
