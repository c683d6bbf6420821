"""What the page "Let it write" runs: the small transformer of notebook 17 as files of 32, 8 and 4 bits a weight."""

import hashlib
import json
from pathlib import Path

from safetensors.torch import save
from torch import nn

from utils.characters import load_shakespeare
from utils.checkpoint_files import checkpoint_card
from utils.files import replace_file
from utils.language_models import evaluate_text
from utils.qat import WeightRange, convert, prepare
from utils.transformer import LANGUAGE, load_transformer

ABOUT = "about.json"
"""The file that names the others, written last: where it is, everything is."""

NAME = "Shakespeare-draft"
"""The checkpoint; float32, it is handed on as it is."""

TITLES = {32: "float32, the checkpoint", 8: "8 bits, a scale for each row", 4: "4 bits, a scale for each row"}

JUDGED = 20_000
"""Characters of the test part by which the files are compared."""


def rounded(model: nn.Module, bits: int) -> nn.Module:
    """Return the network with each row of its matrices rounded to the nearest integers; 32 bits are left alone.

    The embedding stays float32: it multiplies nothing.
    """
    if bits == 32:
        return model
    return convert(prepare(model, weight=lambda channels: WeightRange(bits, channels), activation=None))


def rounded_file(model: nn.Module) -> bytes:
    """Return the safetensors file of what `rounded` returned: packed integers and scales, without biases.

    The transformer has no biases; those of the converted layers are zeros.
    """
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(".bias")}
    return save({name: tensor.contiguous() for name, tensor in state.items()})


def write_language_model(folder: Path, *, name: str = NAME, checkpoints: Path = LANGUAGE, judged: int = JUDGED) -> Path:
    """Write the files and what each costs in nats a character, unless they are there already.

    Args:
        folder: where to write.
        name: the checkpoint of a `Transformer`.
        checkpoints: where it lies.
        judged: characters of the test part that the nats are a mean over.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
    """
    card = checkpoint_card(name, folder=checkpoints)
    digest = hashlib.sha256(Path(__file__).read_bytes() + card["sha256"].encode()).hexdigest()[:16]
    about_file = folder / ABOUT
    if about_file.is_file() and json.loads(about_file.read_bytes())["digest"] == digest:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    text = load_shakespeare()
    model = load_transformer(name, folder=checkpoints)
    files = []
    for bits, title in TITLES.items():
        version = rounded(model, bits)
        path = folder / (f"{name}.safetensors" if bits == 32 else f"{name}-{bits}-bit.safetensors")
        replace_file(path, (checkpoints / path.name).read_bytes() if bits == 32 else rounded_file(version))
        nats = evaluate_text(version, text.test[: judged + 1], context=min(256, model.context)).nats
        files.append({"bits": bits, "title": title, "file": path.name, "bytes": path.stat().st_size, "nats": nats})
    parameters = sum(parameter.numel() for parameter in model.parameters())
    about = {"digest": digest, "parameters": parameters, "arguments": card["arguments"], "judged": judged}
    about |= {"characters": text.vocabulary.characters, "files": files}
    replace_file(about_file, (json.dumps(about, indent=1) + "\n").encode())
    return folder
