"""Optimal brain surgeon, layer by layer: what a weight costs, and how those that stay take over from it.

Removing weights from a row `w` of a linear layer, so that it becomes `v`, changes the row's output by (w - v) C (w - v)
in mean square, where C is the mean of x x^T over calibration inputs. All prices and repairs here are of this error.
"""

from collections.abc import Callable, Sequence

import torch

from utils.pruning import mask_each_row

Price = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""A function of (weight, mask, moment) that returns what each weight costs; what it says of removed ones is ignored."""

DAMPING = 0.01
"""Of the mean diagonal, added to the diagonal of C: inputs that are always zero would make it singular."""


def second_moment(inputs: torch.Tensor) -> torch.Tensor:
    """Return C, the mean of x x^T over inputs of shape (N, n), with a hundredth of its mean diagonal added.

    Source: Frantar and Alistarh, "SparseGPT", 2023, whose code adds the same hundredth.

    >>> second_moment(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    tensor([[1.0150, 1.0000],
            [1.0000, 2.0150]])
    """
    moment = inputs.T @ inputs / len(inputs)  # (n, n)
    return moment + DAMPING * moment.diagonal().mean() * torch.eye(len(moment)).to(moment)


def repair(weight: torch.Tensor, mask: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Give the kept weights of each row the values that change its output least: C_KK v_K = C_K w.

    Args:
        weight: shape (m, n), before anything was removed.
        mask: bool, shape (m, n); True stays.
        moment: shape (n, n), of `second_moment`.

    >>> moment = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    >>> repair(torch.tensor([[2.0, 1.0]]), torch.tensor([[True, False]]), moment)
    tensor([[2.5000, 0.0000]])
    """
    repaired = torch.zeros_like(weight)
    for row, kept in enumerate(mask):
        wanted = moment[kept] @ weight[row]  # (kept,)
        repaired[row, kept] = torch.linalg.solve(moment[kept][:, kept], wanted)
    return repaired


def magnitude_price(weight: torch.Tensor, mask: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Return w^2: what a weight costs if C were the identity.

    >>> magnitude_price(torch.tensor([[3.0, -1.0]]), torch.ones(1, 2, dtype=torch.bool), torch.eye(2))
    tensor([[9., 1.]])
    """
    return weight.square()


def wanda_price(weight: torch.Tensor, mask: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Return w^2 C_pp, what a weight costs if no other moves: Wanda's score, squared, over the number of images.

    >>> moment = torch.diag(torch.tensor([1.0, 20.0]))
    >>> wanda_price(torch.tensor([[3.0, -1.0]]), torch.ones(1, 2, dtype=torch.bool), moment)
    tensor([[ 9., 20.]])
    """
    return weight.square() * moment.diagonal()


def surgeon_price(weight: torch.Tensor, mask: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Return w^2 / [C^-1]_pp, what a weight costs if the others do their best, with C cut to what the row still has.

    Source: Hassibi and Stork, "Second order derivatives for network pruning", 1992, section 2.

    >>> moment = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    >>> surgeon_price(torch.tensor([[2.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool), moment)
    tensor([[3.0000, 0.7500]])
    """
    diagonal = torch.linalg.inv(moment).diagonal().expand_as(weight).clone()  # (m, n)
    for row, kept in enumerate(mask):
        if not kept.all():
            diagonal[row, kept] = torch.linalg.inv(moment[kept][:, kept]).diagonal()
    return weight.square() / diagonal


def prune_in_rounds(
    weight: torch.Tensor, moment: torch.Tensor, price: Price, sparsities: Sequence[float], *, repaired: bool = True
) -> torch.Tensor:
    """Remove in rounds: price what is left, remove the cheapest of each row, and repair, or leave the rest as it was.

    Args:
        weight: shape (m, n).
        moment: shape (n, n), of `second_moment`.
        price: `surgeon_price` for optimal brain surgeon; `magnitude_price`, `wanda_price`.
        sparsities: of each row after each round, rising; one number is one cut.
        repaired: whether the weights that stay take over, after each round.

    >>> row, moment = torch.tensor([[2.0, 1.0, 1.5]]), torch.eye(3)
    >>> prune_in_rounds(row, moment, magnitude_price, [1 / 3, 2 / 3])
    tensor([[2., 0., 0.]])
    """
    current = weight
    mask = torch.ones_like(weight, dtype=torch.bool)
    for sparsity in sparsities:
        prices = price(current, mask, moment).masked_fill(~mask, -1.0)  # what has gone stays below everything
        mask = mask_each_row(prices, sparsity)
        current = repair(weight, mask, moment) if repaired else weight * mask
    return current
