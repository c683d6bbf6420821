"""Pruning of a transformer: single weights of its blocks, and heads, hidden channels and whole branches taken out.

Zeros leave all shapes as they are. What is taken out leaves a network that is really smaller.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

from utils.structured_pruning import narrow_linear
from utils.transformer import Transformer
from utils.weight_only import input_statistics, linear_layers

Pruned = Callable[[str, torch.Tensor], torch.Tensor]
"""A function from a layer's name and its weight, shape (m, n), to the pruned weight."""

Branch = tuple[int, str]
"""A block's number and one of `BRANCHES`."""

BRANCHES = ("attention", "feed_forward")
"""Of a block, in the order in which they add to the sum."""


# --- single weights ---------------------------------------------------------------------------------------------------


def block_layers(model: Transformer) -> dict[str, nn.Linear]:
    """Return the linear layers of the blocks by name: all matrices but the head, which stays dense, as in the papers.

    >>> len(block_layers(Transformer(blocks=2)))
    14
    """
    return {f"blocks.{name}": layer for name, layer in linear_layers(model.blocks).items()}


@torch.no_grad()
def prune_blocks(model: Transformer, pruned: Pruned) -> Transformer:
    """Return a copy whose blocks hold what `pruned(name, weight)` makes of each matrix."""
    changed = copy.deepcopy(model)
    for name, layer in block_layers(changed).items():
        layer.weight.copy_(pruned(name, layer.weight.detach().clone()))
    return changed


@torch.no_grad()
def prune_block_by_block(
    model: Transformer,
    batches: Sequence[torch.Tensor],
    pruned: Callable[[str, torch.Tensor, torch.Tensor], torch.Tensor],
) -> Transformer:
    """Return a copy pruned from the first block to the last, each by the inputs it has when those before are pruned.

    Within a block all inputs are seen before any of its matrices is pruned, as in the programs of SparseGPT and Wanda.

    Args:
        model: it is not changed.
        batches: calibration text, each of shape (N, T).
        pruned: from a layer's name, its weight and the second moment of its inputs, float64, to the pruned weight.
    """
    changed = copy.deepcopy(model)
    for number, block in enumerate(changed.blocks):
        so_far = copy.deepcopy(changed)
        so_far.blocks = so_far.blocks[: number + 1]
        seen = input_statistics(so_far, batches)
        for inner, layer in linear_layers(block).items():
            name = f"blocks.{number}.{inner}"
            layer.weight.copy_(pruned(name, layer.weight.detach().clone(), seen[name].moment))
    return changed


def sparsity_of_blocks(model: Transformer) -> float:
    """Return the share of zeros among the weights of the blocks' matrices.

    >>> sparsity_of_blocks(prune_blocks(Transformer(width=8, heads=2, hidden=8), lambda name, weight: weight * 0))
    1.0
    """
    weights = [layer.weight for layer in block_layers(model).values()]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)


