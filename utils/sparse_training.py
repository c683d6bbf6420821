"""Training with masks that change: in rounds, or with a fixed number of weights that move (SET and RigL)."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from utils.input_validation import require_fraction, require_int
from utils.pruning import (
    Masks,
    apply_masks,
    global_magnitude_masks,
    magnitude_scores,
    mask_by_score,
    prunable,
    random_scores,
    sparsity_after,
)


class RoundsPruner:
    """Prune in rounds that each remove the same ratio of what is left: an `after_step` hook for `training.fit`.

    Round number n, counted from 0, comes after step n end / rounds; the sparsity is `final` after the last.

    Args:
        model: the network, changed in place by each call.
        final: sparsity after the last round, one threshold for the whole network.
        rounds: at least 1; with one round it is one cut at step 0.
        end: the step at which a further round would come.

    >>> network, sparsities = nn.Linear(100, 10), []
    >>> pruner = RoundsPruner(network, final=0.75, rounds=2, end=10)
    >>> for step in range(6):
    ...     pruner(step)
    ...     sparsities.append(float((network.weight == 0).float().mean()))
    >>> sparsities
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.75]
    """

    def __init__(self, model: nn.Module, *, final: float, rounds: int, end: int):
        self._model = model
        ratio = 1 - (1 - require_fraction("final", final)) ** (1 / require_int("rounds", rounds, minimum=1))
        self._due = {n * end // rounds: sparsity_after(n + 1, ratio) for n in range(rounds)}
        self.masks: Masks = global_magnitude_masks(model, 0.0)

    def __call__(self, step: int) -> None:
        """Apply the latest masks after an update, having computed new ones if a round is due."""
        apply_masks(self._model, self.masks)  # what is gone is zero, and so the first to stay away
        if step in self._due:
            self.masks = global_magnitude_masks(self._model, self._due[step])
            apply_masks(self._model, self.masks)


def erdos_renyi_sparsities(model: nn.Module, sparsity: float) -> dict[str, float]:
    """Return a sparsity for each weight: a layer's density is in proportion to (inputs + outputs + kernel) / weights.

    Small layers, which every signal must pass, stay denser than large ones; over all layers it is `sparsity`. A layer
    that would have to be more than dense is dense, and the others share the rest.

    Source: Mocanu et al., "SET", 2018; with the kernel, Evci et al., "RigL", 2020, section 3.

    >>> from utils.models import LeNet300100
    >>> {name: round(s, 3) for name, s in erdos_renyi_sparsities(LeNet300100(), 0.98).items()}
    {'fc1.weight': 0.985, 'fc2.weight': 0.955, 'fc3.weight': 0.633}
    """
    shapes = {name: weight.shape for name, weight in prunable(model).items()}
    left = (1 - require_fraction("sparsity", sparsity)) * sum(shape.numel() for shape in shapes.values())
    dense: set[str] = set()
    while True:
        scale = (left - sum(shapes[n].numel() for n in dense)) / sum(
            sum(s) for n, s in shapes.items() if n not in dense
        )
        full = {name for name, shape in shapes.items() if name not in dense and scale * sum(shape) > shape.numel()}
        if not full:
            return {n: 0.0 if n in dense else 1 - scale * sum(s) / s.numel() for n, s in shapes.items()}
        dense |= full


def random_masks(model: nn.Module, sparsities: Mapping[str, float], generator: torch.Generator) -> Masks:
    """Keep weights at random places, each layer at its own sparsity; the counts are exact.

    >>> masks = random_masks(nn.Linear(10, 10), {"weight": 0.9}, torch.Generator().manual_seed(0))
    >>> int(masks["weight"].sum())
    10
    """
    weights = prunable(model)
    return {name: mask_by_score(random_scores(weights[name], generator), s) for name, s in sparsities.items()}


def drop_and_grow(mask: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, count: int) -> torch.Tensor:
    """Drop the `count` kept weights of smallest magnitude and grow as many removed ones where |gradient| is largest.

    What was just dropped does not return at once: grown are places that were removed *before*. If fewer than `count`
    are kept, or removed, the smaller number moves. Of equal ones the earlier go and the earlier come.

    Args:
        mask: bool, any shape; it is not changed.
        weight, gradient: of the same shape.
        count: at least 0.

    Source: Evci et al., "Rigging the lottery" (RigL), 2020, section 3.

    >>> mask = torch.tensor([True, True, False, False])
    >>> drop_and_grow(mask, torch.tensor([-2.0, 1.0, 0.0, 0.0]), torch.tensor([0.0, 9.0, 1.0, -2.0]), 1)
    tensor([ True, False, False,  True])
    """
    old = mask.flatten()
    count = min(count, int(old.sum()), int((~old).sum()))
    magnitude = weight.detach().abs().flatten().masked_fill(~old, math.inf)
    slope = gradient.detach().abs().flatten().masked_fill(old, -math.inf)
    new = old.clone()
    new[magnitude.argsort(stable=True)[:count]] = False
    new[slope.argsort(stable=True, descending=True)[:count]] = True
    return new.view_as(mask)


class MovingMasks:
    """Train a fixed number of weights that move: an `after_step` hook for `training.fit`.

    Until step `end`, every `every` steps, each layer drops a share of its smallest weights and grows as many elsewhere;
    the share falls from `share` to 0 along a cosine. Grown weights start at zero. Only the gradients of weights that
    are there reach the optimizer, as in a training that is really sparse. RigL needs the others too, but only at the
    steps that move weights; `moves` counts them.

    Args:
        model: the network; its removed weights are set to zero now.
        masks: what is there at first, by name.
        every: steps between two moves, at least 1.
        end: no move at this step or later; 0 for masks that never move.
        share: of each layer's weights that move at first, from 0 to 1.
        grow_by: scores for growth from the gradient, the highest grow; |gradient| is RigL, random scores are SET.

    Source: Evci et al., RigL, 2020, section 3; Mocanu et al., SET, 2018.

    >>> network, first = nn.Linear(4, 1), {"weight": torch.tensor([[True, False, False, False]])}
    >>> moving = MovingMasks(network, first, every=1, end=2, share=1.0)
    >>> network(torch.tensor([[1.0, 1.0, 5.0, 1.0]])).sum().backward()
    >>> moving(0)
    >>> moving.masks["weight"].tolist(), moving.moves
    ([[False, False, True, False]], 1)
    """

    def __init__(
        self,
        model: nn.Module,
        masks: Mapping[str, torch.Tensor],
        *,
        every: int,
        end: int,
        share: float = 0.3,
        grow_by: Callable[[torch.Tensor], torch.Tensor] = magnitude_scores,
    ):
        self.masks: Masks = {name: mask.clone() for name, mask in masks.items()}
        self.moves = 0
        self._model, self._end, self._grow_by = model, end, grow_by
        self._every = require_int("every", every, minimum=1)
        self._share = require_fraction("share", share)
        self._gradients: dict[str, torch.Tensor] = {}
        self._weights = {name: weight for name, weight in prunable(model).items() if name in masks}
        self._hooks = [weight.register_hook(partial(self._masked, name)) for name, weight in self._weights.items()]
        apply_masks(model, self.masks)

    def _masked(self, name: str, gradient: torch.Tensor) -> torch.Tensor:
        self._gradients[name] = gradient
        return gradient * self.masks[name]

    def __call__(self, step: int) -> None:
        """Put the masks back after an update, having moved weights if that is due at this step."""
        apply_masks(self._model, self.masks)
        if step < self._end and step % self._every == 0:
            share = self._share / 2 * (1 + math.cos(math.pi * step / self._end))
            self.moves += 1
            for name, mask in self.masks.items():
                scores = self._grow_by(self._gradients[name])
                self.masks[name] = drop_and_grow(mask, self._weights[name], scores, round(share * int(mask.sum())))
            apply_masks(self._model, self.masks)
        self._gradients.clear()

    def remove(self) -> None:
        """Take the hooks off the weights, so that the network can go on without masks."""
        for hook in self._hooks:
            hook.remove()
