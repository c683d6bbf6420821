"""Pruning in three steps - scores, masks, application - with schedules and honest byte counts.

A score says how much a weight matters (higher stays), a mask is a bool tensor of the weight's shape (True stays), and
applying a mask sets the rest to zero. Zeros change neither the file nor the clock: `utils.structured_pruning` makes
layers that are really smaller. The inverse criterion, a check on any other, is `-scores`.
"""

import math
from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn

from utils.accounting import packed_bytes
from utils.input_validation import (
    require_fraction,
    require_int,
    require_module,
    require_number,
    require_parameter,
    require_tensor,
)

Masks = dict[str, torch.Tensor]
"""A bool mask for each weight, by the weight's name in `model.named_parameters()`; True stays."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""The convolutions whose weights are pruned: outputs before inputs, which transposed ones have the other way round."""


# --- scores: how much each weight matters ----------------------------------------------------------------------------


def magnitude_scores(weight: torch.Tensor) -> torch.Tensor:
    """Score each weight by its magnitude: |w| (Han et al., "Learning both weights and connections", 2015, section 3).

    Any L_n norm of a single number is its magnitude, so L1 and L2 differ for groups only: see `group_scores`.

    Raises:
        TypeError, ValueError: no floating-point tensor, empty, or not finite.

    >>> magnitude_scores(torch.tensor([-3.0, 0.5]))
    tensor([3.0000, 0.5000])
    """
    return require_tensor("weight", weight).detach().abs()


