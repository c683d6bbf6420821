"""A transformer's decoding step as an ONNX file: the cache goes in, and the new key and value come out.

The exporter writes a graph without state, so whoever runs it keeps the cache: an array of fixed size, of which the
graph looks at the first `position` places. Nothing in it is copied from step to step but the newest row.
"""

import copy
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn

from utils.int4_export import INT8_INPUTS
from utils.int4_products import with_int4_products
from utils.onnx_export import ExportError, export_fixed
from utils.transformer import Transformer, rotate, rotations
from utils.weight_only import WeightOnly

NAMES = ("token", "position", "cache"), ("logits", "newest")
"""Of the file's inputs and outputs."""


class CachedStep(nn.Module):
    """One decoding step of one text, as the file describes it."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.runs_in_onnx_only = any(getattr(module, "runs_in_onnx_only", False) for module in self.model.modules())

    def forward(
        self, token: torch.Tensor, position: torch.Tensor, cache: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits, shape (characters,), and the new row of the cache, (2, blocks, heads, 1, D).

        Args:
            token: the newest character, shape (1,), int64.
            position: its place, shape (1,), int64: so many places of the cache are filled.
            cache: keys and values, shape (2, blocks, heads, context, D).
        """
        x = self.model.embedding(token)  # (1, width)
        size = self.model.blocks[0].attention.size
        turns = rotations(position, size)
        hidden = torch.arange(cache.shape[3]) >= position  # (context,)
        newest = []
        for number, block in enumerate(self.model.blocks):
            attention, normed = block.attention, block.norm1(x)
            query, key, value = (
                part(normed).view(-1, 1, size) for part in (attention.query, attention.key, attention.value)
            )  # each (heads, 1, D)
            query, key = rotate(query, *turns) / math.sqrt(size), rotate(key, *turns)
            past = (query @ cache[0, number].mT).masked_fill(hidden, -1e9)  # (heads, 1, context)
            own = (query * key).sum(dim=-1, keepdim=True)
            weights = torch.cat([past, own], dim=-1).softmax(dim=-1)
            mixed = weights[..., :-1] @ cache[1, number] + weights[..., -1:] * value
            x = x + attention.output(mixed.view(1, -1))
            x = x + block.feed_forward(block.norm2(x))
            newest.append(torch.stack([key, value]))
        return self.model.head(self.model.norm(x))[0], torch.stack(newest, dim=1)


def export_step(model: Transformer, path: str | Path) -> Path:
    """Write a transformer's decoding step to an ONNX file and return its path."""
    attention = model.blocks[0].attention
    cache = torch.zeros(2, len(model.blocks), attention.heads, model.context, attention.size)
    example = (torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64), cache)
    return export_fixed(CachedStep(model), example, path, inputs=NAMES[0], outputs=NAMES[1])


def export_int4_step(rounded: WeightOnly, path: str | Path, *, accuracy_level: int = INT8_INPUTS) -> Path:
    """Write the step of a transformer whose matrices have 4 bits; see `int4_products.export_int4_transformer`."""
    return export_step(with_int4_products(rounded, accuracy_level), path)


class CachedWriter:
    """Writes a text with a file of `export_step`, one thread, and keeps the cache.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path):
        import onnxruntime  # here and not above: whoever does not use it does not wait for it

        self.path = Path(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common base below Exception
            raise ExportError(f"{self.path.name} is no ONNX file that ONNX Runtime can run: {error}") from error
        (shape,) = (each.shape for each in self._session.get_inputs() if each.name == "cache")
        self.cache = np.zeros(shape, dtype=np.float32)
        self.length = 0

    def read(self, character: int) -> torch.Tensor:
        """Read one more character; return the logits behind it, shape (characters,)."""
        if self.length >= self.cache.shape[3]:
            raise ValueError(f"the cache holds {self.cache.shape[3]} characters and is full")
        logits, newest = self._session.run(
            list(NAMES[1]),
            {
                "token": np.array([character], dtype=np.int64),
                "position": np.array([self.length], dtype=np.int64),
                "cache": self.cache,
            },
        )
        self.cache[:, :, :, self.length : self.length + 1] = newest
        self.length += 1
        return torch.from_numpy(logits)

    def forget(self, length: int = 0) -> None:
        """Go back to the first `length` characters."""
        self.length = length

    def write(self, prompt: torch.Tensor, count: int) -> torch.Tensor:
        """Continue a prompt of shape (T,) with the likeliest characters, from an empty cache; shape (T + count,)."""
        self.forget()
        text = prompt.tolist()
        for character in text[:-1]:
            self.read(character)
        for _ in range(count):
            text.append(int(self.read(text[-1]).argmax()))
        return torch.tensor(text)
