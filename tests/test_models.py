"""The networks and their checkpoints: what goes in and out, and every way in which a file can be wrong."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from utils.checkpoint_files import CHECKPOINTS, damaged
from utils.models import (
    MODELS,
    CheckpointError,
    DepthwiseBlock,
    LeNet5,
    LeNet300100,
    LiteNetCNN,
    LiteNetMLP,
    ResidualBlock,
    build,
    checkpoint_card,
    load_checkpoint,
    replace_everywhere,
    save_checkpoint,
    untrained_twin,
)

REMEDY = "git checkout -- data/checkpoints"

# --- the networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_build_makes_the_network_of_that_name(name):
    model = build(name)
    assert type(model).__name__ == name
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("name", MODELS)
def test_an_image_is_judged_without_regard_to_its_neighbours(name):
    model, images = build(name).eval(), torch.rand(4, 1, 28, 28)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(model(images), alone, rtol=1e-4, atol=1e-5)
    assert alone.std(dim=0).min() > 0


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="unknown network 'lenet5'; known are LiteNetMLP, LiteNetCNN"):
        build("lenet5")
    with pytest.raises(ValueError, match="hidden must be at least 1, got 0"):
        LiteNetMLP(0)
    with pytest.raises(TypeError, match="model is the class LeNet5, not a network"):
        load_checkpoint("LeNet5", model=LeNet5)


def test_lite_net_mlp_against_numpy():
    model, images = build("LiteNetMLP"), torch.rand(5, 1, 28, 28)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    hidden = np.maximum(images.numpy().reshape(5, 784) @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    expected = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
    np.testing.assert_allclose(model(images).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (LiteNetMLP(32), 784 * 32 + 32 + 32 * 10 + 10),
        (LiteNetCNN((3, 4), 5), (25 * 3 + 3) + (25 * 3 * 4 + 4) + (64 * 5 + 5) + 60),
        (LeNet300100((7, 6)), (784 * 7 + 7) + (7 * 6 + 6) + 70),
        (LeNet5([3, 4], 5), (25 * 3 + 3) + (25 * 3 * 4 + 4) + (64 * 5 + 5) + 60),
    ],
)
def test_a_narrower_network_has_the_parameters_of_its_widths(model, parameters):
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_a_residual_block_without_its_residual_is_its_shortcut():
    block, x = ResidualBlock(4, 4, stride=1).eval(), torch.randn(2, 4, 6, 6)
    block.bn2.weight.data.zero_()
    assert torch.equal(block(x), x.relu())
    assert ResidualBlock(4, 8, stride=2)(x).shape == (2, 8, 3, 3)


def test_a_depthwise_convolution_keeps_the_channels_apart():
    block, x = DepthwiseBlock(3, 5, stride=1).eval(), torch.randn(1, 3, 6, 6)
    changed = x.clone()
    changed[:, 1] += 1
    difference = (block.depthwise(changed) - block.depthwise(x)).abs().amax(dim=(0, 2, 3))
    assert [bool(d > 0) for d in difference] == [False, True, False]
    assert block(x).shape == (1, 5, 6, 6)


# --- checkpoints: there and back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_network_is_loaded_bit_for_bit(tmp_path, name):
    model = build(name)
    model(torch.rand(8, 1, 28, 28))  # gives batch norm statistics worth saving
    save_checkpoint(model, "mine", folder=tmp_path / "new")
    loaded = load_checkpoint("mine", folder=tmp_path / "new")
    assert type(loaded) is type(model)
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in model.state_dict().items())


def test_the_card_tells_the_truth_about_the_file(tmp_path):
    path = save_checkpoint(LiteNetMLP(4), "mine", folder=tmp_path, seed=3, note="narrow")
    assert checkpoint_card("mine", folder=tmp_path) == {
        "model": "LiteNetMLP",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "parameters": 784 * 4 + 4 + 4 * 10 + 10,
        "seed": 3,
        "note": "narrow",
    }
    assert load_file(path)["fc1.weight"].shape == (4, 784)  # the library reads what we wrote
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.json", "mine.safetensors"]


def test_a_network_of_other_widths_is_filled_in_place(tmp_path):
    narrow, empty = LiteNetMLP(4), LiteNetMLP(4)
    save_checkpoint(narrow, "narrow", folder=tmp_path)
    assert load_checkpoint("narrow", model=empty, folder=tmp_path) is empty
    assert torch.equal(empty.fc1.weight, narrow.fc1.weight)


def test_a_card_that_cannot_be_written_leaves_the_earlier_checkpoint(tmp_path):
    first = LiteNetMLP(4)
    save_checkpoint(first, "mine", folder=tmp_path)
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(LiteNetMLP(4), "mine", folder=tmp_path, about=torch.ones(2))
    loaded = load_checkpoint("mine", model=LiteNetMLP(4), folder=tmp_path)
    assert torch.equal(loaded.fc1.weight, first.fc1.weight)


def test_an_interrupted_save_leaves_the_earlier_tensors(tmp_path, monkeypatch):
    path = save_checkpoint(LiteNetMLP(4), "mine", folder=tmp_path)
    before = path.read_bytes()

    def half_a_write(self, content):
        with open(self, "wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half_a_write)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(LiteNetMLP(5), "mine", folder=tmp_path)
    assert path.read_bytes() == before


# --- checkpoints that are wrong -------------------------------------------------------------------------------------


def write(folder: Path, content: bytes, **card: object) -> Path:
    """Put any content in the place of a checkpoint, with a card that vouches for it."""
    path = folder / "mine.safetensors"
    path.write_bytes(content)
    vouching = {"model": "LiteNetMLP", "sha256": hashlib.sha256(content).hexdigest()} | card
    path.with_suffix(".json").write_text(json.dumps(vouching))
    return path


def good_bytes() -> bytes:
    return to_bytes({"fc1.weight": torch.ones(1, 784), "fc1.bias": torch.ones(1)})


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


WRONG = {
    "a bit of a weight flipped": (lambda p: flip(p, -1), "mine.safetensors is damaged: its SHA-256"),
    "a bit of the header flipped": (lambda p: flip(p, 12), "mine.safetensors is damaged: its SHA-256"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-100]), "mine.safetensors is damaged: its SHA-256"),
    "empty": (lambda p: p.write_bytes(b""), "mine.safetensors is damaged: its SHA-256"),
    "missing": (lambda p: p.unlink(), "mine.safetensors cannot be read"),
    "card missing": (lambda p: p.with_suffix(".json").unlink(), "mine.json is missing"),
    "card not JSON": (lambda p: p.with_suffix(".json").write_text("model: LeNet5"), "mine.json is damaged"),
    "card not text": (lambda p: p.with_suffix(".json").write_bytes(b"\xff\xfe\x00"), "mine.json is damaged"),
    "card a list": (lambda p: p.with_suffix(".json").write_text("[1, 2]"), "mine.json is damaged"),
    "card without digest": (lambda p: p.with_suffix(".json").write_text('{"model": "LeNet5"}'), "mine.json is damaged"),
    "card of no network": (lambda p: write(p.parent, good_bytes(), model="ResNet50"), "mine.json names 'ResNet50'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_checkpoint_is_named_with_the_remedy(tmp_path, wrong):
    harm, message = WRONG[wrong]
    harm(save_checkpoint(LiteNetMLP(4), "mine", folder=tmp_path))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint("mine", folder=tmp_path)
    assert 'save_checkpoint(model, "mine", folder=...)' in str(caught.value)
    assert REMEDY not in str(caught.value)  # git has no file of a folder of the learner's own
    assert REMEDY in str(damaged(CHECKPOINTS / "keras" / "mine.json", "is missing"))


def test_a_folder_may_be_text_and_a_file_that_is_no_card_is_no_checkpoint(tmp_path):
    save_checkpoint(LiteNetMLP(4), "mine", folder=str(tmp_path))
    load_checkpoint("mine", model=LiteNetMLP(4), folder=str(tmp_path))
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"there are: mine$"):
        load_checkpoint("nothing", folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"there are: none; utils\.models\.save_checkpoint"):
        load_checkpoint("nothing", folder=tmp_path / "empty")


def test_a_network_of_another_form_is_told_so(tmp_path):
    save_checkpoint(LiteNetMLP(4), "mine", folder=tmp_path)
    for model in (None, LiteNetMLP(5), LeNet5()):  # None builds the form of the course, of 256
        with pytest.raises(CheckpointError, match=r"does not fit this (LiteNetMLP|LeNet5); pass one of the form"):
            load_checkpoint("mine", model=model, folder=tmp_path)


def test_an_unknown_checkpoint_names_those_there_are(tmp_path):
    save_checkpoint(LiteNetMLP(4), "mine", folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint 'nothing' .*; there are: mine"):
        load_checkpoint("nothing", folder=tmp_path)


@given(noise=st.binary(max_size=300), after=st.integers(0, 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_noise_is_taken_for_a_network(tmp_path, noise, after):
    good = good_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    write(tmp_path, good[: [0, 8, header // 2, header][after]] + noise)
    with pytest.raises(CheckpointError):
        load_checkpoint("mine", model=LiteNetMLP(1), folder=tmp_path)


@given(
    dtype=st.sampled_from(["F4", "F8_E8M0", "F32", "I64", "XX", "", 3, None]),
    shape=st.lists(st.integers(-1, 4), max_size=3),
    end=st.integers(-1, 64),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_header_is_taken_for_a_network(tmp_path, dtype, shape, end):
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}
    header = json.dumps({"fc1.weight": tensor}).encode()
    write(tmp_path, len(header).to_bytes(8, "little") + header + bytes(max(0, end)))
    with pytest.raises(CheckpointError):
        load_checkpoint("mine", model=LiteNetMLP(1), folder=tmp_path)


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("how", ["pickle", "torch.save"])
def test_a_pickle_is_refused_and_never_unpickled(tmp_path, how):
    trace, path = tmp_path / "unpickled", tmp_path / "bomb"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save({"fc1.weight": Bomb(trace)}, path)
    write(tmp_path, path.read_bytes())
    with pytest.raises(CheckpointError, match=r"mine\.safetensors is damaged"):
        load_checkpoint("mine", folder=tmp_path)
    assert not trace.exists()
    if how == "pickle":  # the bomb is a real one
        pickle.loads(path.read_bytes())
        assert trace.exists()


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(3, 3), nn.Linear(3, 3)
        self.other.weight = self.one.weight


def test_a_shared_tensor_is_stored_once_and_shared_again_when_it_is_loaded(tmp_path):
    saved = Tied()
    path = save_checkpoint(saved, "tied", folder=tmp_path)
    assert sorted(load_file(path)) == ["one.bias", "one.weight", "other.bias"]
    loaded = load_checkpoint("tied", model=Tied(), folder=tmp_path)
    assert loaded.other.weight is loaded.one.weight
    assert torch.equal(loaded.other.weight, saved.one.weight)
    untied = Tied()
    untied.other.weight = nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(CheckpointError, match=r"other\.weight is None in the file, \(3, 3\) in the network"):
        load_checkpoint("tied", model=untied, folder=tmp_path)


# --- untrained twins --------------------------------------------------------------------------------------------------


class Tokens(nn.Module):
    """A parameter beside children, as a vision transformer has it, and attention."""

    def __init__(self):
        super().__init__()
        self.position, self.attention = nn.Parameter(torch.rand(3, 8)), nn.MultiheadAttention(8, 2)
        self.norm = nn.BatchNorm1d(8)


class Resettable(Tokens):
    def reset_parameters(self):
        nn.init.normal_(self.position)


def test_an_untrained_twin_keeps_nothing_and_refuses_what_nobody_draws_anew():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="no module of this Tokens draws position anew; give the module that owns it"):
        untrained_twin(Tokens())
    model = Resettable().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.5)
    model.norm.running_mean.fill_(3.0)
    twin = untrained_twin(model)
    assert not [name for name, new in twin.named_parameters() if torch.equal(new, model.get_parameter(name))]
    assert all(torch.isfinite(parameter).all() for parameter in twin.parameters())
    assert not twin.norm.running_mean.any()
    assert not twin.training


class TiedAnswers(nn.Module):
    """Answers with the rows of its embedding, and draws them as the embedding does."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.answer = nn.Linear(16, 50, bias=False)
        self.answer.weight = self.embedding.weight


