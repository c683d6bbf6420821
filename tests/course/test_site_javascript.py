"""What the site's pages compute, run by Node: the decoder bit for bit, the networks to the last digits of float32.

`tests/browser` asks the same of Chromium; without Node these tests are skipped, and pytest's summary says so.
"""

import base64
import hashlib
import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from utils import entropy_coding
from utils.bit_packing import pack
from utils.characters import load_shakespeare
from utils.checkpoint_files import CHECKPOINTS
from utils.course import site_language, site_networks
from utils.entropy_coding import CodingError, SharedTensor, decode_tensors, encode_network
from utils.files import ROOT
from utils.language_models import next_probabilities
from utils.models import LeNet300100, save_checkpoint, to_safetensors
from utils.transformer import KeyValueCache, Transformer

NODE = shutil.which("node") or shutil.which("nodejs")

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node: apt-get install nodejs")

needs_coder = pytest.mark.skipif(entropy_coding.constriction is None, reason="no wheel for Linux on aarch64")

CODED = sorted((CHECKPOINTS / "compressed").glob("*.nnz"))

SCRIPT = """
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { decodeNetwork } from "./coded.js";
import { lenet5 } from "./lenet5.js";
import { readSafetensors, unpack } from "./safetensors.js";
import { draw, nextProbabilities, randomNumbers, Transformer } from "./transformer.js";
const buffer = (text) => Uint8Array.from(Buffer.from(text, "base64")).buffer;
const bytes = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);
const digest = (values) => createHash("sha256").update(bytes(values)).digest("hex");
const given = JSON.parse(readFileSync(0));
const run = async () => {
%s
};
console.log(JSON.stringify(await run()));
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A function that runs lines of JavaScript, which find `given`, and returns what they return."""
    folder = tmp_path_factory.mktemp("networks")
    shutil.copytree(ROOT / "site" / "static" / "networks", folder, dirs_exist_ok=True)
    (folder / "package.json").write_text('{"type": "module"}')

    def run(lines, given):
        (folder / "run.js").write_text(SCRIPT % lines, encoding="utf-8")
        done = subprocess.run(
            [NODE, "run.js"], cwd=folder, input=json.dumps(given), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def _text(content):
    return base64.b64encode(content).decode()


# --- the decoder ------------------------------------------------------------------------------------------------------

DECODE = """
  return given.map((text) => {
    const { model, arguments: form, tensors } = decodeNetwork(buffer(text));
    const named = Object.entries(tensors);
    return [model, form, named.map(([name, { shape, codes, values }]) => [name, shape, digest(codes), digest(values)])];
  });
"""


def _digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _expected(content):
    return [
        [name, list(tensor.codes.shape), _digest(tensor.codes.astype(np.uint8)), _digest(tensor.values)]
        for name, tensor in decode_tensors(content).items()
    ]


@needs_coder
def test_every_coded_file_of_the_course_is_decoded_bit_for_bit(node):
    contents = [path.read_bytes() for path in CODED]
    found = node(DECODE, [_text(content) for content in contents])
    assert len(found) == len(CODED) > 20
    for path, content, (model, form, tensors) in zip(CODED, contents, found, strict=True):
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert (model, form) == (card["model"], card["arguments"])
        assert tensors == _expected(content), path.name


def _random_file(density, centroids):
    """Return the file of a narrow network, its masks and codes at random."""
    rng, tensors = np.random.default_rng(len(centroids)), {}
    for name, tensor in LeNet300100(hidden=(6, 5)).state_dict().items():
        shape = tuple(tensor.shape)
        codes = rng.integers(1, len(centroids) + 1, shape) * (rng.random(shape) < density)
        tensors[name] = SharedTensor(codes, np.array(centroids, dtype=np.float16))
    return encode_network(tensors, model="LeNet300100", arguments={"hidden": [6, 5]})


@needs_coder
def test_masks_and_centroids_of_every_kind_are_decoded_bit_for_bit(node):
    rng = np.random.default_rng(0)
    steps = [level * 0.00032 for level in range(-9, 10) if level]  # evenly spaced, with subnormal neighbours of zero
    contents = [
        _random_file(density, centroids)
        for density in (0.0, 0.002, 0.05, 0.6, 1.0)
        for centroids in ([0.5], [-0.25, 0.125], steps, [-70.0, 70.0], rng.normal(size=127).tolist())
    ]
    contents.append(_random_file(0.3, (np.arange(-3, 4)[np.arange(7) != 3] * np.float64(np.float16(0.0123))).tolist()))
    for content, (_, _, tensors) in zip(contents, node(DECODE, [_text(c) for c in contents]), strict=True):
        assert tensors == _expected(content)


@needs_coder
def test_a_damaged_file_is_an_error_and_never_a_network(node):
    whole = _random_file(0.2, [-0.5, 0.5])
    other = whole.replace(b"LeNet300100", b"LeNet300101")
    damaged = [whole[:-4], whole[:7], b"", b"NNZ1" + whole[4:], bytes([*whole[:-3], whole[-3] ^ 1, *whole[-2:]]), other]
    lines = (
        "return given.map((text) => { try { decodeNetwork(buffer(text)); return 'read'; } catch { return 'error'; } });"
    )
    assert node(lines, [_text(content) for content in [whole, *damaged]]) == ["read", *["error"] * len(damaged)]
    for content in damaged:
        with pytest.raises(CodingError):
            decode_tensors(content)


# --- the networks -----------------------------------------------------------------------------------------------------


@needs_coder
def test_each_network_of_the_page_computes_what_pytorch_computes(node, mnist):
    models = [site_networks.read_network(network) for network in site_networks.NETWORKS]
    images = mnist.test.images[:4]
    files = [
        (CHECKPOINTS / network.source).read_bytes() if network.source else to_safetensors(model)
        for network, model in zip(site_networks.NETWORKS, models, strict=True)
    ]
    lines = """
      return given.files.map((text) => {
        const content = buffer(text);
        const coded = new TextDecoder().decode(content.slice(0, 3)) === "NNZ";
        const run = lenet5(coded ? decodeNetwork(content).tensors : readSafetensors(content));
        return given.images.map((image) => run(new Float32Array(buffer(image))));
      });
    """
    given = {"files": [_text(file) for file in files], "images": [_text(i.numpy().tobytes()) for i in images]}
    for model, logits in zip(models, node(lines, given), strict=True):
        with torch.no_grad():
            torch.testing.assert_close(torch.tensor(logits), model(images), rtol=0, atol=1e-4)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_packed_integers_are_unpacked(node, bits):
    codes = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (24,), generator=torch.Generator().manual_seed(bits))
    given = {"packed": _text(pack(codes, bits).numpy().tobytes())}
    assert node("return [...unpack(new Uint8Array(buffer(given.packed)), 24)];", given) == codes.tolist()


