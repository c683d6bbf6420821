"""The network that was trained on ImageNet, its input, and the photographs."""

import pytest
import torch
from torch import nn

from utils import imagenet
from utils.checkpoint_files import checkpoint_card
from utils.imagenet import EfficientNetLite0, SameConv2d, class_names, crops, middle, photographs, to_input


@pytest.fixture(scope="module")
def network():
    return imagenet.load_efficientnet()


def test_it_says_what_is_in_the_photographs(network):
    shown = photographs()
    images = to_input(torch.stack([middle(photograph) for photograph in shown.values()]))
    with torch.inference_mode():
        first = network(images).argmax(dim=1)
    said = {name: class_names()[answer] for name, answer in zip(shown, first.tolist(), strict=True)}
    expected = {"cat": "tiger cat", "coffee": "espresso", "cameraman": "tripod", "flower": "daisy", "palace": "palace"}
    assert said | expected == said
    assert said["rocket"] == "missile", "there is no class for a rocket"


def test_channels_of_the_wrong_order_are_another_picture(network):
    coffee = to_input(middle(photographs()["coffee"])[None])
    with torch.inference_mode():
        right, swapped = (network(images).softmax(dim=1)[0, 967] for images in (coffee, coffee.flip(1)))
    assert right > 0.9
    assert swapped < right


def test_parameters_are_those_that_were_published(network):
    count = sum(p.numel() for p in network.parameters())
    assert count == checkpoint_card("EfficientNetLite0", folder=imagenet.FOLDER)["parameters"] == 4_652_008
    assert not network.training


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(7, 3, 1), (8, 3, 2), (7, 3, 2), (8, 5, 2), (9, 5, 2), (6, 1, 1)]
)
def test_padding_is_even_but_for_what_is_odd_which_goes_right_and_down(size, kernel, stride):
    torch.manual_seed(0)
    ours, plain = SameConv2d(1, 1, kernel, stride=stride), nn.Conv2d(1, 1, kernel, stride=stride)
    plain.load_state_dict(ours.state_dict())
    x = torch.randn(1, 1, size, size)
    outputs = -(-size // stride)
    needed = (outputs - 1) * stride + kernel - size
    padded = torch.zeros(1, 1, size + needed, size + needed)
    padded[:, :, needed // 2 : needed // 2 + size, needed // 2 : needed // 2 + size] = x
    assert ours(x).shape[2:] == (outputs, outputs)
    torch.testing.assert_close(ours(x), plain(padded))


def test_crops_are_drawn_by_the_seed_and_are_parts_of_the_photograph():
    columns = torch.arange(300, dtype=torch.float32).mul(255 / 300).to(torch.uint8).expand(3, 200, 300)
    drawn = crops(columns, 5, seed=1)
    assert drawn.shape == (5, 3, 224, 224)
    assert torch.equal(drawn, crops(columns, 5, seed=1))
    assert not torch.equal(drawn, crops(columns, 5, seed=2))
    shares = (drawn[:, 0, 0, -1].float() - drawn[:, 0, 0, 0].float()) / 255 * 300 / 200  # of the shorter side
    assert shares.min() > 0.6
    assert shares.max() < 1.05


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)])
def test_input_of_another_kind_is_refused(images):
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(N, 3, 224, 224\), got"):
        to_input(images)


def test_the_input_is_centred():
    assert to_input(torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 3, 1, 1)).flatten().tolist() == [
        -127 / 128,
        0,
        1,
    ]


def test_a_network_not_trained_yet_has_as_many_outputs_as_classes():
    assert EfficientNetLite0()(torch.zeros(2, 3, 224, 224)).shape == (2, len(class_names()))
