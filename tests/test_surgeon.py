"""Optimal brain surgeon against least squares, against brute force, and against the closed form of one step."""

import pytest
import torch

from utils import surgeon


def _inputs(count: int = 200, size: int = 8) -> torch.Tensor:
    x = torch.randn(count, size, generator=torch.Generator().manual_seed(1)).double()
    return x + 0.7 * x[:, :1]  # inputs that go together


def _weight(rows: int = 3, size: int = 8) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(2)).double()


def _error(row, other, moment):
    return (row - other) @ moment @ (row - other)


def test_the_moment_is_the_mean_with_a_hundredth_added():
    x = _inputs()
    difference = surgeon.second_moment(x) - torch.einsum("na,nb->ab", x, x) / len(x)
    assert torch.allclose(difference, 0.01 * x.square().mean() * torch.eye(8).double())


def test_repair_is_least_squares(monkeypatch):
    monkeypatch.setattr(surgeon, "DAMPING", 0.0)
    x, weight = _inputs(), _weight()
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    repaired = surgeon.repair(weight, mask, surgeon.second_moment(x))
    assert torch.equal(repaired != 0, mask)
    for row, kept in enumerate(mask):
        solved = torch.linalg.lstsq(x[:, kept], x @ weight[row]).solution
        assert torch.allclose(repaired[row, kept], solved)


@pytest.mark.parametrize("kept", [0, 8])
def test_repair_of_a_row_that_keeps_nothing_or_everything(kept):
    weight, mask = _weight(1), torch.arange(8)[None] < kept
    repaired = surgeon.repair(weight, mask, surgeon.second_moment(_inputs()))
    assert torch.allclose(repaired, weight * mask)


def test_the_price_of_the_surgeon_is_the_error_after_the_best_repair():
    moment, weight = surgeon.second_moment(_inputs()), _weight()
    mask = torch.ones_like(weight, dtype=torch.bool)
    mask[1, [0, 5]] = False
    current = surgeon.repair(weight, mask, moment)
    prices = surgeon.surgeon_price(current, mask, moment)
    for row, column in mask.nonzero().tolist():
        without = mask.clone()
        without[row, column] = False
        after = surgeon.repair(weight, without, moment)[row]
        rise = _error(weight[row], after, moment) - _error(weight[row], current[row], moment)
        assert prices[row, column].item() == pytest.approx(rise.item(), rel=1e-8)


def test_the_other_prices_are_the_errors_without_repair():
    moment, weight = surgeon.second_moment(_inputs()), _weight()
    mask = torch.ones_like(weight, dtype=torch.bool)
    for price, c in ((surgeon.magnitude_price, torch.eye(8).double()), (surgeon.wanda_price, moment)):
        prices = price(weight, mask, c)
        for column in range(8):
            removed = weight[0].clone()
            removed[column] = 0
            assert prices[0, column].item() == pytest.approx(_error(weight[0], removed, c).item())


@pytest.mark.parametrize("price", [surgeon.magnitude_price, surgeon.wanda_price])
def test_without_repair_rounds_are_one_cut_for_prices_that_do_not_change(price):
    moment, weight = surgeon.second_moment(_inputs()), _weight()
    once, rounds = (
        surgeon.prune_in_rounds(weight, moment, price, sparsities, repaired=False)
        for sparsities in ([0.75], [0.25, 0.5, 0.75])
    )
    assert torch.equal(once, rounds)
    assert torch.equal((once != 0).sum(dim=1), torch.full((3,), 2))


def test_one_at_a_time_is_the_classical_surgeon():
    moment, row = surgeon.second_moment(_inputs()), _weight(1)
    ours = surgeon.prune_in_rounds(row, moment, surgeon.surgeon_price, [k / 8 for k in range(1, 6)])[0]
    current, inverse = row[0].clone(), torch.linalg.inv(moment)
    alive = torch.ones(8, dtype=torch.bool)
    for _ in range(5):
        prices = torch.where(alive, current.square() / inverse.diagonal(), torch.inf)
        p = int(prices.argmin())
        current -= current[p] / inverse[p, p] * inverse[:, p]
        inverse = inverse - torch.outer(inverse[:, p], inverse[p]) / inverse[p, p]
        alive[p] = False
        current[~alive] = 0.0
        inverse[p, p] = 1.0  # never again: it is not alive
    assert torch.allclose(ours, current)


def test_the_arguments_stay_as_they_are():
    moment, weight = surgeon.second_moment(_inputs()), _weight()
    before = weight.clone(), moment.clone()
    surgeon.prune_in_rounds(weight, moment, surgeon.surgeon_price, [0.5, 0.75])
    assert torch.equal(weight, before[0])
    assert torch.equal(moment, before[1])
