"""The files of a checkpoint: tensors in safetensors, everything about them in a JSON card beside it.

`models` fills PyTorch's networks from them and `keras_models` Keras's; this module loads neither library, and nothing
is ever unpickled.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from utils.files import ROOT, replace_file

CHECKPOINTS = ROOT / "data" / "checkpoints"

COMPRESSED = CHECKPOINTS / "compressed"
"""Where notebook 15's files lie, those of `utils.entropy_coding`, each with a card."""

Tensors = TypeVar("Tensors")


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or of another network; the message says which and how to restore it."""


def damaged(path: Path, wrong: str) -> CheckpointError:
    """Return the error that says what is wrong with a file and how to restore it."""
    if CHECKPOINTS.resolve() not in path.resolve().parents:  # a folder of the learner's own
        return CheckpointError(
            f"{path.name} {wrong}. Write the file and its card, {path.stem}.json, together: "
            f'utils.models.save_checkpoint(model, "{path.stem}", folder=...)'
        )
    return CheckpointError(
        f"{path.name} {wrong}. To restore it: git checkout -- data/checkpoints "
        "(or train it again: python -m utils checkpoints NAME)"
    )


def write_checkpoint(
    folder: Path | str, name: str, content: bytes, *, model: str, suffix: str = ".safetensors", **about: object
) -> Path:
    """Write `<name><suffix>` and, beside it, `<name>.json`: model, digest, bytes and whatever `about` says.

    Both files are written beside their place and moved there, so an interrupted call leaves no half file.
    """
    card = {"model": model, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), **about}
    text = (json.dumps(card, indent=2) + "\n").encode()  # before either file is touched: it may raise
    folder = Path(folder)
    path = folder / f"{name}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    replace_file(path.with_suffix(".json"), text)
    return path


def read_checkpoint(
    folder: Path | str, name: str, decode: Callable[[bytes], Tensors], *, suffix: str = ".safetensors"
) -> Tensors:
    """Return what `decode` makes of a checkpoint, a `load` of safetensors for instance, after checking its digest.

    Raises:
        CheckpointError: the file or its card is missing or damaged.
    """
    path = Path(folder) / f"{name}{suffix}"
    card = checkpoint_card(name, folder=folder)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        raise damaged(path, "is damaged: its SHA-256 digest is not the one in its card")
    try:
        return decode(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # KeyError: a dtype the library does not have
        raise damaged(path, f"is damaged: {error}") from None


def checkpoint_card(name: str, *, folder: Path | str = CHECKPOINTS) -> dict:
    """Return what is known of a checkpoint: class, digest, bytes, seed, epochs, versions, accuracies.

    Raises:
        CheckpointError: the card is missing or damaged.

    >>> checkpoint_card("LiteNetMLP")["parameters"]
    203530
    """
    folder = Path(folder)
    path = folder / f"{name}.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not {"model", "sha256"} <= card.keys():
            raise ValueError("it names no model or no digest")
    except FileNotFoundError:
        if path.with_suffix(".safetensors").exists():
            raise damaged(path, "is missing") from None
        cards = (p for p in folder.glob("*.json") if any(f.suffix != ".json" for f in folder.glob(f"{p.stem}.*")))
        known = (
            ", ".join(sorted(p.stem for p in cards)) or "none; utils.models.save_checkpoint(model, name, folder=...)"
        )
        raise CheckpointError(f"there is no checkpoint {name!r} in {folder.name}/; there are: {known}") from None
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from None
    except (ValueError, AttributeError) as error:
        raise damaged(path, f"is damaged: {error}") from None
    return card
