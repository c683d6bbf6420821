"""A supernet: one network whose narrower versions use the first channels of its weights.

Slimmable networks (Yu, Yang, Xu, Yang and Huang, ICLR 2019) share weights between widths; universally slimmable ones
(Yu and Huang, ICCV 2019) train them by the sandwich rule and measure the statistics of the batch norms anew for each
width. Once-for-all (Cai et al., ICLR 2020) searches in such a network.
"""

import random

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from utils.tiny_networks import Design, TinyNet
from utils.training import Loss

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the channels of a block that a narrower version keeps."""


def narrowed(design: Design, shares: tuple[float, ...]) -> Design:
    """Return the design with a share of the channels of each block, at least one.

    >>> print(narrowed(Design.parse("full3-8/2 full3-16/2 mean"), (0.5, 0.25)))
    full3-4/2 full3-4/2 mean
    """
    kept = zip(design.blocks, shares, strict=True)
    blocks = tuple(block._replace(channels=max(1, round(share * block.channels))) for block, share in kept)
    return design._replace(blocks=blocks)


def first_channels(wide: TinyNet, narrow: TinyNet) -> dict[str, torch.Tensor]:
    """Return the parameters of `narrow` as views of those of `wide`: the first of each axis, with their gradients.

    >>> wide, narrow = (TinyNet(Design.parse(f"full3-{channels} mean")) for channels in (8, 4))
    >>> first_channels(wide, narrow)["fc.weight"].shape
    torch.Size([10, 4])
    """
    shapes = {name: parameter.shape for name, parameter in narrow.named_parameters()}
    return {name: p[tuple(map(slice, shapes[name]))] for name, p in wide.named_parameters()}


def cut_out(wide: TinyNet, design: Design) -> TinyNet:
    """Return the narrower network on its own, with the first channels of the wide one's weights and statistics.

    The statistics do not fit: sums over fewer channels have other means and variances. See `measure_statistics`.

    Args:
        wide: the supernet.
        design: of the narrower version, see `narrowed`.
    """
    narrow, state = TinyNet(design), wide.state_dict()
    first = {name: state[name][tuple(map(slice, old.shape))] for name, old in narrow.state_dict().items()}
    narrow.load_state_dict(first)
    return narrow.eval()


def measure_statistics(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """Replace the means and variances of all batch norms by those of one batch; return the network.

    Args:
        network: is left in evaluation mode.
        images: shape (N, 1, 28, 28), a few hundred or more.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # what the batch says, and nothing of before
    network.train()
    with torch.no_grad():
        network(images)
    return network.eval()


def sandwich(design: Design, *, seed: int, middle: int = 2) -> Loss:
    """Return the loss of the widest and the narrowest version and `middle` drawn ones, averaged, for `fit`.

    Args:
        design: of the widest, which is the model that `fit` trains.
        seed: of the drawing.
        middle: versions between them, drawn anew in each step with a share for each block.
    """
    generator = random.Random(seed)
    blocks = len(design.blocks)
    skeletons: dict[Design, TinyNet] = {}

    def version(shares: tuple[float, ...]) -> TinyNet:
        wanted = narrowed(design, shares)
        if wanted not in skeletons:
            skeletons[wanted] = TinyNet(wanted)
        return skeletons[wanted]

    def loss(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        drawn = [tuple(generator.choice(SHARES) for _ in range(blocks)) for _ in range(middle)]
        narrower = [version(shares) for shares in ((SHARES[0],) * blocks, *drawn)]
        outputs = [model(images)]
        outputs += [functional_call(each, first_channels(model, each), images) for each in narrower]
        return torch.stack([F.cross_entropy(output, labels) for output in outputs]).mean()

    return loss
