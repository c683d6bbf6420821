"""Checks for notebook 05, iterative_pruning."""

import secrets
from collections.abc import Callable

import torch

from utils.checks import Case, WrongAnswerError, below, check_cases, exercise, told_as_wrong
from utils.datasets import load
from utils.models import LeNet300100, load_checkpoint
from utils.pruning import prunable
from utils.training import Recipe, evaluate, fit


@exercise("05.1")
def training_cost(answer: Callable) -> None:
    """Multiply-accumulates of a training, relative to a dense one of as many steps."""

    def specification(sparsities: list[float], moves: set[int]) -> float:
        taken = 0.0
        for step, sparsity in enumerate(sparsities):
            outputs = by_inputs = 1 - sparsity
            by_weights = 1.0 if step in moves else 1 - sparsity
            taken += outputs + by_inputs + by_weights
        return taken / (3 * len(sparsities))

    drawn = torch.Generator().manual_seed(secrets.randbits(32))

    def case(steps: int) -> tuple[list[float], set[int]]:
        sparsities = (torch.rand(steps, generator=drawn, dtype=torch.float64) * 100).round().div(100).tolist()
        return sparsities, set((torch.rand(steps, generator=drawn) < 0.4).nonzero().flatten().tolist())

    fixed = [([0.0], set()), ([0.5], set()), ([0.5], {0}), ([0.5, 0.9], {1}), ([0.2, 0.8, 0.8], {0, 7})]
    cases = [*fixed, case(4), case(9), ([0.98] * 200, set(range(0, 150, 20)))]
    check_cases(answer, [(each, specification(*each)) for each in cases], tolerance=1e-6)


@exercise("05.2")
def drop_and_grow(answer: Callable) -> None:
    """One step of RigL: as many weights as before, some of them elsewhere."""

    def specification(mask: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, count: int) -> torch.Tensor:
        old = mask.flatten().tolist()
        weights, gradients = weight.flatten().tolist(), gradient.flatten().tolist()
        kept = sorted((i for i, stays in enumerate(old) if stays), key=lambda i: abs(weights[i]))
        removed = sorted((i for i, stays in enumerate(old) if not stays), key=lambda i: -abs(gradients[i]))
        count = min(count, len(kept), len(removed))
        new = list(old)
        for i in kept[:count]:
            new[i] = False
        for i in removed[:count]:
            new[i] = True
        return torch.tensor(new).view(mask.shape)

    def leaving_the_mask_alone(mask: torch.Tensor, *others: object) -> object:
        before = mask.clone()
        new = answer(mask, *others)
        if not torch.equal(mask, before):
            raise WrongAnswerError("`mask` itself was changed; work on a copy")
        return new

    drawn = torch.Generator().manual_seed(secrets.randbits(32))

    def case(shape: tuple[int, ...], count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        # few magnitudes, so that there are ties and zeros among kept weights and among gradients
        mask = torch.rand(shape, generator=drawn) < 0.5
        weight, gradient = (torch.randint(-3, 4, shape, generator=drawn) / 2 for _ in range(2))
        return mask, weight * mask, gradient, count

    def three(mask: str, weight: list[float], gradient: list[float]) -> tuple[torch.Tensor, ...]:
        return torch.tensor([letter == "1" for letter in mask]), torch.tensor(weight), torch.tensor(gradient)

    across = [tensor.view(3, 2).t() for tensor in three("110010", [3.0, 1, 0, 0, 2, 0], [9.0, 9, 1, -4, 9, 2])]
    fixed = [
        (*three("10", [0.5, 0], [3.0, 0.1]), 0),
        (*three("10", [0.5, 0], [3.0, 0.1]), 1),  # the dropped one has the larger gradient, and must not return
        (*three("111", [1.0, 1, 1], [1.0, 1, 1]), 2),  # nothing to grow, so nothing moves
        (*three("000", [0.0, 0, 0], [1.0, 2, 3]), 2),  # nothing to drop
        (*three("1100", [-2.0, 1, 0, 0], [0.0, 9, 1, -2]), 1),  # signs of weight and gradient
        (*three("1110", [1.0, 1, 1, 0], [0.0, 0, 0, 5]), 1),  # ties among the weights
        (*three("1000", [1.0, 0, 0, 0], [0.0, 3, -3, 3]), 1),  # ties among the gradients
        (*three("1010", [2.0, 0, 1, 0], [0.0, 0, 0, 2]), 2),  # a removed place with gradient zero is grown all the same
        (*three("1100", [0.0, 2, 0, 0], [9.0, 9, 1, 2]), 1),  # a kept weight that is zero, as one just grown is
        (*across, 1),  # a transposed matrix, not contiguous in memory
    ]
    cases: list[Case] = [
        (each, specification(*each)) for each in [*fixed, case((6,), 2), case((2, 5), 4), case((3, 2, 4), 5)]
    ]
    check_cases(leaving_the_mask_alone, cases)


CHALLENGE = {"sparsity": 0.98, "error": 7.0, "images": 20_000, "seeds": (7, 8)}
"""What 05.3 asks for: the sparsity, the mean error on validation in per cent, and with what training."""


@exercise("05.3")
def make_pruner(answer: Callable) -> None:
    """A schedule of one's own: the check trains with it and measures the networks."""
    digits = load("mnist")
    train = digits.train.take(CHALLENGE["images"])
    errors = []
    for seed in CHALLENGE["seeds"]:
        recipe = Recipe(epochs=1, batch_size=64, learning_rate=2e-3, seed=seed)
        network = load_checkpoint("LeNet300100")
        hook = _only_zeroing(network, answer, recipe.steps(CHALLENGE["images"]))
        fit(network, train, recipe, after_step=hook)
        _require_sparsity(network)
        errors.append(100 * (1 - evaluate(network, digits.validation).accuracy))
    mean = sum(errors) / len(errors)
    if mean > CHALLENGE["error"]:
        shown = ", ".join(f"{each:.2f}" for each in errors)
        raise WrongAnswerError(
            f"not yet: the mean error on validation is {mean:.2f} % (with two seeds: {shown}), and at most "
            f"{CHALLENGE['error']:g} % is asked for"
        )
    print(f"sparsity {CHALLENGE['sparsity']:.0%}, mean error on validation {below(mean)}")


def _only_zeroing(network: LeNet300100, answer: Callable, steps: int) -> Callable[[int], None]:
    """Make the learner's hook, and watch that it does nothing to the network but set weights to zero."""

    def watched(what: str, function: Callable, *arguments: object) -> object:
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        with told_as_wrong(f"{what} raised "):
            result = function(*arguments)
        for name, parameter in network.named_parameters():
            if bool(((parameter != before[name]) & (parameter != 0)).any()):
                raise WrongAnswerError(f"not yet right: {what} changed {name} by more than setting weights to zero")
        return result

    hook = watched("make_pruner", answer, network, steps)
    if not callable(hook):
        raise WrongAnswerError(f"not yet right: return a function of the step's number; received: {hook!r}")
    return lambda step: watched(f"the function, at step {step},", hook, step)


def _require_sparsity(network: LeNet300100) -> None:
    weights = prunable(network)
    zeros = sum(int((weight == 0).sum()) for weight in weights.values())
    total = sum(weight.numel() for weight in weights.values())
    if zeros < round(CHALLENGE["sparsity"] * total):
        raise WrongAnswerError(
            f"not yet: after training {zeros / total:.2%} of the weights are zero, and {CHALLENGE['sparsity']:.0%} are "
            "asked for. Does the function put the zeros back after every step?"
        )
