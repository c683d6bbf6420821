"""Wrong answers to the exercises of notebook 20."""

import torch

from utils.adapters import LowRankAdapter, adapted, adapters
from utils.language_models import TextRecipe, fit_text


def _cost(shapes, rank, *, limited=True, moments=8, file=2, product=False):
    numbers = sum((min(rank, m, n) if limited else rank) * (m * n if product else m + n) for m, n in shapes)
    return numbers, moments * numbers, file * numbers


def _batch(x, weight, downs, ups, which, *, masked=True, turned=False, alone=False):
    down, up = downs[which], ups[which]
    if turned:
        down, up = downs[which.flip(0)], ups[which.flip(0)]
    change = x @ down.mT @ up.mT
    if masked:
        change = change * (which >= 0)[:, None, None]
    return change if alone else x @ weight.T + change


def _into_the_argument(x, weight, downs, ups, which):
    received = _batch(x, weight, downs, ups, which)
    which.clamp_(min=0)
    return received


def _trained(network, part, *, rank=1, steps=3, scale=4.0, seen=None, swapped=False, doubled=False):
    model = adapted(
        network,
        lambda layer: LowRankAdapter(layer, rank=rank, scale=scale),
        choose=lambda name: "value" in name or "output" in name,
    )
    recipe = TextRecipe(steps=steps, batch_size=4, context=64, learning_rate=1e-2, weight_decay=0.0)
    fit_text(model, part if seen is None else seen, recipe)
    factors = {name: (scale * each.up.detach(), each.down.detach()) for name, each in adapters(model).items()}
    if swapped:
        factors = {name: (down, up) for name, (up, down) in factors.items()}
    return {f"{name}.weight": each for name, each in factors.items()} if doubled else factors


WRONG_ANSWERS = {
    "20.1": [
        # the rank of a small layer is not limited
        lambda shapes, rank: _cost(shapes, rank, limited=False),
        # one moment only
        lambda shapes, rank: _cost(shapes, rank, moments=4),
        # a file in float32
        lambda shapes, rank: _cost(shapes, rank, file=4),
        # r m n in place of r (m + n)
        lambda shapes, rank: _cost(shapes, rank, product=True),
        # only the first layer
        lambda shapes, rank: _cost(shapes[:1], rank),
        # gradients counted among the moments
        lambda shapes, rank: _cost(shapes, rank, moments=12),
    ],
    "20.2": [
        # -1 takes the last adapter
        lambda *given: _batch(*given, masked=False),
        # everyone has the first adapter
        lambda x, weight, downs, ups, which: _batch(x, weight, downs, ups, which.clamp(max=0)),
        # the texts' adapters in another order
        lambda *given: _batch(*given, turned=True),
        # the base left out
        lambda *given: _batch(*given, alone=True),
        # no adapter at all
        lambda x, weight, downs, ups, which: x @ weight.T,
        # all adapters at once
        lambda x, weight, downs, ups, which: x @ (weight + (ups @ downs).sum(dim=0)).T,
        _into_the_argument,
    ],
    "20.3": [
        # nothing is changed
        lambda network, part: {},
        # three steps
        lambda network, part: _trained(network, part),
        # too high a rank
        lambda network, part: _trained(network, part, rank=4),
        # B and A changed places
        lambda network, part: _trained(network, part, swapped=True),
        # names of weights, not of layers
        lambda network, part: _trained(network, part, doubled=True),
        # factors drawn and not trained
        lambda network, part: {"head": (torch.randn(65, 1), torch.randn(1, 96))},
        lambda network, part: {"head": (torch.full((65, 1), float("nan")), torch.ones(1, 96))},
        lambda network, part: {"head": torch.zeros(65, 96)},
        lambda network, part: None,
    ],
}
