"""SparseGPT against least squares solved anew at each step, one weight at a time against all subsets, and its bytes."""

import itertools
from functools import partial

import pytest
import torch

from utils.accounting import packed_bytes
from utils.gptq import gptq
from utils.pruning import mask_by_score, mask_each_row, n_of_m_mask
from utils.quantization import clipped_half_grid
from utils.sparsegpt import sparse_gptq, sparsegpt, sparsegpt_by_elimination, surgeon_one_by_one
from utils.surgeon import repair, second_moment
from utils.weight_only import output_error


def _layer(rows=5, columns=24, seed=0):
    """Return a weight and the moment of inputs that go together, in float64."""
    drawn = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=drawn, dtype=torch.float64)
    mixing = torch.randn(columns, columns, generator=drawn, dtype=torch.float64)
    x = torch.randn(400, columns, generator=drawn, dtype=torch.float64) @ (mixing + torch.eye(columns))
    return weight, second_moment(x)


HALF = partial(mask_by_score, sparsity=0.5)

CHOICES = {"half": (HALF, 8), "rows": (partial(mask_each_row, sparsity=0.25), 4), "2:4": (n_of_m_mask, 4)}


def _solved_anew(weight, moment, choose, columns):
    """Prune from left to right; the columns that are left are solved anew each time, from the weights as they were."""
    done = torch.zeros_like(weight)
    mask = torch.ones(weight.shape, dtype=torch.bool)

    def still_to_come(j):
        gap = (weight[:, :j] - done[:, :j]) @ moment[:j, j:]
        return weight[:, j:] + torch.linalg.solve(moment[j:, j:], gap, left=False)

    for j in range(weight.shape[1]):
        now = still_to_come(j)
        if j % columns == 0:
            width = min(columns, weight.shape[1] - j)
            prices = torch.empty(len(weight), width, dtype=torch.float64)
            for k in range(width):  # least squares with and without: what setting weight j + k to zero costs at least
                here = moment[j + k :, j + k :]
                first = torch.zeros(len(here), dtype=torch.float64)
                first[0] = 1.0
                prices[:, k] = now[:, k].square() / (first @ torch.linalg.solve(here, first))
            mask[:, j : j + width] = choose(prices)
        done[:, j] = now[:, 0] * mask[:, j]
    return done


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("method", [sparsegpt_by_elimination, sparsegpt, partial(sparsegpt, block=8)])
def test_sparsegpt_is_least_squares_solved_anew_at_each_step(choice, method):
    choose, columns = CHOICES[choice]
    weight, moment = _layer()
    expected = _solved_anew(weight, moment, choose, columns)
    received = method(weight, moment, choose, columns=columns)
    assert torch.allclose(received, expected, atol=1e-8)
    assert torch.equal(received == 0, expected == 0)


def test_nothing_removed_is_nothing_changed_and_all_removed_is_nothing_left():
    weight, moment = _layer()
    assert torch.equal(sparsegpt(weight, moment, partial(mask_by_score, sparsity=0.0)), weight)
    assert not sparsegpt(weight, moment, partial(mask_by_score, sparsity=1.0)).any()


def test_with_the_identity_nothing_is_handed_on():
    weight, _ = _layer()
    received = sparsegpt(weight, torch.eye(24), HALF)
    assert torch.allclose(received, weight * (received != 0))
    assert sparsegpt(weight.float(), torch.eye(24), HALF).dtype == torch.float32


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_surgeon_takes_the_cheapest_each_time_and_ends_at_least_squares(count):
    weight, moment = _layer(rows=1, columns=5)
    row = weight[0]
    kept = list(range(5))
    for _ in range(count):  # all that can go next are tried
        errors = {}
        for p in kept:
            mask = torch.zeros(1, 5, dtype=torch.bool)
            mask[0, [k for k in kept if k != p]] = True
            errors[p] = output_error(weight, repair(weight, mask, moment), moment)
        kept.remove(min(errors, key=errors.__getitem__))
    mask = torch.zeros(1, 5, dtype=torch.bool)
    mask[0, kept] = True
    assert torch.allclose(surgeon_one_by_one(row, moment, count), repair(weight, mask, moment)[0], atol=1e-8)


def test_one_at_a_time_is_close_to_the_best_of_all_subsets():
    weight, moment = _layer(rows=1, columns=8, seed=1)
    errors = []
    for kept in itertools.combinations(range(8), 4):
        mask = torch.zeros(1, 8, dtype=torch.bool)
        mask[0, list(kept)] = True
        errors.append(output_error(weight, repair(weight, mask, moment), moment))
    one_by_one = output_error(weight, surgeon_one_by_one(weight[0], moment, 4)[None], moment)
    assert min(errors) - 1e-9 <= one_by_one < sorted(errors)[len(errors) // 4]


def test_with_nothing_removed_pruning_and_rounding_is_gptq():
    weight, moment = _layer()
    grid = partial(clipped_half_grid, bits=4)
    plain = gptq(weight, moment, grid, group_size=8)
    both = sparse_gptq(weight, moment, lambda prices: prices >= 0, grid, group_size=8)
    assert torch.equal(both.rounded.codes, plain.codes)
    assert both.mask.all()


def test_pruned_and_rounded_weights_are_zeros_and_multiples_and_counted():
    weight, moment = _layer()
    both = sparse_gptq(weight, moment, HALF, partial(clipped_half_grid, bits=4), group_size=16)
    values = both.dequantize()
    assert not values[~both.mask].any()
    assert int(both.mask.sum()) == 60
    assert torch.equal(values, both.rounded.dequantize())  # the codes of what is gone are the zero points
    side = 2 * both.rounded.scale.numel() + packed_bytes(both.rounded.zero_point.numel(), 4)
    assert both.nbytes == 120 // 8 + 60 * 4 // 8 + side


def test_groups_that_are_cut_by_the_choice_are_refused():
    weight, moment = _layer()
    with pytest.raises(ValueError, match="multiple of columns, 8, got 12"):
        sparse_gptq(weight, moment, HALF, partial(clipped_half_grid, bits=4), group_size=12)
