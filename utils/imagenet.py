"""A network that was trained on ImageNet, EfficientNet-Lite0, and a few photographs to show it.

ImageNet itself cannot be shipped. So nothing is said of the network's accuracy, only whether what is done to it changes
its answers.
"""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from utils.checkpoint_files import CHECKPOINTS
from utils.files import ROOT
from utils.input_validation import require_int
from utils.models import load_checkpoint

FOLDER = CHECKPOINTS / "imagenet"

PHOTOGRAPHS = ROOT / "data" / "photographs"

SIDE = 224
"""Pixels of the network's square input."""

STAGES = (
    # kernel, stride of the first block, expansion, channels out, blocks
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
"""The seven stages of EfficientNet-B0 (Tan and Le, 2019, table 1), which Lite0 keeps without the attention blocks."""


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow does: what is odd of the padding goes to the right and to the bottom."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        needed = [
            max((-(-size // step) - 1) * step + kernel - size, 0)
            for size, step, kernel in zip(x.shape[2:], self.stride, self.kernel_size, strict=True)
        ]
        down, across = needed
        return super().forward(F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2)))


def _convolution(
    channels_in: int, channels_out: int, *, kernel: int = 1, stride: int = 1, groups: int = 1, clipped: bool = True
) -> nn.Sequential:
    """Return a convolution, its batch norm and, if `clipped`, ReLU6."""
    layers = [
        SameConv2d(channels_in, channels_out, kernel, stride=stride, groups=groups, bias=False),
        nn.BatchNorm2d(channels_out, eps=1e-3),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6()] if clipped else []))


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel by itself, narrow by 1x1; the input is added where the shapes agree.

    Source: Sandler et al., "MobileNetV2", 2018, section 3.3; without an expansion the first convolution is left out.
    """

    def __init__(self, channels_in: int, channels_out: int, *, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = channels_in * expansion
        self.adds = stride == 1 and channels_in == channels_out
        self.layers = nn.Sequential(
            *([_convolution(channels_in, wide)] if expansion > 1 else []),
            _convolution(wide, wide, kernel=kernel, stride=stride, groups=wide),
            _convolution(wide, channels_out, clipped=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0: 4,652,008 parameters; images of shape (N, 3, 224, 224) to logits of shape (N, 1000).

    EfficientNet-B0 (Tan and Le, 2019) without squeeze-and-excitation and with ReLU6 in place of swish, so that it can
    be quantized.
    """

    def __init__(self):
        super().__init__()
        self.stem = _convolution(3, 32, kernel=3, stride=2)
        self.blocks = nn.Sequential(*self._blocks(32))
        self.head = _convolution(320, 1280)
        self.classifier = nn.Linear(1280, 1000)

    @staticmethod
    def _blocks(channels: int) -> Iterator[nn.Module]:
        for kernel, stride, expansion, channels_out, count in STAGES:
            for index in range(count):
                step = stride if index == 0 else 1
                yield InvertedResidual(channels, channels_out, kernel=kernel, stride=step, expansion=expansion)
                channels = channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(self.blocks(self.stem(x)))  # (N, 1280, 7, 7)
        return self.classifier(x.mean(dim=(2, 3)))


def load_efficientnet() -> EfficientNetLite0:
    """Load the network with its published weights, in evaluation mode.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return load_checkpoint("EfficientNetLite0", model=EfficientNetLite0(), folder=FOLDER)


def class_names() -> list[str]:
    """Return the names of ImageNet's 1,000 classes, in the order of the logits.

    >>> class_names()[282], class_names()[967]
    ('tiger cat', 'espresso')
    """
    from torchvision.models import MobileNet_V2_Weights  # half a second to import, and only the names need it

    return MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]


def photographs() -> dict[str, torch.Tensor]:
    """Return the course's photographs by name, each of shape (3, height, width), uint8; see data/README.md.

    >>> photographs()["cat"].dtype
    torch.uint8
    """
    return {
        path.stem: torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
        for path in sorted(PHOTOGRAPHS.glob("*.png"))
    }


def middle(photograph: torch.Tensor) -> torch.Tensor:
    """Return the square that the network's authors test on: the middle 224/256 of the shorter side, scaled, uint8."""
    height, width = photograph.shape[1:]
    side = min(height, width) * SIDE // (SIDE + 32)
    return _square(photograph, (height - side) // 2, (width - side) // 2, side)


def crops(photograph: torch.Tensor, count: int, *, seed: int) -> torch.Tensor:
    """Draw `count` square crops of a photograph, each between 70 % and all of its shorter side.

    Returns:
        Shape (count, 3, 224, 224), uint8.

    >>> crops(torch.zeros(3, 300, 400, dtype=torch.uint8), 2, seed=0).shape
    torch.Size([2, 3, 224, 224])
    """
    require_int("count", count, minimum=1)
    generator = np.random.default_rng(seed)
    height, width = photograph.shape[1:]
    drawn = []
    for _ in range(count):
        side = int(min(height, width) * generator.uniform(0.7, 1.0))
        top, left = (int(generator.integers(0, size - side + 1)) for size in (height, width))
        drawn.append(_square(photograph, top, left, side))
    return torch.stack(drawn)


def to_input(images: torch.Tensor) -> torch.Tensor:
    """Turn uint8 images of shape (N, 3, 224, 224) into what the network was trained on: (pixel - 127) / 128."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images must be uint8 of shape (N, 3, {SIDE}, {SIDE}), got {images.dtype} of shape {tuple(images.shape)}"
        )
    return (images.float() - 127.0) / 128.0


def _square(photograph: torch.Tensor, top: int, left: int, side: int) -> torch.Tensor:
    """Cut a square out and scale it to the network's input, bicubic, as the network's authors do."""
    cut = photograph[:, top : top + side, left : left + side].permute(1, 2, 0).numpy()
    return torch.from_numpy(np.array(Image.fromarray(cut).resize((SIDE, SIDE), Image.Resampling.BICUBIC))).permute(
        2, 0, 1
    )
