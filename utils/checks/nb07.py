"""Checks for notebook 07, pca_compression."""

import secrets
from collections.abc import Callable

import torch
from torch import nn

from utils.accounting import count_macs
from utils.checks import Case, WrongAnswerError, check_cases, exercise, told_as_wrong
from utils.datasets import load
from utils.models import load_checkpoint
from utils.training import evaluate


@exercise("07.1")
def macs_after_folding(answer: Callable) -> None:
    """The multiply-accumulates of a network whose outputs are projected, with all folded that can be."""

    def specification(sizes: list[int], relu: list[bool], kept: list[int | None]) -> int:
        macs, inputs = 0, sizes[0]
        for index, (outputs, components) in enumerate(zip(sizes[1:], kept, strict=True)):
            if components is None:
                macs, inputs = macs + inputs * outputs, outputs
            elif relu[index] or index == len(kept) - 1:  # the way up stays as a layer of its own
                macs, inputs = macs + inputs * components + components * outputs, outputs
            else:  # it folds into the next layer
                macs, inputs = macs + inputs * components, components
        return macs

    drawn = torch.Generator().manual_seed(secrets.randbits(32))

    def one_of(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=drawn))

    def case(layers: int) -> tuple[list[int], list[bool], list[int | None]]:
        sizes = [one_of(2, 40) for _ in range(layers + 1)]
        relu = [one_of(0, 2) == 1 for _ in range(layers)]
        return sizes, relu, [one_of(1, size + 1) if one_of(0, 3) else None for size in sizes[1:]]

    fixed: list[tuple] = [
        ([3, 2], [False], [None]),
        ([3, 2], [False], [1]),  # nothing behind it to fold into
        ([3, 2], [True], [1]),
        ([4, 3, 2], [True, False], [1, None]),
        ([4, 3, 2], [False, False], [1, None]),
        ([4, 3, 2], [True, False], [3, None]),  # all components kept: more than before
        ([4, 3, 2], [False, False], [3, None]),  # here it costs nothing
        ([784, 300, 100, 10], [True, True, False], [40, 15, None]),
    ]
    cases: list[Case] = [(each, specification(*each)) for each in [*fixed, *map(case, (3, 3, 4, 5, 6, 8, 8))]]
    check_cases(answer, cases)


@exercise("07.2")
def fold_whitened(answer: Callable) -> None:
    """Fold centring, projection and whitening into the layer behind them."""

    def specification(
        weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, components: torch.Tensor, variances: torch.Tensor
    ) -> tuple:
        folded, constant = torch.zeros(len(weight), len(mean)), bias.clone()
        for output in range(len(weight)):
            for kept in range(len(components)):
                scale = weight[output, kept] / variances[kept].sqrt()
                for feature in range(len(mean)):
                    folded[output, feature] += scale * components[kept, feature]
                    constant[output] -= scale * components[kept, feature] * mean[feature]
        return folded, constant

    generator = torch.Generator().manual_seed(secrets.randbits(32))

    def drawn(features: int, kept: int, outputs: int) -> tuple:
        directions = torch.linalg.qr(torch.randn(features, kept, generator=generator)).Q.T
        variances = torch.rand(kept, generator=generator).add(0.1).sort(descending=True).values
        halves = torch.randint(-4, 5, (outputs, kept), generator=generator) / 2
        mean = torch.randint(1, 9, (features,), generator=generator).float()
        return halves, torch.ones(outputs), mean, directions, variances

    one = torch.ones(1, 1)
    plain = (one, torch.zeros(1), torch.zeros(1), one, torch.ones(1))
    with_mean = (2 * one, torch.ones(1), torch.tensor([3.0]), one, torch.ones(1))
    with_variance = (2 * one, torch.ones(1), torch.tensor([3.0]), one, torch.tensor([4.0]))
    turned = (
        torch.tensor([[1.0, 2.0], [0.0, 1.0]]),
        torch.tensor([0.5, 0.0]),
        torch.tensor([1.0, 0.0, 2.0]),
        torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]),
        torch.tensor([4.0, 0.25]),
    )
    cases = [plain, with_mean, with_variance, turned, drawn(4, 2, 3), drawn(5, 5, 2), drawn(9, 3, 1)]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-4)


CHALLENGE = {"macs": 26_620, "error": 4.2}
"""What 07.3 asks for: at most a tenth of LeNet300100's multiply-accumulates, and an error on validation in per cent."""


@exercise("07.3")
def compress(answer: Callable) -> None:
    """A tenth of the multiply-accumulates without labels: the check counts and classifies with what is handed in."""
    digits = load("mnist")
    dense = load_checkpoint("LeNet300100").requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    with told_as_wrong("compress raised "):
        network = answer(dense, digits.train.images.clone())
    if not isinstance(network, nn.Module):
        raise WrongAnswerError(f"not yet right: return a network, an nn.Module; received: {type(network).__name__}")
    after = dense.state_dict()
    if after.keys() != before.keys() or any(not torch.equal(after[name], before[name]) for name in before):
        raise WrongAnswerError("the dense network itself was changed; put the new layers into a copy of it")
    try:
        macs = count_macs(network, digits.validation.images[:1])
        error = 100 * (1 - evaluate(network, digits.validation).accuracy)
    except Exception as failed:  # shapes that do not fit, for instance
        raise WrongAnswerError(f"not yet right: the network raised {type(failed).__name__}: {failed}") from failed
    found = f"{macs:,} multiply-accumulates, {error:.2f} % error on validation"
    if macs > CHALLENGE["macs"] or error > CHALLENGE["error"]:
        raise WrongAnswerError(f"not yet: {found}; at most {CHALLENGE['macs']:,} and {CHALLENGE['error']} % are wanted")
    print(f"{macs:,} multiply-accumulates, and at most {CHALLENGE['error']} % error on validation")