@torch.enable_grad()  # `prune_blocks`, in which it may be called, computes none
def mean_squared_gradients(model: Transformer, inputs: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return for each matrix of the blocks the mean over windows of the squared gradient of a window's loss.

    It stands for the diagonal of the loss's second derivatives (the empirical Fisher), which optimal brain damage
    multiplies by w^2 / 2 (LeCun, Denker and Solla, 1989, equation 5); they computed the diagonal itself.

    Args:
        model: in evaluation mode.
        inputs, targets: shape (windows, T); one pass for each window.
    """
    layers = block_layers(model)
    weights = [layer.weight for layer in layers.values()]
    sums = [torch.zeros_like(weight) for weight in weights]
    for tokens, wanted in zip(inputs, targets, strict=True):
        loss = F.cross_entropy(model(tokens[None])[0], wanted)
        for total, gradient in zip(sums, torch.autograd.grad(loss, weights), strict=True):
            total += gradient.square()
    return {name: total / len(inputs) for name, total in zip(layers, sums, strict=True)}


def hold_zeros(model: Transformer) -> None:
    """Keep what is zero now at zero while the network is trained: a mask for each matrix, of `torch.nn.utils.prune`.

    `let_go` makes plain weights of them again.
    """
    for layer in block_layers(model).values():
        torch_prune.custom_from_mask(layer, "weight", layer.weight.detach() != 0)


def let_go(model: Transformer) -> None:
    """Take the masks of `hold_zeros` away; the zeros stay."""
    for layer in block_layers(model).values():
        torch_prune.remove(layer, "weight")


# --- heads and channels -----------------------------------------------------------------------------------------------


@torch.no_grad()
def keep_heads(model: Transformer, kept: Mapping[int, Sequence[int]]) -> Transformer:
    """Return a copy whose attentions have fewer heads: rows of query, key and value and columns of output are gone.

    Args:
        model: it is not changed.
        kept: the numbers of the heads that stay, at least one, by the number of the block; blocks that are not named
            keep all. A key-value cache wants as many in each.

    >>> model = keep_heads(Transformer(width=8, heads=4, hidden=8, blocks=2), {1: [0, 3]})
    >>> model.blocks[1].attention.output.weight.shape, model(torch.zeros(1, 3, dtype=torch.long)).shape
    (torch.Size([8, 4]), torch.Size([1, 3, 65]))
    """
    changed = copy.deepcopy(model)
    for number, heads in kept.items():
        if not heads:
            raise ValueError(f"block {number} must keep a head; take the branch out by without_branches")
        attention = changed.blocks[number].attention
        places = torch.arange(attention.heads * attention.size).view(attention.heads, -1)[list(heads)].flatten()
        for name in ("query", "key", "value"):
            setattr(attention, name, narrow_linear(getattr(attention, name), outputs=places))
        attention.output = narrow_linear(attention.output, inputs=places)
        attention.heads = len(heads)
    return changed


@torch.no_grad()
def keep_hidden(model: Transformer, kept: Mapping[int, torch.Tensor]) -> Transformer:
    """Return a copy whose feed-forward branches have fewer channels: rows of gate and up, columns of down are gone.

    Args:
        model: it is not changed.
        kept: the numbers of the channels that stay, by the number of the block.
    """
    changed = copy.deepcopy(model)
    for number, channels in kept.items():
        branch = changed.blocks[number].feed_forward
        for name in ("gate", "up"):
            setattr(branch, name, narrow_linear(getattr(branch, name), outputs=channels))
        branch.down = narrow_linear(branch.down, inputs=channels)
    return changed


@torch.enable_grad()
def head_gradients(model: Transformer, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return how much the loss depends on each head, to first order: mean over windows of |d loss / d gate|.

    A gate multiplies what a head gives to the output matrix; it stands at 1.

    Args:
        model: in evaluation mode, all blocks with as many heads.
        inputs, targets: shape (windows, T); one pass for each window.

    Returns:
        Shape (blocks, heads).

    Source: Michel, Levy and Neubig, "Are sixteen heads really better than one?", 2019, equation 2.
    """
    attention = model.blocks[0].attention
    gates = torch.ones(len(model.blocks), attention.heads, requires_grad=True)

    def gated(number: int) -> Callable:
        return lambda _, given: (given[0] * gates[number].repeat_interleave(attention.size),)

    hooks = [
        block.attention.output.register_forward_pre_hook(gated(number)) for number, block in enumerate(model.blocks)
    ]
    try:
        total = torch.zeros_like(gates)
        for tokens, wanted in zip(inputs, targets, strict=True):
            loss = F.cross_entropy(model(tokens[None])[0], wanted)
            total += torch.autograd.grad(loss, gates)[0].abs()
    finally:
        for hook in hooks:
            hook.remove()
    return total / len(inputs)


@torch.no_grad()
def written_norms(model: Transformer, batches: Iterable[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return how much each column of `attention.output` and `feed_forward.down` writes: root mean x_j^2 times |w_j|.

    A head's importance is the root of the sum of squares of its columns. No targets are used.

    Args:
        model: its mode is restored.
        batches: calibration text, each of shape (N, T).

    Returns:
        Shape (inputs of the layer,), by the layer's name.
    """
    seen = input_statistics(model, batches)
    return {
        name: seen[name].moment.diagonal().sqrt().float() * layer.weight.norm(dim=0)
        for name, layer in block_layers(model).items()
        if name.endswith(("attention.output", "feed_forward.down"))
    }


# --- branches ---------------------------------------------------------------------------------------------------------


class ShortBlock(nn.Module):
    """A transformer's block of which one branch is left."""

    def __init__(self, block: nn.Module, branch: str):
        super().__init__()
        self.branch = branch
        self.norm = block.norm1 if branch == "attention" else block.norm2
        setattr(self, branch, getattr(block, branch))
        self.dropout = block.dropout

    def forward(self, x: torch.Tensor, turns: tuple, cache: object, number: int) -> torch.Tensor:
        """Return x plus what the branch makes of it."""
        others = (turns, cache, number) if self.branch == "attention" else ()
        return x + self.dropout(getattr(self, self.branch)(self.norm(x), *others))


def without_branches(model: Transformer, gone: Iterable[Branch]) -> Transformer:
    """Return a copy from which branches are taken out; a block that loses both is gone.

    Args:
        model: of whole blocks; it is not changed.
        gone: (block, "attention") or (block, "feed_forward"), blocks counted from 0. The first block that is left must
            keep its attention, from which the network reads the size of its heads; a key-value cache has room for
            each block, whether it uses it or not.

    >>> short = without_branches(Transformer(blocks=3), [(1, "attention"), (1, "feed_forward"), (2, "attention")])
    >>> len(short.blocks), short(torch.zeros(1, 3, dtype=torch.long)).shape
    (2, torch.Size([1, 3, 65]))
    """
    gone = set(gone)
    every = {(number, branch) for number in range(len(model.blocks)) for branch in BRANCHES}
    if unknown := sorted(gone - every):
        raise ValueError(f"{unknown[0]} is no branch of this network; there are {sorted(every)}")
    changed = copy.deepcopy(model)
    left = []
    for number, block in enumerate(changed.blocks):
        stays = [branch for branch in BRANCHES if (number, branch) not in gone]
        if stays:
            left.append(block if len(stays) == 2 else ShortBlock(block, stays[0]))
    if not left or not hasattr(left[0], "attention"):
        raise ValueError("the first block that is left must keep its attention")
    changed.blocks = nn.ModuleList(left)
    return changed
