"""Language models by counting: how often each character followed those before it. The controls of notebook 17.

An order-n model looks at the n - 1 characters before. It mixes its counts with the model of the order below, the more
the fewer counts it has (MacKay and Peto, 1995; here with one strength for all contexts of an order). Up to order 4 the
tables are dense; of higher orders only the runs that occur are kept. The strongest model here is modified Kneser-Ney
(Chen and Goodman, 1999, section 3).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from utils.input_validation import require_int, require_positive


def ngram_counts(part: torch.Tensor, order: int, characters: int) -> torch.Tensor:
    """Count each run of `order` characters.

    Args:
        part: the text as numbers, shape (length,), int64.
        order: from 1 to 4; the table has characters ** order entries.
        characters: how many kinds there are.

    Returns:
        Shape (characters,) * order, int64; the last index is the newest character.

    >>> ngram_counts(torch.tensor([0, 1, 0, 1]), 2, 2).tolist()
    [[0, 2], [1, 0]]
    """
    if require_int("order", order, minimum=1) > 4:
        raise ValueError(f"order must be from 1 to 4, got {order}; a table of 65^5 entries takes 9 GB")
    return _codes(part, order, characters).bincount(minlength=characters**order).view((characters,) * order)


def ngram_probabilities(part: torch.Tensor, order: int, characters: int, *, strength: float) -> torch.Tensor:
    """Return p(newest | those before) = (count + strength * p of the order below) / (counts of the context + strength).

    Below order 1 stands 1 / characters, so that nothing has probability zero.

    Args:
        part, order, characters: as in `ngram_counts`.
        strength: how many counts the order below weighs, above 0; chosen on validation.

    Returns:
        Shape (characters,) * order, float64; the last index adds up to 1.

    >>> ngram_probabilities(torch.tensor([0, 0, 0]), 1, 2, strength=1.0).tolist()
    [0.875, 0.125]
    """
    require_positive("strength", strength)
    below = torch.full((characters,), 1 / characters, dtype=torch.float64)
    for each in range(1, require_int("order", order, minimum=1) + 1):
        counts = ngram_counts(part, each, characters)
        below = (counts + strength * below) / (counts.sum(dim=-1, keepdim=True) + strength)
    return below


def ngram_nats(probabilities: torch.Tensor, part: torch.Tensor) -> float:
    """Return the mean of -ln p over the characters of a text that have a whole context before them.

    >>> round(ngram_nats(torch.tensor([0.5, 0.5]), torch.tensor([0, 1, 1])), 4)
    0.6931
    """
    runs = part.unfold(0, probabilities.ndim, 1)
    return -probabilities[tuple(runs.T)].log().mean().item()


def best_strength(
    train: torch.Tensor,
    validation: torch.Tensor,
    order: int,
    characters: int,
    *,
    strengths: Iterable[float] = (0.1, 1.0, 3.0, 10.0, 30.0, 100.0),
) -> float:
    """Return the strength with the lowest nats on validation."""
    return min(
        strengths, key=lambda each: ngram_nats(ngram_probabilities(train, order, characters, strength=each), validation)
    )


# --- only the runs that occur -----------------------------------------------------------------------------------------


class Runs(NamedTuple):
    """The runs of one order that occur, as numbers in base `characters`, ascending, and a count for each."""

    codes: torch.Tensor
    counts: torch.Tensor
    order: int
    characters: int

    def of(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the counts of some runs, float64; 0 of those that do not occur."""
        places = torch.searchsorted(self.codes, codes).clamp(max=len(self.codes) - 1)
        return torch.where(self.codes[places] == codes, self.counts[places], 0).double()

    def contexts(self, weights: torch.Tensor | None = None) -> "Runs":
        """Return the contexts, the runs without their newest character, with the sum of the weights of theirs.

        Args:
            weights: one for each run; the counts if None.
        """
        codes, inverse = (self.codes // self.characters).unique_consecutive(return_inverse=True)
        weights = self.counts if weights is None else weights
        sums = torch.zeros_like(codes, dtype=weights.dtype).index_add_(0, inverse, weights)
        return Runs(codes, sums, self.order - 1, self.characters)


def count_runs(part: torch.Tensor, orders: int, characters: int) -> list[Runs]:
    """Count the runs that occur, of each order from 1 to `orders`.

    >>> [dict(zip(r.codes.tolist(), r.counts.tolist())) for r in count_runs(torch.tensor([0, 1, 0, 1]), 2, 2)]
    [{0: 2, 1: 2}, {1: 2, 2: 1}]
    """
    if characters ** require_int("orders", orders, minimum=1) >= 2**63:
        raise ValueError(f"a run of {orders} of {characters} characters does not fit 64 bits; take fewer orders")
    return [
        Runs(*_codes(part, order, characters).unique(return_counts=True), order, characters)
        for order in range(1, orders + 1)
    ]


def seen_before(tables: Sequence[Runs], part: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Look up, for each order and each place of a text, how often its run was counted, and its context.

    Args:
        tables: of the orders 1, 2, ..., n.
        part: the text; its places are those with n - 1 characters before them.

    >>> counts, contexts = seen_before(count_runs(torch.tensor([0, 1, 0, 1]), 2, 2), torch.tensor([0, 1, 1]))[1]
    >>> counts.tolist(), contexts.tolist()
    ([2.0, 0.0], [2.0, 1.0])
    """
    codes = [_codes(part[len(tables) - table.order :], table.order, table.characters) for table in tables]
    return [
        (table.of(here), table.contexts().of(here // table.characters))
        for table, here in zip(tables, codes, strict=True)
    ]


def mixed_nats(seen: Sequence[tuple[torch.Tensor, torch.Tensor]], strengths: Sequence[float], characters: int) -> float:
    """Return the mean of -ln p of `ngram_probabilities`, with a strength for each order.

    >>> text = torch.tensor([0, 0, 0, 1])
    >>> table = ngram_probabilities(text, 2, 2, strength=3.0)
    >>> sparse = mixed_nats(seen_before(count_runs(text, 2, 2), text), (3.0, 3.0), 2)
    >>> abs(sparse - ngram_nats(table, text)) < 1e-12
    True
    """
    p = torch.full_like(seen[0][0], 1 / characters)
    for (counts, contexts), strength in zip(seen, strengths, strict=True):
        p = (counts + strength * p) / (contexts + strength)
    return -p.log().mean().item()


def best_strengths(
    seen: Sequence[tuple[torch.Tensor, torch.Tensor]],
    characters: int,
    *,
    strengths: Sequence[float] = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    sweeps: int = 3,
) -> list[float]:
    """Return a strength for each order: one after the other the best for the others as they are, in a few sweeps.

    Args:
        seen: `seen_before` of a text that was not counted.
        characters: how many kinds there are.
        strengths: to choose from; all begin at the middle one.
        sweeps: how often each is chosen anew.
    """
    chosen = [strengths[len(strengths) // 2]] * len(seen)
    for place in [*range(len(seen))] * require_int("sweeps", sweeps, minimum=1):
        tried = [[*chosen[:place], each, *chosen[place + 1 :]] for each in strengths]
        chosen = min(tried, key=lambda some: mixed_nats(seen, some, characters))
    return chosen


def kneser_ney_probabilities(tables: Sequence[Runs], part: torch.Tensor) -> torch.Tensor:
    """Return modified Kneser-Ney's p at each place of a text with n - 1 characters before it, float64.

    The highest order has its counts. An order below counts behind how many different characters a run occurs: what
    matters there is how readily it appears in a new place. Of each count c a discount D(c) is taken off, and what was
    taken off in a context goes to the order below (Chen and Goodman, 1999, section 3):
    p = max(c - D(c), 0) / total + (sum of the context's discounts) / total * p of the order below.

    Args:
        tables: `count_runs` of the orders 1, 2, ..., n.
        part: the text.
    """
    p = torch.full((len(part) - len(tables) + 1,), 1 / tables[0].characters, dtype=torch.float64)
    for each in _kneser_ney_orders(tables, part):
        left = each.table.of(each.codes) - each.discounts[each.table.of(each.codes).long().clamp(max=3)]
        p = torch.where(each.totals > 0, (left + each.taken * p) / each.totals.clamp(min=1), p)
    return p


def kneser_ney_distributions(tables: Sequence[Runs], part: torch.Tensor) -> torch.Tensor:
    """Return the p of *every* character at each place, where `kneser_ney_probabilities` has that of the one that came.

    Args:
        tables, part: as there.

    Returns:
        Shape (places, characters), float64; each row adds up to 1. 65 characters take 520 bytes a place.

    >>> text = torch.tensor([0, 1, 2, 0, 1, 1, 0, 2])
    >>> p = kneser_ney_distributions(count_runs(text, 2, 3), text)
    >>> torch.allclose(p.sum(dim=1), torch.ones(7, dtype=torch.float64))
    True
    >>> torch.allclose(p[range(7), text[1:]], kneser_ney_probabilities(count_runs(text, 2, 3), text))
    True
    """
    characters = tables[0].characters
    p = torch.full((len(part) - len(tables) + 1, characters), 1 / characters, dtype=torch.float64)
    for each in _kneser_ney_orders(tables, part):
        first = each.codes - each.codes % characters  # the context with character 0: its runs stand side by side
        start, end = (torch.searchsorted(each.table.codes, first + more) for more in (0, characters))
        place = torch.arange(len(first)).repeat_interleave(end - start)
        run = torch.arange(len(place)) + (start - (end - start).cumsum(0) + (end - start))[place]
        counts = each.table.counts[run]
        known = (each.totals > 0).double()
        totals = each.totals.clamp(min=1)
        p *= (known * each.taken / totals + 1 - known).unsqueeze(1)
        p[place, each.table.codes[run] % characters] += (counts - each.discounts[counts.clamp(max=3)]) / totals[place]
    return p


class _Order(NamedTuple):
    """What Kneser-Ney mixes in one order: its runs, those at each place, and the discounts of its contexts there."""

    table: Runs
    codes: torch.Tensor
    discounts: torch.Tensor  # of the counts 0, 1, 2, and 3 or more
    totals: torch.Tensor
    taken: torch.Tensor


def _kneser_ney_orders(tables: Sequence[Runs], part: torch.Tensor) -> Iterator[_Order]:
    """Yield the orders from 1 to n, at the places of a text with n - 1 characters before them."""
    for order, table in enumerate(tables, 1):
        if order < len(tables):
            table = _different_before(tables[order])
        codes = _codes(part[len(tables) - order :], order, table.characters)
        of_count = torch.tensor(_discounts(table.counts), dtype=torch.float64)
        contexts = table.contexts(), table.contexts(of_count[table.counts.clamp(max=3)])
        yield _Order(table, codes, of_count, *(each.of(codes // table.characters) for each in contexts))


def kneser_ney_nats(tables: Sequence[Runs], part: torch.Tensor) -> float:
    """Return the mean of -ln p of `kneser_ney_probabilities`."""
    return -kneser_ney_probabilities(tables, part).log().mean().item()


def _codes(part: torch.Tensor, order: int, characters: int) -> torch.Tensor:
    """Return the run that ends at each place as a number in base `characters`, its newest character last."""
    codes = torch.zeros(len(part) - order + 1, dtype=torch.int64)
    for column in part.unfold(0, order, 1).T:
        codes = codes * characters + column
    return codes


def _different_before(above: Runs) -> Runs:
    """Return, of the order below, behind how many different characters each run occurs."""
    codes, counts = (above.codes % above.characters ** (above.order - 1)).unique(return_counts=True)
    return Runs(codes, counts, above.order - 1, above.characters)


def _discounts(counts: torch.Tensor) -> tuple[float, ...]:
    """Return the discounts of the counts 0, 1, 2, and 3 or more, estimated from how many runs have counts 1 to 4.

    Where these are too few to tell, half the count.
    """
    n = [int((counts == each).sum()) for each in range(5)]
    if min(n[1:]) > 0:
        share = n[1] / (n[1] + 2 * n[2])
        estimated = [each - (each + 1) * share * n[each + 1] / n[each] for each in (1, 2, 3)]
        if all(0 < discount <= each for each, discount in enumerate(estimated, 1)):
            return (0.0, *estimated)
    return 0.0, 0.5, 1.0, 1.5