class TiedAndSaid(TiedAnswers):
    def reset_parameters(self):
        nn.init.normal_(self.embedding.weight, std=3.0)


def test_an_untrained_twin_of_tied_weights_is_drawn_as_the_network_says():
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=r"embedding.weight and answer.weight of this TiedAnswers are one parameter"):
        untrained_twin(TiedAnswers())
    twin = untrained_twin(TiedAndSaid())
    assert twin.answer.weight is twin.embedding.weight
    assert 2.7 < twin.answer.weight.std() < 3.3


def test_what_a_module_sets_in_those_inside_it_stays_in_an_untrained_twin():
    attention = nn.MultiheadAttention(8, 2)
    attention.out_proj.bias.data.fill_(1.0)
    assert not untrained_twin(attention).out_proj.bias.any()  # as its __init__ leaves it


# --- layers that are replaced -----------------------------------------------------------------------------------------


def test_an_encoder_calls_its_layers_once_one_of_them_was_replaced():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    layer, x = encoder.layers[0].linear1, torch.rand(2, 3, 8)
    calls = []

    class Counted(nn.Module):  # without a weight that the fused path could read
        def forward(self, x):
            calls.append(len(x))
            return layer(x)

    padded = torch.tensor([[False, False, False], [False, False, True]])
    with torch.no_grad():
        wanted = encoder(x), encoder(x, src_key_padding_mask=padded)
        replace_everywhere(encoder, layer, Counted())
        received = encoder(x), encoder(x, src_key_padding_mask=padded)
    torch.testing.assert_close(received[0], wanted[0])
    torch.testing.assert_close(received[1][~padded], wanted[1][~padded])
    assert calls == [2, 2]
