"""Pruning in three steps - scores, masks, application - with schedules and honest byte counts.

A score says how much a weight matters (higher stays), a mask is a bool tensor of the weight's shape (True stays), and
applying a mask sets the rest to zero. Zeros change neither the file nor the clock: `utils.structured_pruning` makes
layers that are really smaller. The inverse criterion, a check on any other, is `-scores`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

import torch
from torch import nn

from utils.accounting import packed_bytes
from utils.input_validation import require_fraction, require_int, require_module, require_parameter, require_tensor
from utils.models import evaluating, first_input, matrices

Masks = dict[str, torch.Tensor]
"""A bool mask for each weight, by the weight's name in `model.named_parameters()`; True stays."""

# --- scores: how much each weight matters ----------------------------------------------------------------------------


def magnitude_scores(weight: torch.Tensor) -> torch.Tensor:
    """Score each weight by its magnitude: |w| (Han et al., "Learning both weights and connections", 2015, section 3).

    Any L_n norm of a single number is its magnitude, so L1 and L2 differ for groups only: see `group_scores`.

    >>> magnitude_scores(torch.tensor([-3.0, 0.5]))
    tensor([3.0000, 0.5000])
    """
    return weight.detach().abs()


def random_scores(weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Score each weight by an independent uniform draw from [0, 1): the control for every other criterion.

    With `mask_by_score` the number of zeros is exact; `bernoulli_mask` is the other random pruning, where it varies.

    >>> random_scores(torch.ones(2, 3), torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3])
    """
    # Drawn where the generator lives and moved then: one seed gives one mask, whatever device the network is on.
    scores = torch.rand(weight.shape, generator=generator, device=generator.device)
    return scores.to(weight.device)


def taylor_scores(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Score each weight by how much the loss moves, to first order, when it becomes zero: |g w|.

    Args:
        weight: any shape.
        gradient: of the loss by `weight`, of the same shape.

    Source: Lee et al., "SNIP", 2019, section 4; Molchanov et al., "Importance estimation", 2019, section 3.

    >>> taylor_scores(torch.tensor([2.0, -1.0]), torch.tensor([0.5, 3.0]))
    tensor([1., 3.])
    """
    if gradient is None:
        raise TypeError("gradient is None: call backward() on a loss first, and read weight.grad before it is cleared")
    return (gradient * weight).detach().abs()


def activation_scores(weight: torch.Tensor, input_norm: torch.Tensor) -> torch.Tensor:
    """Score each weight by its magnitude times the norm of what it multiplies: |w_ij| ||x_j||.

    Wanda compares the scores within each output: `mask_each_row(activation_scores(...), sparsity)`.

    Args:
        weight: shape (outputs, inputs / groups, ...), of a linear layer or a convolution.
        input_norm: shape (inputs,), as `input_norms` measures it; the number of groups follows from the two.

    Source: Sun et al., "A simple and effective pruning approach for large language models" (Wanda), 2023, section 3.

    >>> activation_scores(torch.tensor([[1.0, -2.0], [3.0, 0.5]]), torch.tensor([10.0, 1.0]))
    tensor([[10.0000,  2.0000],
            [30.0000,  0.5000]])
    """
    outputs, inputs_a_group = weight.shape[:2]
    groups = input_norm.numel() // inputs_a_group
    if input_norm.dim() != 1 or groups * inputs_a_group != input_norm.numel() or outputs % max(groups, 1):
        raise ValueError(
            f"input_norm must have the shape ({inputs_a_group},), one norm an input of the weight of shape "
            f"{tuple(weight.shape)}, or that times the groups of a convolution; got {tuple(input_norm.shape)}"
        )
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

    Source: Li et al., "Pruning filters for efficient ConvNets", 2017, section 3.1 (n = 1).

    >>> group_scores(torch.tensor([[3.0, -4.0], [0.0, 1.0]]), n=1)
    tensor([7., 1.])
    """
    rows = weight.detach().movedim(dim, 0).reshape(weight.shape[dim], -1)  # (groups, weights in each)
    return torch.linalg.vector_norm(rows, ord=n, dim=1)


@torch.no_grad()
def input_norms(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Measure the L2 norm of each input of each prunable layer over all images: sqrt(sum x_j^2), for Wanda.

    The sum of a convolution runs over images and places.

    Args:
        model: measured in evaluation mode.
        images: a calibration batch, shape (N, ...), on the model's device.

    Returns:
        for each name in `prunable(model)`, shape (inputs of the layer,); without those of layers that are not called,
        to which the projections of attention and the recurrent weights belong.

    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False))
    >>> input_norms(model, torch.tensor([[3.0, 1.0], [4.0, 0.0]]))
    {'0.weight': tensor([5., 1.])}
    """
    names = {id(weight): name for name, weight in prunable(model).items()}
    squares: dict[str, torch.Tensor] = {}

    def add(module: nn.Module, arguments: tuple, named: dict[str, object]) -> None:
        # a layer's inputs lie along the last dimension, a convolution's along the one before its places
        places = 0 if isinstance(module, nn.Linear) else module.weight.dim() - 2
        x = first_input(module, arguments, named).movedim(-1 - places, -1)
        name = names[id(module.weight)]
        squares[name] = squares.get(name, 0) + x.reshape(-1, x.shape[-1]).square().sum(dim=0)

    layers = [module for module in model.modules() if id(getattr(module, "weight", None)) in names]
    hooks = [layer.register_forward_pre_hook(add, with_kwargs=True) for layer in layers]
    try:
        with evaluating(model):
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: squares[name].sqrt() for name in names.values() if name in squares}


