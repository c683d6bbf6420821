"""What the challenges on the shipped transformer are judged by: the network, its inputs, and what a change costs."""

import functools

import torch
from torch import nn

from utils.characters import load_shakespeare, windows
from utils.language_models import evaluate_text
from utils.transformer import Transformer, load_transformer
from utils.weight_only import InputStatistics, input_statistics


@functools.cache
def network_and_statistics() -> tuple[Transformer, dict[str, InputStatistics]]:
    """Return the network and what its matrices are given in 32 windows of the training text; no check changes them."""
    network = load_transformer("Shakespeare-transformer")
    calibration = windows(load_shakespeare().train, 256, 32, torch.Generator().manual_seed(0))[0]
    return network, input_statistics(network, calibration.split(8))


def nats_lost(changed: nn.Module, characters: int) -> float:
    """Return what a changed network loses for each character in the middle of the validation split."""
    part = load_shakespeare().validation[20_000 : 20_000 + characters + 1]
    network, _ = network_and_statistics()
    return evaluate_text(changed, part, stride=256).nats - evaluate_text(network, part, stride=256).nats
