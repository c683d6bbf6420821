"""Training, judging and sampling of models of characters: networks from numbers (N, T) to logits (N, T, characters).

A model is judged in nats a character, the mean of -ln p of what really comes next; in bits that is 1 / ln 2 times as
many.
"""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn
from torch.nn import functional as F

from utils.characters import windows
from utils.files import replace_file
from utils.input_validation import require_fraction, require_int, require_number, require_positive, require_seed
from utils.models import evaluating
from utils.training import rise_then_cosine
from utils.transformer import KeyValueCache

# --- the control ------------------------------------------------------------------------------------------------------


class CharacterLSTM(nn.Module):
    """Two layers of LSTM between an embedding and a head: the control of the transformer (Graves, 2013).

    Args:
        characters: how many kinds there are.
        width: of the embedding and of each layer; 8 width^2 weights a layer.
        layers: how many.
        dropout: share of the numbers that training sets to zero, before each layer and the head.

    >>> CharacterLSTM(5, width=4)(torch.zeros(2, 3, dtype=torch.long)).shape
    torch.Size([2, 3, 5])
    """

    def __init__(self, characters: int = 65, *, width: int = 304, layers: int = 2, dropout: float = 0.0):
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.dropout = nn.Dropout(dropout)
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(width, width, layers, dropout=between, batch_first=True)
        self.head = nn.Linear(width, characters, bias=False)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        nn.init.zeros_(self.head.weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x, _ = self.lstm(self.dropout(self.embedding(tokens)))  # (N, T, width)
        return self.head(self.dropout(x))  # (N, T, characters)


# --- judging ----------------------------------------------------------------------------------------------------------


class TextScore(NamedTuple):
    """Mean of -ln p of the next character, share of them that were the likeliest, and how many were judged."""

    nats: float
    accuracy: float
    characters: int

    @property
    def bits(self) -> float:
        """Bits a character."""
        return self.nats / math.log(2)


def strided_windows(length: int, context: int, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a text into windows that overlap, so that each prediction but the first few has a long text before it.

    Every place is predicted from, and judged in one window only: the first window is judged as a whole, of each other
    one what the window before did not reach.

    Args:
        length: of the text, less one: how many characters have a next one.
        context: length of a window, if the text is so long.
        stride: how far a window begins behind the one before it, from 1 to `context`.

    Returns:
        Where the windows begin, shape (count,), and what is judged of each, bool of shape (count, context).

    >>> starts, judged = strided_windows(6, context=4, stride=2)
    >>> starts.tolist(), judged.int().tolist()
    ([0, 2], [[1, 1, 1, 1], [0, 0, 1, 1]])
    """
    context = min(require_int("context", context, minimum=1), length)
    if not 1 <= stride <= context:
        raise ValueError(f"stride must be from 1 to {context}, the length of a window, got {stride}")
    starts = torch.tensor([*range(0, length - context, stride), length - context])  # the last one ends with the text
    ends = starts + context
    reached = torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1]])
    return starts, starts[:, None] + torch.arange(context) >= reached[:, None]


@torch.no_grad()
def evaluate_text(
    model: nn.Module, part: torch.Tensor, *, context: int = 256, stride: int | None = None, batch_size: int = 32
) -> TextScore:
    """Judge a model by every character of a text but the first, each predicted from at least context - stride others.

    Windows side by side (stride = context) judge each character with half a context on average and find more nats;
    published figures often come from those.

    Args:
        model: numbers (N, T) to logits (N, T, characters); its mode is restored.
        part: the text as numbers, shape (length,).
        context: characters the model is given at once.
        stride: see `strided_windows`; half the context if None.
        batch_size: windows a pass.

    >>> untrained = CharacterLSTM(65, width=4)
    >>> round(evaluate_text(untrained, torch.arange(9), context=4).nats, 3)  # ln 65
    4.174
    """
    places = len(part) - 1
    context = min(context, places)
    starts, judged = strided_windows(places, context, max(1, context // 2) if stride is None else stride)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    nats, right = 0.0, 0
    with evaluating(model):
        for some, these in zip(starts.split(batch_size), judged.split(batch_size), strict=True):
            here = some[:, None] + torch.arange(context)
            logits = model(part[here].to(device))[these.to(device)]  # (judged, characters)
            targets = part[here + 1][these].to(device)
            nats += F.cross_entropy(logits, targets, reduction="sum").item()
            right += int((logits.argmax(dim=-1) == targets).sum())
    return TextScore(nats / places, right / places, places)


# --- sampling ---------------------------------------------------------------------------------------------------------


def next_probabilities(logits: torch.Tensor, *, temperature: float = 1.0, top_k: int | None = None) -> torch.Tensor:
    """Return softmax(logits / temperature) over the `top_k` largest logits; the others get zero.

    Temperature 0 gives the likeliest character probability 1.

    Args:
        logits: shape (..., characters).
        temperature: at least 0; 1 leaves the model's probabilities as they are.
        top_k: from 1; all of them if None.

    >>> next_probabilities(torch.tensor([0.0, 1.0, 2.0]), top_k=2)
    tensor([0.0000, 0.2689, 0.7311])
    """
    if require_number("temperature", temperature, low=0.0) == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    if top_k is not None:
        chosen = logits.topk(min(require_int("top_k", top_k, minimum=1), logits.shape[-1]), dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, chosen.indices, chosen.values)
    return (logits / temperature).softmax(dim=-1)


@torch.no_grad()
def cooler(model: nn.Module, temperature: float) -> nn.Module:
    """Return a copy that is less sure of itself where the temperature is over 1: all its logits are divided by it.

    Args:
        model: its logits are the outputs of a linear layer `head`; it is not changed.
        temperature: over 0; 1 changes nothing.

    >>> model = CharacterLSTM(5, width=4)
    >>> model.head.weight.data.fill_(1.0).shape
    torch.Size([5, 4])
    >>> cooler(model, 2.0).head.weight[0, 0].item()
    0.5
    """
    require_positive("temperature", temperature)
    copied = copy.deepcopy(model)
    for parameter in copied.head.parameters():
        parameter /= temperature
    return copied


@torch.no_grad()
def generate(
    model: nn.Module,
    prompt: torch.Tensor,
    count: int,
    *,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    cached: bool = True,
) -> torch.Tensor:
    """Continue texts character by character: one pass over the prompt (prefill), then one for each character (decode).

    Args:
        model: a `Transformer`, in evaluation mode.
        prompt: shape (N, T); of a prompt longer than the context, its end is read.
        count: characters to write.
        generator: draws them; the global one if None.
        temperature, top_k: see `next_probabilities`.
        cached: keep keys and values; otherwise the last `model.context` characters are read again for each new one.
            The two write the same until the context is full.

    Returns:
        Prompt and continuation, shape (N, T + count).
    """
    texts = prompt
    cache = KeyValueCache(model, batch_size=len(prompt)) if cached else None
    unread = prompt[:, -model.context :]
    for _ in range(require_int("count", count)):
        logits = model(unread, cache)[:, -1]
        drawn = next_probabilities(logits, temperature=temperature, top_k=top_k).multinomial(1, generator=generator)
        texts = torch.cat([texts, drawn], dim=1)
        unread = drawn if cached else texts[:, -model.context :]
    return texts


# --- training ---------------------------------------------------------------------------------------------------------

TextLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits, float32 of shape (N, T, characters), inputs and targets, both (N, T), to a number to minimize."""


def next_character_loss(logits: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of -ln p of the targets; the inputs are for losses that need them.

    >>> next_character_loss(torch.zeros(1, 2, 4), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.long))  # ln 4
    tensor(1.3863)
    """
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def distillation_loss(teacher: nn.Module, *, temperature: float = 1.0, share: float = 1.0) -> TextLoss:
    """Return the loss of distillation: share * temperature^2 * KL(teacher, student) + (1 - share) * nats.

    Both distributions are softmax(logits / temperature). As `training.distillation`, but for a mean over characters.

    Args:
        teacher: numbers (N, T) to logits (N, T, characters), in evaluation mode; it is not trained.
        temperature: above 0; higher ones show more of what the teacher thinks of the unlikely characters.
        share: of the teacher in the loss, from 0 to 1.

    Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, section 2.

    >>> same = CharacterLSTM(4, width=4)
    >>> read = torch.zeros(1, 2, dtype=torch.long)
    >>> distillation_loss(same)(same(read), read, read).item()
    0.0
    """
    require_positive("temperature", temperature)
    require_fraction("share", share)

    def loss(logits: torch.Tensor, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = (teacher(inputs).float() / temperature).log_softmax(dim=-1).flatten(0, 1)
        ours = (logits / temperature).log_softmax(dim=-1).flatten(0, 1)  # (N T, characters)
        apart = F.kl_div(ours, wanted, reduction="batchmean", log_target=True)
        return share * temperature**2 * apart + (1 - share) * next_character_loss(logits, inputs, targets)

    return loss


@dataclass(frozen=True, kw_only=True)
class TextRecipe:
    """How to train on a text: AdamW with a learning rate that rises and falls to zero along a cosine.

    Args:
        steps: updates in all.
        batch_size: windows a step, drawn with replacement.
        context: length of each.
        learning_rate: the highest value it reaches.
        weight_decay: of the matrices, decoupled from the gradient; embeddings and norms have none.
        beta2: of Adam's mean of squared gradients.
        warm_up: share of the steps during which the rate rises.
        clip: the gradient's norm, over all parameters, is cut to this.
        average: decay of the moving average of the weights, which is what is validated and kept; 0 for none. It is
            shorter in the beginning: (1 + step) / (10 + step).
        seed: of the windows and of dropout.
        bfloat16: multiply in bfloat16 and keep the weights in float32 (autocast); slow where the processor lacks it.
    """

    steps: int
    batch_size: int = 16
    context: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    beta2: float = 0.99
    warm_up: float = 0.03
    clip: float = 1.0
    average: float = 0.0
    seed: int = 0
    bfloat16: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "context"):
            require_int(name, getattr(self, name), minimum=1)
        for name in ("learning_rate", "weight_decay"):
            require_number(name, getattr(self, name), low=0.0)
        for name in ("beta2", "warm_up", "average"):
            require_fraction(name, getattr(self, name))
        require_positive("clip", self.clip)
        require_seed(self.seed)

    @property
    def characters(self) -> int:
        """How many characters are learned from in all, each as often as it is drawn."""
        return self.steps * self.batch_size * self.context


@dataclass
class TextHistory:
    """What happened between two validations, one entry for each: nats in training and validation, seconds."""

    steps: list[int] = field(default_factory=list)
    train_nats: list[float] = field(default_factory=list)
    validation_nats: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The entry, counted from 0, with the lowest validation; the earliest of equals."""
        return min(range(len(self.validation_nats)), key=self.validation_nats.__getitem__)


def fit_text(
    model: nn.Module,
    train: torch.Tensor,
    recipe: TextRecipe,
    *,
    validation: torch.Tensor | None = None,
    every: int = 250,
    state: Path | None = None,
    report: Callable[[TextHistory], None] = lambda _: None,
    loss: TextLoss = next_character_loss,
) -> TextHistory:
    """Train `model` in place on its own device and leave it in evaluation mode.

    With a validation text the weights with the lowest nats on it are restored at the end. Windows and dropout of a step
    depend on seed and step only: a training that was interrupted and goes on ends with the same weights. For that,
    PyTorch's global generator is seeded anew in every step.

    Args:
        model: numbers (N, T) to logits (N, T, characters).
        train: the text to learn from, shape (characters,).
        recipe: how.
        validation: the text to choose the weights by, in windows side by side.
        every: steps from one validation, and one report, to the next.
        state: where the training is kept at each of them; if the file is there, the training goes on from it. It is
            removed at the end.
        report: called after each.
        loss: what is minimized, such as `distillation_loss(teacher)`; history and validation stay as they are named.

    Raises `ValueError` if the loss becomes NaN or infinite, or if `state` is of another recipe.
    """
    training = _Training(model, recipe, loss)
    if state is not None and state.exists():
        training.restore(state.read_bytes())
    began, total, since = time.perf_counter(), 0.0, training.step
    for inputs, targets in training.batches(train):
        total += training.update(inputs, targets)
        if training.step % every and training.step < recipe.steps:
            continue
        training.history.steps.append(training.step)
        training.history.train_nats.append(total / (training.step - since))
        training.keep_if_better(validation)
        training.history.seconds.append(time.perf_counter() - began)
        if state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)
            replace_file(state, training.saved())
        report(training.history)
        began, total, since = time.perf_counter(), 0.0, training.step
    model.load_state_dict(training.best)
    model.eval()
    if state is not None:
        state.unlink(missing_ok=True)
    return training.history


class _Training:
    """A training under way: network, optimizer, moving average, best weights so far."""

    def __init__(self, model: nn.Module, recipe: TextRecipe, loss: TextLoss):
        self.model, self.recipe, self.loss = model, recipe, loss
        self.step = 0
        self.history = TextHistory()
        self.average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.best = self.average
        matrices, others = [], []
        for module in model.modules():
            for parameter in module.parameters(recurse=False):
                (others if parameter.ndim < 2 or isinstance(module, nn.Embedding) else matrices).append(parameter)
        self.parameters = [*matrices, *others]
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, recipe.beta2))

    def batches(self, train: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        device = self.parameters[0].device
        while self.step < self.recipe.steps:
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
            torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)  # of dropout
            inputs, targets = windows(train, self.recipe.context, self.recipe.batch_size, generator)
            yield inputs.to(device), targets.to(device)

    def update(self, inputs: torch.Tensor, targets: torch.Tensor) -> float:
        """Make one step and return its loss in nats."""
        self.model.train()
        rate = self.recipe.learning_rate * rise_then_cosine(self.step, self.recipe.steps, self.recipe.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.recipe.bfloat16):
            logits = self.model(inputs)
            loss = self.loss(logits.float(), inputs, targets)
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss became {loss.item()} at step {self.step}; try a learning_rate below "
                f"{self.recipe.learning_rate:g}"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        decay = min(self.recipe.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, 1 - decay)
                else:  # the codes of a quantized base
                    self.average[name].copy_(tensor)
        return loss.item()

    def keep_if_better(self, validation: torch.Tensor | None) -> None:
        """Validate the averaged weights and keep them if they are the best so far, or if there is no validation."""
        if validation is not None:
            own = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
            self.model.load_state_dict(self.average)
            context = self.recipe.context
            score = evaluate_text(self.model, validation, context=context, stride=min(context, len(validation) - 1))
            self.history.validation_nats.append(score.nats)
            self.model.load_state_dict(own)
            if self.history.best != len(self.history.validation_nats) - 1:
                return
        self.best = {name: tensor.clone() for name, tensor in self.average.items()}

    def saved(self) -> bytes:
        """Return all that `restore` needs as one safetensors file."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for number, held in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in held.items()}
        about = {"step": self.step, "history": asdict(self.history), "recipe": asdict(self.recipe)}
        tensors["about"] = torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)
        return save_tensors({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()})

    def restore(self, content: bytes) -> None:
        tensors = load_tensors(content)
        about = json.loads(bytes(tensors.pop("about").tolist()))
        if about["recipe"] != asdict(self.recipe):
            raise ValueError(f"the training that was begun has another recipe: {about['recipe']}; remove its file")
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "average": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        device = self.parameters[0].device
        self.average = {name: tensor.to(device) for name, tensor in parts["average"].items()}
        self.best = {name: tensor.to(device) for name, tensor in parts["best"].items()}
        held: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            number, _, what = name.partition(".")
            held.setdefault(int(number), {})[what] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": held})
        self.step, self.history = about["step"], TextHistory(**about["history"])
