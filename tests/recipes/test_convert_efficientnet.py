"""The converted network: what does not fit is named."""

import pytest
import torch

from utils.imagenet import EfficientNetLite0
from utils.recipes.convert_efficientnet import convert


def test_tensors_are_taken_in_their_order_whatever_their_names():
    torch.manual_seed(0)
    source = EfficientNetLite0()
    published = {f"published.{number}": value for number, value in enumerate(source.state_dict().values())}
    converted = convert(published)
    assert not converted.training
    assert all(torch.equal(a, b) for a, b in zip(converted.state_dict().values(), published.values(), strict=True))


def test_what_does_not_fit_is_named():
    published = EfficientNetLite0().state_dict()
    published["head.0.weight"] = torch.zeros(3)
    with pytest.raises(
        ValueError, match=r"head\.0\.weight has the shape \(3,\), and head\.0\.weight \(1280, 320, 1, 1\)"
    ):
        convert(published)
    with pytest.raises(ValueError, match="shorter"):
        convert(dict(list(EfficientNetLite0().state_dict().items())[:-1]))
