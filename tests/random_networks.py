"""Networks that hypothesis draws: chains of small blocks on images, with weights and statistics of their own."""

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

SIDE = 6
"""Pixels of the images."""


class Residual(nn.Module):
    """Two convolutions and their batch norms beside a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.one = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.second, self.other = nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels)

    def forward(self, x):
        return F.relu(x + self.other(self.second(F.relu(self.one(self.first(x))))))


class Attention(nn.Module):
    """Self-attention over the places of an image, of linear layers that are called."""

    def __init__(self, channels: int):
        super().__init__()
        self.three, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)[:, None]  # (N, 1 head, places, channels): ONNX wants four dimensions
        query, key, value = self.three(tokens).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return (tokens + self.out(mixed)).transpose(2, 3).reshape(x.shape)


class Encoder(nn.Module):
    """PyTorch's encoder layer over the places of an image."""

    def __init__(self, channels: int):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(channels, 2, 6, batch_first=True)

    def forward(self, x):
        return self.layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class Twice(nn.Module):
    """One layer that stands in two places, and one parameter that two layers share."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.again = nn.Sequential(self.first)
        self.tied = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.tied.weight = self.first.weight

    def forward(self, x):
        return self.tied(F.relu(self.again(F.relu(self.first(x)))))


BLOCKS = {
    "convolution": lambda n: [nn.Conv2d(n, n, 3, padding=1)],
    "strided, in groups": lambda n: [nn.Conv2d(n, n, (3, 1), stride=(2, 1), padding=(1, 0), groups=2, bias=False)],
    "depthwise": lambda n: [nn.Conv2d(n, n, 3, padding=1, groups=n), nn.BatchNorm2d(n), nn.ReLU6()],
    "with batch norm": lambda n: [nn.Conv2d(n, n, 1, bias=False), nn.BatchNorm2d(n), nn.ReLU()],
    "batch norm alone": lambda n: [nn.BatchNorm2d(n)],
    "relu": lambda n: [nn.ReLU()],
    "gelu": lambda n: [nn.GELU()],
    "pool": lambda n: [nn.MaxPool2d(2, stride=1, padding=1)],
    "mean": lambda n: [nn.AvgPool2d(3, stride=1, padding=1)],
    "dropout": lambda n: [nn.Dropout(0.5)],
    "residual": lambda n: [Residual(n)],
    "attention": lambda n: [Attention(n)],
    "encoder": lambda n: [Encoder(n)],
    "twice": lambda n: [Twice(n)],
}

HEADS = {
    "linear": lambda n: [nn.Linear(n, 3)],
    "hidden": lambda n: [nn.Linear(n, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)],
}


@st.composite
def networks(draw):
    """Draw a network of (N, 1, SIDE, SIDE) to (N, 3), in evaluation mode."""
    channels = 4
    names = draw(st.lists(st.sampled_from(sorted(BLOCKS)), max_size=4))
    head = draw(st.sampled_from(sorted(HEADS)))
    torch.manual_seed(draw(st.integers(0, 99)))
    blocks = [block for name in names for block in BLOCKS[name](channels)]
    top = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *HEADS[head](channels)]
    return lived_in(nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), *blocks, *top))


def lived_in(network: nn.Module) -> nn.Module:
    """Give each batch norm statistics and weights as training would, none of them 0 or 1."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for numbers in (module.weight, module.bias, module.running_mean, module.running_var):
                numbers.data.uniform_(0.5, 1.5)
    return network.eval()


def images_for(count: int = 4) -> torch.Tensor:
    """Return images that are negative in places, as normalised ones are; the same in every run."""
    return torch.randn(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(7))


def multiplied(network: nn.Module, x: torch.Tensor) -> int:
    """Count the multiply-accumulates by the shapes alone: each output of a layer takes one row of its weight."""
    total = 0

    def layer(module, _, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    def attention(module, inputs, _):
        nonlocal total
        batch, channels, *sides = inputs[0].shape
        places = sides[0] * sides[1]
        total += 2 * batch * places * places * channels  # scores and mixture
        if isinstance(module, Encoder):
            total += 4 * batch * places * channels * channels  # its attention's layers are not called

    hooks = []
    for module in network.modules():
        if type(module) in (nn.Conv2d, nn.Linear):
            hooks.append(module.register_forward_hook(layer))
        if isinstance(module, Attention | Encoder):
            hooks.append(module.register_forward_hook(attention))
    with torch.no_grad():
        network(x)
    for hook in hooks:
        hook.remove()
    return total
