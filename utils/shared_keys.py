"""Attention whose heads share keys and values, so that the cache is smaller: multi-query and grouped-query attention.

One key and value for all heads is multi-query attention (Shazeer, 2019), one for each group of heads grouped-query
attention (Ainslie et al., 2023), which also says how to make it of a trained network: take the mean of each group's
matrices and train on for a while.
"""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from utils.transformer import Attention, KeyValueCache, Transformer, causal_mask


def head_groups(heads: int, key_heads: int) -> torch.Tensor:
    """Return for each head the number of the key and value that it uses, shape (heads,): neighbours share.

    Where the heads do not divide evenly, the first groups have one more.

    >>> head_groups(5, 2).tolist()
    [0, 0, 0, 1, 1]
    """
    if not 1 <= key_heads <= heads:
        raise ValueError(f"key_heads must be from 1 to {heads}, the number of heads, got {key_heads}")
    sizes = torch.tensor([len(group) for group in torch.arange(heads).tensor_split(key_heads)])
    return torch.arange(key_heads).repeat_interleave(sizes)


class SharedKeyAttention(Attention):
    """Attention with fewer keys and values than queries; with as many it is `Attention`.

    Args:
        width: numbers for each character.
        heads: of the queries.
        key_heads: of the keys and values; see `head_groups`.
    """

    def __init__(self, width: int, heads: int, key_heads: int):
        super().__init__(width, heads)
        self.register_buffer("uses", head_groups(heads, key_heads), persistent=False)
        self.key, self.value = (nn.Linear(width, key_heads * self.size, bias=False) for _ in range(2))

    def forward(
        self, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], cache: KeyValueCache | None, block: int
    ) -> torch.Tensor:
        query, key = self.turned(x, turns)
        value = self._split(self.value(x))
        if cache is not None:
            key, value = cache.extend(block, key, value)  # (N, key heads, all, D): what is stored is small
        key, value = key[:, self.uses], value[:, self.uses]  # (N, heads, all, D)
        new, every = query.shape[2], key.shape[2]
        mask = causal_mask(new, every).to(x.device) if 1 < new < every else None
        mixed = F.scaled_dot_product_attention(query, key, value, mask, is_causal=new == every > 1)
        return self.output(mixed.transpose(1, 2).flatten(2))  # (N, new, width)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (-1, self.size)).transpose(1, 2)  # (N, its heads, new, D)


def mean_of_heads(group: torch.Tensor) -> torch.Tensor:
    """Return the mean of the matrices of a group's heads: (heads, D, width) to (D, width)."""
    return group.mean(dim=0)


def first_head(group: torch.Tensor) -> torch.Tensor:
    """Return the matrix of a group's first head: (heads, D, width) to (D, width)."""
    return group[0]


def share_keys(
    model: Transformer, key_heads: int, pool: Callable[[torch.Tensor], torch.Tensor] = mean_of_heads
) -> Transformer:
    """Return a copy whose heads share `key_heads` keys and values (Ainslie et al., 2023, section 2.1).

    Args:
        model: stays as it is.
        key_heads: from 1 to the number of heads; with that number the copy computes what the model does.
        pool: makes one matrix of those of a group's heads, (heads, D, width) to (D, width).

    >>> small = Transformer(width=8, heads=2, hidden=8, blocks=1)
    >>> share_keys(small, 1).blocks[0].attention.key.weight.shape
    torch.Size([4, 8])
    """
    shared = copy.deepcopy(model)
    for block in shared.blocks:
        old = block.attention
        new = SharedKeyAttention(old.query.in_features, old.heads, key_heads).to(old.key.weight.device)
        new.query, new.output = old.query, old.output
        with torch.no_grad():
            for name in ("key", "value"):
                matrices = getattr(old, name).weight.unflatten(0, (old.heads, old.size))  # (heads, D, width)
                pooled = [pool(matrices[new.uses == group]) for group in range(key_heads)]
                getattr(new, name).weight.copy_(torch.cat(pooled))
        block.attention = new
    return shared.train(model.training)