# --- masks: which weights stay ---------------------------------------------------------------------------------------


def pruned_count(total: int, sparsity: float) -> int:
    """Return how many of `total` weights a sparsity removes: round(sparsity total), halves to even as PyTorch does.

    >>> pruned_count(1000, 0.488), pruned_count(5, 0.5)
    (488, 2)
    """
    return round(require_fraction("sparsity", sparsity) * total)


def mask_by_score(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Keep the weights with the highest scores; exactly round(sparsity numel) go, of equal ones the earlier first.

    Args:
        scores: any shape; higher stays.
        sparsity: fraction of zeros, from 0 (all stay) to 1 (all go).

    Returns:
        a bool tensor of the same shape; True stays.

    >>> mask_by_score(torch.tensor([[3.0, 1.0], [2.0, 4.0]]), 0.5)
    tensor([[ True, False],
            [False,  True]])
    >>> mask_by_score(torch.ones(4), 0.25)
    tensor([False,  True,  True,  True])
    """
    require_tensor("scores", scores)  # checked here and not in every score: NaN in a weight is NaN in its score
    return _highest(scores, pruned_count(scores.numel(), sparsity))


def mask_each_row(scores: torch.Tensor, sparsity: float) -> torch.Tensor:
    """Keep the highest scores of each row on its own, so that every output loses round(sparsity inputs) weights.

    Args:
        scores: shape (outputs, ...).
        sparsity: fraction of zeros in each row, from 0 to 1.

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

    >>> masks = global_masks({"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([2.0, 3.0, 4.0])}, 0.4)
    >>> {name: mask.tolist() for name, mask in masks.items()}
    {'a': [False, True], 'b': [False, True, True]}
    """
    for name, scores in scores_by_name.items():
        require_tensor(name, scores)  # so that the error says which layer diverged
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

    >>> first = tighten_mask(torch.ones(5, dtype=torch.bool), torch.arange(5.0), 0.4)
    >>> tighten_mask(first, torch.arange(5.0), 0.4)
    tensor([False, False, False,  True,  True])
    """
    require_tensor("scores", scores)
    _require_mask("mask", mask, scores.shape)
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

    >>> generator = torch.Generator().manual_seed(0)
    >>> zeros = [int((~bernoulli_mask((100,), 0.5, generator)).sum()) for _ in range(10)]
    >>> min(zeros) < max(zeros)
    True
    """
    require_fraction("sparsity", sparsity)
    return torch.rand(tuple(shape), generator=generator, device=generator.device) >= sparsity


def n_of_m_mask(scores: torch.Tensor, *, n: int = 2, m: int = 4) -> torch.Tensor:
    """Keep the `n` highest scores of every `m` consecutive inputs, the semi-structured pattern of some GPUs (2:4).

    Args:
        scores: shape (outputs, inputs, ...), inputs a multiple of `m`; for a weight give `magnitude_scores(weight)`. A
            group of a convolution holds m neighbouring input channels at one place of the kernel.
        n: kept in each group, from 0 to m.
        m: the size of a group, at least 1.

    Source: Mishra et al., "Accelerating sparse deep neural networks", 2021, section 3.

    >>> n_of_m_mask(torch.tensor([[4.0, 1.0, 3.0, 2.0, 5.0, 5.0, 5.0, 9.0]]))
    tensor([[ True, False,  True, False, False, False,  True,  True]])
    """
    require_tensor("scores", scores)
    if not 0 <= n <= m:
        raise ValueError(f"n must be from 0 to m = {m}, got {n}")
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
    """Make the mask of a weight from one bool for each of its rows, filters or channels.

    Args:
        group_mask: bool, shape (shape[dim],).
        shape: of the weight.
        dim: the dimension of the groups: 0 for rows and filters, 1 for columns and input channels.

    >>> spread_mask(torch.tensor([True, False]), (2, 3))
    tensor([[ True,  True,  True],
            [False, False, False]])
    """
    along_dim = [1] * len(shape)
    along_dim[dim] = -1
    return group_mask.view(along_dim).expand(tuple(shape)).clone()


def mask_sparsity(masks: Mapping[str, torch.Tensor]) -> float:
    """Return the fraction of zeros in all masks together, from 0 to 1; `accounting.sparsity` counts biases too.

    >>> mask_sparsity({"a": torch.tensor([True, False]), "b": torch.tensor([True, True])})
    0.25
    """
    kept = sum(int(mask.sum()) for mask in masks.values())
    return 1.0 - kept / sum(mask.numel() for mask in masks.values())


# --- application: masks on a network ---------------------------------------------------------------------------------


def prunable(model: nn.Module, *, skip: Collection[str] = ()) -> dict[str, nn.Parameter]:
    """Return the weights that pruning may touch by name: of linear and convolutional layers, no biases, no batch norm.

    Those of attention (`in_proj_weight`) and of recurrent layers are among them. A parameter that several layers share
    comes once, under the first of its names. Transposed convolutions are left out: their weights have inputs before
    outputs; and so are embeddings, whose rows are looked up.

    Args:
        model: the network.
        skip: names to leave out, such as `("conv1.weight",)`.

    >>> list(prunable(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Linear(2, 2))))
    ['0.weight', '3.weight']
    """
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for prefix, module in require_module("model", model).named_modules():
        for own in matrices(module):
            name = f"{prefix}.{own}" if prefix else own
            weight = getattr(module, own)
            found.setdefault(id(weight), (name, require_parameter(name, weight)))
    weights = dict(found.values())
    _require_known(skip, weights)
    return {name: weight for name, weight in weights.items() if name not in skip}


@torch.no_grad()
def apply_masks(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Set the weights that the masks remove to zero, in place; all others, and every bias, stay as they are.

    All masks are checked before any weight is touched.

    Args:
        model: the network.
        masks: bool, for names in `prunable(model)`, each of its weight's shape; weights without a mask stay whole.

    >>> layer = nn.Linear(2, 1)
    >>> apply_masks(layer, {"weight": torch.tensor([[True, False]])})
    >>> layer.weight[0, 1].item()
    0.0
    """
    weights = prunable(model)
    _require_known(masks, weights)
    for name, mask in masks.items():
        _require_mask(f"masks[{name!r}]", mask, weights[name].shape)
    for name, mask in masks.items():
        # Not weight * mask: a negative weight would become -0.0, whose sign bit spoils the compression of the file.
        weights[name].masked_fill_(~mask.to(weights[name].device), 0.0)


def keep_masks(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> Callable[[int], None]:
    """Apply the masks now, and return an `after_step` hook for `training.fit` that applies them after every update.

    The optimizer moves zeros too, since their gradients are not zero: without the hook a pruned network is dense again
    after one step.

    >>> layer = nn.Linear(2, 1)
    >>> after_step = keep_masks(layer, {"weight": torch.tensor([[True, False]])})
    >>> _ = layer.weight.data.add_(1.0)
    >>> after_step(0)
    >>> layer.weight[0, 1].item()
    0.0
    """
    kept = {name: mask.clone() for name, mask in masks.items()}  # the caller may change the masks later
    apply_masks(model, kept)
    return lambda step: apply_masks(model, kept)


def global_magnitude_masks(model: nn.Module, sparsity: float, *, skip: Collection[str] = ()) -> Masks:
    """Keep the largest weights of the whole network: one threshold on |w| for all layers, an exact count of zeros.

    Args:
        model: the network; it is not changed.
        sparsity: fraction of zeros among the prunable weights that are not skipped, from 0 to 1.
        skip: names to leave dense; they get no mask.

    >>> from utils.models import LeNet300100
    >>> masks = global_magnitude_masks(LeNet300100(), 0.9)
    >>> sum(int(mask.sum()) for mask in masks.values())
    26620
    """
    weights = _require_prunable(model, skip)
    return global_masks({name: magnitude_scores(weight) for name, weight in weights.items()}, sparsity)


def layerwise_magnitude_masks(
    model: nn.Module, sparsity: float | Mapping[str, float], *, skip: Collection[str] = ()
) -> Masks:
    """Keep the largest weights of each layer on its own: the same sparsity for all, or one for each name.

    Args:
        model: the network; it is not changed.
        sparsity: from 0 to 1 for every layer, or by name of the weight; layers without an entry get no mask.
        skip: names to leave dense; they get no mask.

    >>> from utils.models import LeNet300100
    >>> masks = layerwise_magnitude_masks(LeNet300100(), {"fc1.weight": 0.95, "fc2.weight": 0.9})
    >>> {name: int(mask.sum()) for name, mask in masks.items()}
    {'fc1.weight': 11760, 'fc2.weight': 3000}
    """
    weights = _require_prunable(model, skip)
    wanted = _by_name(sparsity, weights) if isinstance(sparsity, Mapping) else dict.fromkeys(weights, sparsity)
    masks = {}
    for name, value in wanted.items():
        scores = magnitude_scores(require_tensor(name, weights[name]))
        masks[name] = mask_by_score(scores, value)
    return masks


# --- schedules: how much when ----------------------------------------------------------------------------------------


def sparsity_after(rounds: int, ratio: float) -> float:
    """Return the sparsity after some rounds that each remove `ratio` of what is left: 1 - (1 - ratio)^rounds.

    Three times 20 % is not 60 %:

    >>> round(sparsity_after(3, 0.2), 3)
    0.488
    """
    return 1.0 - (1.0 - require_fraction("ratio", ratio)) ** require_int("rounds", rounds)


def cubic_sparsity(step: int, *, start: int, end: int, final: float, initial: float = 0.0) -> float:
    """Return the gradual schedule's sparsity: final + (initial - final) (1 - (step - start) / (end - start))^3.

    It rises fast while there is much to spare and slowly towards the end; before `start` it is `initial`, from `end`
    on `final`. With `start` equal to `end` it is one jump: one-shot pruning in the same loop.

    Source: Zhu and Gupta, "To prune, or not to prune", 2017, equation 1.

    >>> [round(cubic_sparsity(step, start=0, end=10, final=0.8), 3) for step in (0, 5, 10, 99)]
    [0.0, 0.7, 0.8, 0.8]
    """
    final = require_fraction("final", final)
    initial = require_fraction("initial", initial)
    if end < start:
        raise ValueError(f"end must be at least start = {start}, got {end}")
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
        self._model = model
        self._start = start
        self._end = end
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
        if step <= self._last_step:
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

    >>> dense_bytes(300, 784)
    940800
    """
    return rows * columns * value_bytes


def csr_bytes(rows: int, columns: int, nonzeros: int, *, value_bytes: int = 4, index_bytes: int = 4) -> int:
    """Return the bytes of compressed-row storage: nonzeros (value_bytes + index_bytes) + (rows + 1) pointers.

    Each value has its column beside it; the pointers say where each row starts. A pointer counts up to `nonzeros`, so
    it has at least 4 bytes even where a column's number needs fewer, and 8 where that has 8: as in SciPy (4) and
    PyTorch (8).

    Args:
        rows, columns: of the matrix; a convolution's are filters and the weights in each.
        nonzeros: from 0 to rows columns.
        value_bytes: 4 for float32, 2 for float16.
        index_bytes: of a column's number; `columns` must be at most 256^index_bytes.

    >>> csr_bytes(300, 784, 23520), csr_bytes(300, 784, 23520, index_bytes=2)
    (189364, 142324)
    """
    if columns > 256**index_bytes:
        needed = ((columns - 1).bit_length() + 7) // 8
        raise ValueError(f"index_bytes must be at least {needed} to number {columns} columns, got {index_bytes}")
    return nonzeros * (value_bytes + index_bytes) + (rows + 1) * max(4, index_bytes)


def bitmask_bytes(rows: int, columns: int, nonzeros: int, *, value_bytes: int = 4) -> int:
    """Return the bytes of a bit for each weight and the non-zero values: ceil(rows columns / 8) + nonzeros value_bytes.

    >>> bitmask_bytes(300, 784, 23520)
    123480
    """
    return packed_bytes(rows * columns, 1) + nonzeros * value_bytes


def csr_break_even(rows: int, columns: int, *, value_bytes: int = 4, index_bytes: int = 4) -> float:
    """Return the sparsity above which compressed rows are smaller than the dense matrix.

    Solves dense_bytes = csr_bytes for nonzeros: 1 - (dense - pointers) / (rows columns (value_bytes + index_bytes)),
    which is close to index_bytes / (value_bytes + index_bytes). Above 1 it never pays: the pointers alone are larger.

    >>> round(csr_break_even(300, 784), 4), round(csr_break_even(300, 784, index_bytes=2), 4)
    (0.5006, 0.3342)
    """
    dense = dense_bytes(rows, columns, value_bytes=value_bytes)
    pointers = csr_bytes(rows, columns, 0, value_bytes=value_bytes, index_bytes=index_bytes)
    return 1.0 - (dense - pointers) / (rows * columns * (value_bytes + index_bytes))


# --- helpers ---------------------------------------------------------------------------------------------------------


def _highest(scores: torch.Tensor, gone: int) -> torch.Tensor:
    """Return the mask of all but the `gone` lowest scores; of equal ones at the threshold the earlier go."""
    if gone == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    flat = scores.detach().flatten()
    # A threshold instead of a sort: several times faster, and training computes masks again and again.
    threshold = flat.kthvalue(gone).values
    below = flat < threshold
    tied = flat == threshold
    first_tied = tied & (tied.cumsum(0) <= gone - below.sum())
    return ~(below | first_tied).view(scores.shape)


def _by_name(sparsity: Mapping[str, float], weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Return the sparsities by name in the order of `weights`."""
    _require_known(sparsity, weights)
    return {name: require_fraction(f"the sparsity of {name}", sparsity[name]) for name in weights if name in sparsity}


def _require_known(names: Iterable[str], weights: Mapping[str, torch.Tensor]) -> None:
    for name in names:
        if name not in weights:
            raise ValueError(f"the model has no prunable weight {name!r}; it has: {', '.join(weights) or 'none'}")


def _require_prunable(model: nn.Module, skip: Collection[str] = ()) -> dict[str, nn.Parameter]:
    weights = prunable(model, skip=skip)
    if not weights:
        raise ValueError("the model has no linear or convolutional weight to prune")
    return weights


def _require_mask(name: str, mask: torch.Tensor, shape: torch.Size) -> None:
    # An integer mask would pick by index, one of another shape would be broadcast: both silently.
    if mask.dtype != torch.bool:
        raise TypeError(f"{name} must be a bool tensor (True stays), got {mask.dtype}; convert a 0/1 tensor by .bool()")
    if mask.shape != shape:
        raise ValueError(f"{name} must have the shape {tuple(shape)}, got {tuple(mask.shape)}")