def random_scores(weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Score each weight by an independent uniform draw from [0, 1): the control for every other criterion.

    With `mask_by_score` the number of zeros is exact; `bernoulli_mask` is the other random pruning, where it varies.

    Raises:
        TypeError, ValueError: see `magnitude_scores`; or `generator` is none.

    >>> random_scores(torch.ones(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    require_tensor("weight", weight)
    # Drawn where the generator lives and moved then: one seed gives one mask, whatever device the network is on.
    return _uniform(tuple(weight.shape), generator).to(weight.device)


def taylor_scores(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Score each weight by how much the loss moves, to first order, when it becomes zero: |g w|.

    Args:
        weight: any shape.
        gradient: of the loss by `weight`, of the same shape.

    Raises:
        TypeError, ValueError: no floating-point tensor, empty, not finite, or of different shapes.

    Source: Lee et al., "SNIP", 2019, section 4; Molchanov et al., "Importance estimation", 2019, section 3.

    >>> taylor_scores(torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0]))
    tensor([1., 3.])
    """
    require_tensor("weight", weight)
    if gradient is None:
        raise TypeError("gradient is None: call backward() on a loss first, and read weight.grad before it is cleared")
    require_tensor("gradient", gradient)
    _require_shape("gradient", gradient, tuple(weight.shape))
    return (gradient * weight).detach().abs()


def activation_scores(weight: torch.Tensor, input_norm: torch.Tensor) -> torch.Tensor:
    """Score each weight by its magnitude times the norm of what it multiplies: |w_ij| ||x_j||.

    Wanda compares the scores within each output: `mask_each_row(activation_scores(...), sparsity)`.

    Args:
        weight: shape (outputs, inputs / groups, ...), of a linear layer or a convolution.
        input_norm: shape (inputs,), as `input_norms` measures it; the number of groups follows from the two.

    Raises:
        TypeError, ValueError: no floating-point tensor, empty, not finite, negative norms, or shapes that do not fit.

    Source: Sun et al., "A simple and effective pruning approach for large language models" (Wanda), 2023, section 3.

    >>> activation_scores(torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([10.0, 1.0]))
    tensor([[10.0000,  2.0000],
            [30.0000,  0.5000]])
    """
    require_tensor("weight", weight)
    require_tensor("input_norm", input_norm)
    if weight.dim() < 2:
        raise ValueError(f"weight must have the shape (outputs, inputs, ...), got {tuple(weight.shape)}")
    outputs, inputs_a_group = weight.shape[:2]
    groups = input_norm.numel() // inputs_a_group
    if input_norm.dim() != 1 or groups * inputs_a_group != input_norm.numel() or outputs % max(groups, 1):
        raise ValueError(
            f"input_norm must have the shape ({inputs_a_group},), one norm an input of the weight of shape "
            f"{tuple(weight.shape)}, or that times the groups of a convolution; got {tuple(input_norm.shape)}"
        )
    if bool((input_norm < 0).any()):
        raise ValueError(f"input_norm must not be negative, got {input_norm.min().item():g}; give norms, not inputs")
    norms = input_norm.detach().view(groups, inputs_a_group).repeat_interleave(outputs // groups, dim=0)
    norms = norms.view(outputs, inputs_a_group, *[1] * (weight.dim() - 2))  # (outputs, inputs / groups, 1, 1)
    return weight.detach().abs() * norms


def group_scores(weight: torch.Tensor, *, dim: int = 0, n: float = 2.0) -> torch.Tensor:
    """Score each row, filter or channel by its L_n norm: (sum |w|^n)^(1/n) over all dimensions but `dim`.

    Args:
        weight: shape (outputs, inputs, ...).
        dim: 0 for rows and filters, 1 for columns and input channels.
        n: 1, 2, `math.inf` (the largest magnitude), or any other number of at least 1.

    Returns:
        shape (weight.shape[dim],).

    Raises:
        TypeError, ValueError: see `magnitude_scores`; or `dim` or `n` out of range.

    Source: Li et al., "Pruning filters for efficient ConvNets", 2017, section 3.1 (n = 1).

    >>> group_scores(torch.tensor([[3.0, -4.0], [0.0, 1.0]]), n=1)
    tensor([7., 1.])
    """
    require_tensor("weight", weight)
    n = n if n == math.inf else require_number("n", n, low=1.0)
    dim = _require_dim(dim, weight.dim())
    rows = weight.detach().movedim(dim, 0).reshape(weight.shape[dim], -1)  # (groups, weights in each)
    return torch.linalg.vector_norm(rows, ord=n, dim=1)


@torch.no_grad()
def input_norms(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Measure the L2 norm of each input of each prunable layer over all images: sqrt(sum x_j^2), for Wanda.

    The sum of a convolution runs over images and places. The model computes in evaluation mode; its mode is restored.

    Args:
        model: the network.
        images: a calibration batch, shape (N, ...), on the model's device.

    Returns:
        for each name in `prunable(model)`, shape (inputs of the layer,).

    Raises:
        TypeError, ValueError: no network, nothing to prune in it, no tensor, or no images.

    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False))
    >>> input_norms(model, torch.tensor([[3.0, 1.0], [4.0, 0.0]]))
    {'0.weight': tensor([5., 1.])}
    """
    names = {id(weight): name for name, weight in _require_prunable(model).items()}
    require_tensor("images", images)
    squares: dict[str, torch.Tensor] = {}

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        # a layer's inputs lie along the last dimension, a convolution's along the one before its places
        places = 0 if isinstance(module, nn.Linear) else module.weight.dim() - 2
        x = inputs[0].movedim(-1 - places, -1)
        name = names[id(module.weight)]
        squares[name] = squares.get(name, 0) + x.reshape(-1, x.shape[-1]).square().sum(dim=0)

    hooks = [m.register_forward_pre_hook(add) for m in model.modules() if id(getattr(m, "weight", None)) in names]
    training = model.training
    model.eval()
    try:
        model(images)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return {name: squares[name].sqrt() for name in names.values() if name in squares}


# --- masks: which weights stay ---------------------------------------------------------------------------------------


def pruned_count(total: int, sparsity: float) -> int:
    """Return how many of `total` weights a sparsity removes: round(sparsity total), halves to even as PyTorch does.

    Raises:
        TypeError, ValueError: `total` is no integer of at least 0, or `sparsity` not in [0, 1].

    >>> pruned_count(1000, 0.488), pruned_count(5, 0.5)
    (488, 2)
    """
    return round(require_fraction("sparsity", sparsity) * require_int("total", total))


def mask_by_score(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Keep the weights with the highest scores; exactly round(sparsity numel) go, of equal ones the earlier first.

    Args:
        scores: any shape; higher stays.
        sparsity: fraction of zeros, from 0 (all stay) to 1 (all go).

    Returns:
        a bool tensor of the same shape; True stays.

    Raises:
        TypeError, ValueError: `scores` is no floating-point tensor, empty or not finite; `sparsity` not in [0, 1].

    >>> mask_by_score(torch.tensor([[3.0, 1.0], [2.0, 4.0]]), 0.5)
    tensor([[ True, False],
            [False,  True]])
    >>> mask_by_score(torch.ones(4), 0.25)
    tensor([False,  True,  True,  True])
    """
    require_tensor("scores", scores)
    return _highest(scores, pruned_count(scores.numel(), sparsity))


def mask_each_row(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Keep the highest scores of each row on its own, so that every output loses round(sparsity inputs) weights.

    Args:
        scores: shape (outputs, ...).
        sparsity: fraction of zeros in each row, from 0 to 1.

    Raises:
        TypeError, ValueError: see `mask_by_score`; or `scores` has no rows.

    Source: Sun et al. (Wanda), 2023, section 3, which found the group of comparison to matter.

    >>> mask_each_row(torch.tensor([[1.0, 2.0], [30.0, 40.0]]), 0.5)
    tensor([[False,  True],
            [False,  True]])
    """
    require_tensor("scores", scores)
    if scores.dim() < 2:
        raise ValueError(f"scores must have the shape (outputs, inputs, ...), got {tuple(scores.shape)}")
    count = pruned_count(scores[0].numel(), sparsity)
    return torch.stack([_highest(row, count) for row in scores])


def global_masks(scores_by_name: Mapping[str, torch.Tensor], sparsity: float) -> Masks:
    """Keep the highest scores of all tensors taken together: one threshold, a different sparsity in each tensor.

    Args:
        scores_by_name: one tensor of scores, of any shape, for each name; they must be on one scale.
        sparsity: fraction of zeros among all of them, from 0 to 1; the count is exact.

    Raises:
        TypeError, ValueError: see `mask_by_score`; or there are no tensors.

    >>> masks = global_masks({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([2.0, 3.0, 4.0])}, 0.4)
    >>> {name: mask.tolist() for name, mask in masks.items()}
    {'a': [False, True], 'b': [False, True, True]}
    """
    if not isinstance(scores_by_name, Mapping):
        raise TypeError(f"scores_by_name must map names to tensors, got {type(scores_by_name).__name__}")
    if not scores_by_name:
        raise ValueError("scores_by_name is empty: give the scores of at least one weight")
    for name, scores in scores_by_name.items():
        require_tensor(f"scores_by_name[{name!r}]", scores)
    together = mask_by_score(torch.cat([scores.flatten() for scores in scores_by_name.values()]), sparsity)
    parts = together.split([scores.numel() for scores in scores_by_name.values()])
    return {name: part.view(s.shape) for (name, s), part in zip(scores_by_name.items(), parts, strict=True)}


def tighten_mask(mask: torch.Tensor, scores: torch.Tensor, ratio: float) -> torch.Tensor:
    """Remove a ratio of what a mask still keeps, lowest scores first: round(ratio kept) more zeros.

    This is one round of iterative pruning, and what PyTorch's `PruningContainer` computes: ratios multiply, they do
    not add up (see `sparsity_after`).

    Args:
        mask: bool, any shape.
        scores: the same shape; those of removed weights do not count.
        ratio: from 0 to 1.

    Raises:
        TypeError, ValueError: see `mask_by_score`; or `mask` is not bool or of another shape.

    >>> first = tighten_mask(torch.ones(5, dtype=torch.bool), torch.arange(5.0), 0.4)
    >>> tighten_mask(first, torch.arange(5.0), 0.4)
    tensor([False, False, False,  True,  True])
    """
    require_tensor("scores", scores)
    _require_mask("mask", mask, tuple(scores.shape))
    tightened = mask.clone()
    kept = scores[mask]  # (kept,)
    tightened[mask] = _highest(kept, pruned_count(kept.numel(), require_fraction("ratio", ratio)))
    return tightened


def bernoulli_mask(shape: Collection[int], sparsity: float, generator: torch.Generator) -> torch.Tensor:
    """Remove each weight by its own draw with probability `sparsity`: the number of zeros varies, Binomial(numel, s).

    Args:
        shape: of the mask; at least one element.
        sparsity: the expected fraction of zeros, from 0 to 1.
        generator: to draw from; the mask is on its device.

    Raises:
        TypeError, ValueError: a shape that is none, `sparsity` not in [0, 1], or `generator` is none.

    >>> generator = torch.Generator().manual_seed(0)
    >>> zeros = [int((~bernoulli_mask((100,), 0.5, generator)).sum()) for _ in range(10)]
    >>> min(zeros) < max(zeros)
    True
    """
    sizes = tuple(require_int("shape", size, minimum=1) for size in shape)
    return _uniform(sizes, generator) >= require_fraction("sparsity", sparsity)


def n_of_m_mask(scores: torch.Tensor, *, n: int = 2, m: int = 4) -> torch.Tensor:
    """Keep the `n` highest scores of every `m` consecutive inputs, the semi-structured pattern of some GPUs (2:4).

    Args:
        scores: shape (outputs, inputs, ...), inputs a multiple of `m`; for a weight give `magnitude_scores(weight)`. A
            group of a convolution holds m neighbouring input channels at one place of the kernel.
        n: kept in each group, from 0 to m.
        m: the size of a group, at least 1.

    Raises:
        TypeError, ValueError: see `mask_by_score`; or a shape that does not divide into groups, or n > m.

    Source: Mishra et al., "Accelerating sparse deep neural networks", 2021, section 3.

    >>> n_of_m_mask(torch.tensor([[4.0, 1.0, 3.0, 2.0, 5.0, 5.0, 5.0, 9.0]]))
    tensor([[ True, False,  True, False, False, False,  True,  True]])
    """
    require_tensor("scores", scores)
    m = require_int("m", m, minimum=1)
    n = require_int("n", n)
    if n > m:
        raise ValueError(f"n must be at most m = {m}, got {n}")
    if scores.dim() < 2 or scores.shape[1] % m:
        raise ValueError(
            f"scores must have the shape (outputs, inputs, ...) with inputs a multiple of m = {m}, got "
            f"{tuple(scores.shape)}; leave such a layer dense"
        )
    inputs_last = scores.movedim(1, -1)  # (outputs, ..., inputs)
    groups = inputs_last.reshape(-1, m)  # (groups, m)
    lowest = groups.argsort(dim=1, stable=True)[:, : m - n]  # (groups, m - n)
    mask = torch.ones_like(groups, dtype=torch.bool).scatter_(1, lowest, False)
    return mask.view(inputs_last.shape).movedim(-1, 1).contiguous()


def spread_mask(group_mask: torch.Tensor, shape: Collection[int], *, dim: int = 0) -> torch.Tensor:
    """Make the mask of a weight from one bool for each of its rows or filters: those of a group share its fate.

    Args:
        group_mask: bool, shape (shape[dim],).
        shape: of the weight.
        dim: the dimension of the groups: 0 for rows and filters, 1 for columns and input channels.

    Raises:
        TypeError, ValueError: `group_mask` is not bool or does not fit, or `dim` is out of range.

    >>> spread_mask(torch.tensor([True, False]), (2, 3))
    tensor([[ True,  True,  True],
            [False, False, False]])
    """
    sizes = tuple(require_int("shape", size, minimum=1) for size in shape)
    dim = _require_dim(dim, len(sizes))
    _require_mask("group_mask", group_mask, (sizes[dim],))
    return group_mask.view([-1 if d == dim else 1 for d in range(len(sizes))]).expand(sizes).clone()


def mask_sparsity(masks: Mapping[str, torch.Tensor]) -> float:
    """Return the fraction of zeros in all masks together, from 0 to 1; `accounting.sparsity` counts biases too.

    Raises:
        ValueError: there are no masks.

    >>> mask_sparsity({"a": torch.tensor([True, False]), "b": torch.tensor([True, True])})
    0.25
    """
    if not masks:
        raise ValueError("masks is empty: give at least one mask")
    kept = sum(int(mask.sum()) for mask in masks.values())
    return 1.0 - kept / sum(mask.numel() for mask in masks.values())


# --- application: masks on a network ---------------------------------------------------------------------------------


def prunable(model: nn.Module, *, skip: Collection[str] = ()) -> dict[str, nn.Parameter]:
    """Return the weights that pruning may touch by name: of linear and convolutional layers, no biases, no batch norm.

    A parameter that several layers share comes once, under the first of its names. Transposed convolutions are left
    out: their weights have inputs before outputs.

    Args:
        model: the network.
        skip: names to leave out, such as `("conv1.weight",)`.

    Raises:
        TypeError: `model` is no network, or `skip` is a string.
        ValueError: `skip` holds a name that is no prunable weight, or a weight is reparametrised.

    >>> list(prunable(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Linear(2, 2))))
    ['0.weight', '3.weight']
    """
    if isinstance(skip, str):
        raise TypeError(f"skip must be a collection of names, got the string {skip!r}; write ({skip!r},)")
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for prefix, module in require_module("model", model).named_modules():
        if isinstance(module, (nn.Linear, *CONVOLUTIONS)):
            name = f"{prefix}.weight" if prefix else "weight"
            found.setdefault(id(module.weight), (name, require_parameter(name, module.weight)))
    weights = dict(found.values())
    for name in skip:
        if name not in weights:
            raise ValueError(f"skip names {name!r}, which is no prunable weight; there are: {_listed(weights)}")
    return {name: weight for name, weight in weights.items() if name not in skip}


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Set the weights that the masks remove to zero, in place; all others, and every bias, stay as they are.

    All masks are checked before any weight is touched.

    Args:
        model: the network.
        masks: bool, for names in `prunable(model)`, each of its weight's shape; weights without a mask stay whole.

    Raises:
        TypeError, ValueError: no network, an unknown name, a mask that is not bool or of another shape.

    >>> layer = nn.Linear(2, 1)
    >>> apply_masks(layer, {"weight": torch.tensor([[True, False]])})
    >>> layer.weight[0, 1].item()
    0.0
    """
    weights = prunable(model)
    for name, mask in masks.items():
        if name not in weights:
            raise ValueError(f"masks holds {name!r}, which is no prunable weight; there are: {_listed(weights)}")
        _require_mask(f"masks[{name!r}]", mask, tuple(weights[name].shape))
    for name, mask in masks.items():
        # Not weight * mask: a negative weight would become -0.0, whose sign bit spoils the compression of the file.
        weights[name].masked_fill_(~mask.to(weights[name].device), 0.0)


def keep_masks(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> Callable[[int], None]:
    """Apply the masks now, and return an `after_step` hook for `training.fit` that applies them after every update.

    The optimizer moves zeros too, since their gradients are not zero: without the hook a pruned network is dense again
    after one step.

    Raises:
        TypeError, ValueError: see `apply_masks`.

    >>> layer = nn.Linear(2, 1)
    >>> after_step = keep_masks(layer, {"weight": torch.tensor([[True, False]])})
    >>> _ = layer.weight.data.add_(1.0)
    >>> after_step(0)
    >>> layer.weight[0, 1].item()
    0.0
    """
    kept = {name: mask.clone() for name, mask in masks.items()}  # a later change of the caller's must not reach us
    apply_masks(model, kept)
    return lambda step: apply_masks(model, kept)


def global_magnitude_masks(model: nn.Module, sparsity: float, *, skip: Collection[str] = ()) -> Masks:
    """Keep the largest weights of the whole network: one threshold on |w| for all layers, an exact count of zeros.

    Args:
        model: the network; it is not changed.
        sparsity: fraction of zeros among the prunable weights that are not skipped, from 0 to 1.
        skip: names to leave dense; they get no mask.

    Raises:
        TypeError, ValueError: no network, nothing to prune in it, weights not finite, `sparsity` not in [0, 1].

    >>> from utils.models import LeNet300100
    >>> masks = global_magnitude_masks(LeNet300100(), 0.9)
    >>> sum(int(mask.sum()) for mask in masks.values())
    26620
    """
    return global_masks(_magnitudes(_require_prunable(model, skip)), sparsity)


def layerwise_magnitude_masks(
    model: nn.Module, sparsity: float | Mapping[str, float], *, skip: Collection[str] = ()
) -> Masks:
    """Keep the largest weights of each layer on its own: the same sparsity for all, or one for each name.

    Args:
        model: the network; it is not changed.
        sparsity: from 0 to 1 for every layer, or by name of the weight; layers without an entry get no mask.
        skip: names to leave dense; they get no mask.

    Raises:
        TypeError, ValueError: see `global_magnitude_masks`; or `sparsity` has an unknown name.

    >>> from utils.models import LeNet300100
    >>> masks = layerwise_magnitude_masks(LeNet300100(), {"fc1.weight": 0.95, "fc2.weight": 0.9})
    >>> {name: int(mask.sum()) for name, mask in masks.items()}
    {'fc1.weight': 11760, 'fc2.weight': 3000}
    """
    weights = _require_prunable(model, skip)
    wanted = _by_name(sparsity, weights) if isinstance(sparsity, Mapping) else dict.fromkeys(weights, sparsity)
    scores = _magnitudes({name: weights[name] for name in wanted})
    return {name: mask_by_score(scores[name], value) for name, value in wanted.items()}


# --- schedules: how much when ----------------------------------------------------------------------------------------


def sparsity_after(rounds: int, ratio: float) -> float:
    """Return the sparsity after some rounds that each remove `ratio` of what is left: 1 - (1 - ratio)^rounds.

    Raises:
        TypeError, ValueError: `rounds` is no integer of at least 0, or `ratio` not in [0, 1].

    Three times 20 % is not 60 %:

    >>> round(sparsity_after(3, 0.2), 3)
    0.488
    """
    return 1.0 - (1.0 - require_fraction("ratio", ratio)) ** require_int("rounds", rounds)


def cubic_sparsity(step: int, *, start: int, end: int, final: float, initial: float = 0.0) -> float:
    """Return the gradual schedule's sparsity: final + (initial - final) (1 - (step - start) / (end - start))^3.

    It rises fast while there is much to spare and slowly towards the end; before `start` it is `initial`, from `end`
    on `final`. With `start` equal to `end` it is one jump: one-shot pruning in the same loop.

    Raises:
        TypeError, ValueError: steps that are no integers of at least 0, or end < start; sparsities not in [0, 1], or
            final < initial.

    Source: Zhu and Gupta, "To prune, or not to prune", 2017, equation 1.

    >>> [round(cubic_sparsity(step, start=0, end=10, final=0.8), 3) for step in (0, 5, 10, 99)]
    [0.0, 0.7, 0.8, 0.8]
    """
    step, start, end = require_int("step", step), require_int("start", start), require_int("end", end)
    final, initial = require_fraction("final", final), require_fraction("initial", initial)
    if end < start:
        raise ValueError(f"end must be at least start = {start}, got {end}")
    if final < initial:
        raise ValueError(f"final must be at least initial = {initial:g}, got {final:g}: pruning does not bring back")
    if step >= end:
        return final
    if step <= start:
        return initial
    left = 1.0 - (step - start) / (end - start)
    return final + (initial - final) * left**3


class GradualPruner:
    """Prune more and more during training: an `after_step` hook for `training.fit` on the cubic schedule.

    Every `every` steps from `start` on, and at `end`, it computes magnitude masks at the scheduled sparsity; after each
    step it applies the latest. What is gone stays gone.

    Do not give `fit` a validation split in the same run: it would bring back the weights of the best epoch, which may
    be an early one of lower sparsity. Choose the epoch in a second `fit` with `keep_masks(model, pruner.masks)`.

    Args:
        model: the network, changed in place by each call.
        final: sparsity at the end, from 0 to 1: a number for the network as a whole (one threshold), or a number for
            each name in `prunable(model)`, where layers without an entry stay dense.
        start, end: steps counted from 0 as `fit` counts them; equal for one-shot pruning.
        every: steps between two updates of the masks, at least 1.

    Attributes:
        masks: the latest masks, all True before the first update.
        sparsity: the fraction of zeros in them.

    Raises:
        TypeError, ValueError: a value of the wrong type or out of range, nothing to prune, an unknown name; and by a
            call, steps that run backwards.

    Source: Zhu and Gupta, "To prune, or not to prune", 2017, section 3.

    >>> pruner = GradualPruner(nn.Linear(100, 10), final=0.9, start=0, end=20, every=10)
    >>> sparsities = []
    >>> for step in range(25):
    ...     pruner(step)  # after the optimizer's step, that is
    ...     sparsities.append(round(pruner.sparsity, 3))
    >>> sparsities[0], sparsities[9], sparsities[10], sparsities[20], sparsities[24]
    (0.0, 0.0, 0.788, 0.9, 0.9)
    """

    def __init__(self, model: nn.Module, *, final: float | Mapping[str, float], start: int, end: int, every: int):
        weights = _require_prunable(model)
        self._final = _by_name(final, weights) if isinstance(final, Mapping) else require_fraction("final", final)
        cubic_sparsity(0, start=start, end=end, final=0.0)  # raises now what the first call would
        self._model, self._start, self._end = model, start, end
        self._every = require_int("every", every, minimum=1)
        self._last_step = -1
        names = self._final if isinstance(self._final, dict) else weights
        self.masks: Masks = {name: torch.ones_like(weights[name], dtype=torch.bool) for name in names}

    @property
    def sparsity(self) -> float:
        """The fraction of zeros in the latest masks, from 0 to 1."""
        return mask_sparsity(self.masks)

    def __call__(self, step: int) -> None:
        """Apply the latest masks after an update, having computed new ones if they are due at this step."""
        if require_int("step", step) <= self._last_step:
            raise ValueError(
                f"step must be above {self._last_step}, the last one, got {step}; one pruner serves one training: in "
                "the next one use keep_masks(model, pruner.masks) or a new pruner"
            )
        self._last_step = step
        # The old masks first: the update has moved the zeros, and they would compete with small weights that are kept.
        apply_masks(self._model, self.masks)
        if not self._start <= step <= self._end:
            return
        if (step - self._start) % self._every == 0 or step == self._end:
            self.masks = self._masks_at(step)
            apply_masks(self._model, self.masks)

    def _masks_at(self, step: int) -> Masks:
        def now(final: float) -> float:
            return cubic_sparsity(step, start=self._start, end=self._end, final=final)

        if isinstance(self._final, dict):
            return layerwise_magnitude_masks(self._model, {name: now(final) for name, final in self._final.items()})
        return global_magnitude_masks(self._model, now(self._final))


# --- storage: what the zeros save, indices included ------------------------------------------------------------------


def dense_bytes(rows: int, columns: int, *, value_bytes: int = 4) -> int:
    """Return the bytes of a dense matrix: rows columns value_bytes. Zeros cost as much as any other value.

    Raises:
        TypeError, ValueError: no integers of at least 1.

    >>> dense_bytes(300, 784)
    940800
    """
    _require_matrix(rows, columns, 0)
    return rows * columns * require_int("value_bytes", value_bytes, minimum=1)


def csr_bytes(rows: int, columns: int, nonzeros: int, *, value_bytes: int = 4, index_bytes: int = 4) -> int:
    """Return the bytes of compressed-row storage: nonzeros (value_bytes + index_bytes) + (rows + 1) pointers.

    Each value has its column beside it; the pointers say where each row starts. A pointer counts up to `nonzeros` and
    so has 4 bytes also where columns need fewer, and 8 where columns have 8, as in SciPy (4) and PyTorch (8).

    Args:
        rows, columns: of the matrix; a convolution's are filters and the weights in each.
        nonzeros: from 0 to rows columns.
        value_bytes: 4 for float32, 2 for float16.
        index_bytes: of a column's number; `columns` must be at most 256^index_bytes.

    Raises:
        TypeError, ValueError: no integers, or out of range.

    >>> csr_bytes(300, 784, 23520), csr_bytes(300, 784, 23520, index_bytes=2)
    (189364, 142324)
    """
    _require_matrix(rows, columns, nonzeros)
    require_int("value_bytes", value_bytes, minimum=1)
    if columns > 256 ** require_int("index_bytes", index_bytes, minimum=1):
        raise ValueError(
            f"index_bytes must be at least {((columns - 1).bit_length() + 7) // 8} to number {columns} columns, "
            f"got {index_bytes}"
        )
    return nonzeros * (value_bytes + index_bytes) + (rows + 1) * max(4, index_bytes)


def bitmask_bytes(rows: int, columns: int, nonzeros: int, *, value_bytes: int = 4) -> int:
    """Return the bytes of a bit for each weight and the non-zero values: ceil(rows columns / 8) + nonzeros value_bytes.

    Raises:
        TypeError, ValueError: no integers, or out of range.

    >>> bitmask_bytes(300, 784, 23520)
    123480
    """
    _require_matrix(rows, columns, nonzeros)
    return packed_bytes(rows * columns, 1) + nonzeros * require_int("value_bytes", value_bytes, minimum=1)


def csr_break_even(rows: int, columns: int, *, value_bytes: int = 4, index_bytes: int = 4) -> float:
    """Return the sparsity above which compressed rows are smaller than the dense matrix.

    Solves dense_bytes = csr_bytes for nonzeros: 1 - (dense - pointers) / (rows columns (value_bytes + index_bytes)),
    which is close to index_bytes / (value_bytes + index_bytes). Above 1 it never pays: the pointers alone are larger.

    Raises:
        TypeError, ValueError: see `csr_bytes`.

    >>> round(csr_break_even(300, 784), 4), round(csr_break_even(300, 784, index_bytes=2), 4)
    (0.5006, 0.3342)
    """
    dense = dense_bytes(rows, columns, value_bytes=value_bytes)
    pointers = csr_bytes(rows, columns, 0, value_bytes=value_bytes, index_bytes=index_bytes)
    return 1.0 - (dense - pointers) / (rows * columns * (value_bytes + index_bytes))


# --- helpers ---------------------------------------------------------------------------------------------------------


def _highest(scores: torch.Tensor, gone: int) -> torch.Tensor:
    """Return the mask of all but the `gone` lowest scores; of equal ones at the threshold the earlier go."""
    flat = scores.detach().flatten()
    if gone == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    # A threshold instead of a sort: several times faster, which tells when masks are computed during training.
    threshold = flat.kthvalue(gone).values
    below, tied = flat < threshold, flat == threshold
    first_tied = tied & (tied.cumsum(0) <= gone - below.sum())
    return ~(below | first_tied).view(scores.shape)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator must be a torch.Generator, got {type(generator).__name__}; make one with "
            "torch.Generator().manual_seed(seed)"
        )
    return torch.rand(shape, generator=generator, device=generator.device)


def _magnitudes(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: magnitude_scores(require_tensor(name, weight)) for name, weight in weights.items()}


def _by_name(sparsity: Mapping[str, float], weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Return the sparsities by name in the order of `weights`, each checked to be a fraction of a known weight."""
    if not sparsity:
        raise ValueError(f"sparsities by name are empty; give one for at least one of: {_listed(weights)}")
    for name, value in sparsity.items():
        if name not in weights:
            raise ValueError(f"there is no prunable weight {name!r} to give a sparsity; there are: {_listed(weights)}")
        require_fraction(f"the sparsity of {name!r}", value)
    return {name: float(sparsity[name]) for name in weights if name in sparsity}


def _require_prunable(model: nn.Module, skip: Collection[str] = ()) -> dict[str, nn.Parameter]:
    weights = prunable(model, skip=skip)
    if not weights:
        raise ValueError(
            "model has no linear or convolutional weight to prune" + (" but those of skip" if skip else "")
        )
    return weights


def _require_mask(name: str, value: object, shape: tuple[int, ...]) -> None:
    if not isinstance(value, torch.Tensor) or value.dtype != torch.bool:
        got = f"a tensor of dtype {value.dtype}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a bool tensor (True stays), got {got}; convert a 0/1 tensor with .bool()")
    _require_shape(name, value, shape)


def _require_shape(name: str, value: torch.Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must have the shape {shape}, got {tuple(value.shape)}")


def _require_dim(dim: object, dims: int) -> int:
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"dim must be an integer, got {dim!r} of type {type(dim).__name__}")
    if not -dims <= dim < dims:
        raise ValueError(f"dim must be between {-dims} and {dims - 1}, got {dim}")
    return dim % dims


def _require_matrix(rows: int, columns: int, nonzeros: int) -> None:
    require_int("rows", rows, minimum=1)
    require_int("columns", columns, minimum=1)
    if not require_int("nonzeros", nonzeros) <= rows * columns:
        raise ValueError(f"nonzeros must be at most {rows * columns}, the size of the matrix, got {nonzeros}")


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