FORM = {"characters": 11, "width": 24, "blocks": 2, "heads": 3, "hidden": 20, "context": 8}


@pytest.fixture(scope="module")
def transformer():
    torch.manual_seed(0)
    model = Transformer(**FORM).eval()
    torch.nn.init.normal_(model.head.weight)  # it starts at zero
    for parameter in [p for name, p in model.named_parameters() if "norm" in name]:
        torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


@pytest.mark.parametrize("bits", [32, 8, 4])
@torch.no_grad()
def test_the_transformer_computes_what_pytorch_computes_with_a_cache_and_without(node, transformer, bits):
    model = site_language.rounded(transformer, bits)
    file = to_safetensors(model) if bits == 32 else site_language.rounded_file(model)
    text = torch.randint(FORM["characters"], (30,), generator=torch.Generator().manual_seed(1))
    lines = """
      const network = new Transformer(readSafetensors(buffer(given.file)), given.form);
      const cache = network.cache();
      const cached = given.text.map((character) => [...network.logits(network.read(character, cache))]);
      return { cached, afresh: given.text.map((_, i) => [...network.afresh(given.text.slice(0, i + 1))]) };
    """
    found = node(lines, {"file": _text(file), "form": FORM, "text": text.tolist()})
    cache = KeyValueCache(transformer)  # of 8 characters: it forgets most of the 30
    cached = torch.cat([model(character.view(1, 1), cache)[0] for character in text])
    afresh = torch.stack([model(text[max(0, end - FORM["context"]) : end][None])[0, -1] for end in range(1, 31)])
    torch.testing.assert_close(torch.tensor(found["cached"]), cached, rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.tensor(found["afresh"]), afresh, rtol=0, atol=1e-4)
    assert float((cached[:8] - afresh[:8]).abs().max()) < 1e-4 < float((cached[8:] - afresh[8:]).abs().max())


@pytest.mark.parametrize("how", [{}, {"temperature": 0.7, "top_k": 3}, {"temperature": 0}, {"temperature": 2.0}])
def test_the_next_character_has_the_probabilities_of_python(node, how):
    logits = torch.randn(65, generator=torch.Generator().manual_seed(2))
    given = {"logits": logits.tolist(), "how": {"topK" if key == "top_k" else key: how[key] for key in how}}
    lines = "return [...nextProbabilities(Float32Array.from(given.logits), given.how)];"
    found = torch.tensor(node(lines, given), dtype=torch.float32)
    torch.testing.assert_close(found, next_probabilities(logits, **how), rtol=1e-4, atol=1e-7)


def test_what_is_drawn_follows_the_probabilities_and_the_seed(node):
    lines = """
      const counts = given.seeds.map((seed) => {
        const [random, counts] = [randomNumbers(seed), [0, 0, 0]];
        for (let i = 0; i < 10_000; i++) counts[draw(Float64Array.of(0.5, 0.2, 0.3), random)] += 1;
        return counts;
      });
      return counts;
    """
    first, again, other = node(lines, {"seeds": [1, 1, 2]})
    assert first == again != other
    for count, chance in zip(other, (0.5, 0.2, 0.3), strict=True):
        assert abs(count - 10_000 * chance) < 5 * (10_000 * chance * (1 - chance)) ** 0.5


def test_the_files_of_the_language_model_are_those_of_its_checkpoint(tmp_path):
    torch.manual_seed(0)
    form = {"characters": 65, "width": 16, "blocks": 1, "heads": 2, "hidden": 24, "context": 32}
    model = Transformer(**form)
    torch.nn.init.normal_(model.head.weight)
    save_checkpoint(model, "tiny", folder=tmp_path / "from", arguments=form)
    folder = site_language.write_language_model(tmp_path / "to", name="tiny", checkpoints=tmp_path / "from", judged=500)
    about = json.loads((folder / site_language.ABOUT).read_text(encoding="utf-8"))
    assert about["characters"] == load_shakespeare().vocabulary.characters
    sizes = [file["bytes"] for file in about["files"]]
    assert sizes == sorted(sizes, reverse=True) == [(folder / file["file"]).stat().st_size for file in about["files"]]
    float32, int8, int4 = (file["nats"] for file in about["files"])
    assert 0 < abs(int8 - float32) < abs(int4 - float32)
    assert (folder / "tiny.safetensors").read_bytes() == (tmp_path / "from" / "tiny.safetensors").read_bytes()
    before = (folder / "tiny-4-bit.safetensors").stat().st_mtime_ns
    site_language.write_language_model(tmp_path / "to", name="tiny", checkpoints=tmp_path / "from", judged=500)
    assert (folder / "tiny-4-bit.safetensors").stat().st_mtime_ns == before
