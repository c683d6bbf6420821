"""Wrong answers to the exercises of notebook 21."""

import torch

from utils.ngrams import ngram_probabilities


def _best(accepted, draft_cost, check_costs, **wrong):
    best = 0, 1.0
    for drafted, check_cost in enumerate(check_costs):
        powers = range(wrong.get("first", 0), drafted + wrong.get("more", 1))
        cost = drafted * draft_cost * wrong.get("draft", 1) + (check_cost if wrong.get("check", True) else 1)
        gain = sum(accepted**place for place in powers) / cost
        if gain > best[1] or (wrong.get("last") and gain == best[1]):
            best = drafted, gain
    return best


def _closed_form(accepted, draft_cost, check_costs):
    gains = [(1 - accepted ** (n + 1)) / (1 - accepted) / (n * draft_cost + cost) for n, cost in enumerate(check_costs)]
    return gains.index(max(gains)), max(gains)


def _judged(p, q, drafted, uniform, *, rest=None, accept=None, behind=True, whole=False, stop=True):
    accepted = 0
    for place, x in enumerate(drafted.tolist()):
        ratio = p[place, x] / q[place, x]
        if accept(uniform[place], ratio) if accept else uniform[place] < ratio:
            accepted += 1
        elif stop:
            more = (p[place] - q[place]).clamp(min=0)
            following = rest(p[place], q[place]) if rest else more if whole else more / more.sum()
            return accepted, following
    return accepted, p[-1] if behind else p[max(0, len(drafted) - 1)]


def _table(order, strength=10.0):
    def draft(train, part):
        table = ngram_probabilities(train, order, 65, strength=strength).float()
        seen = part.unfold(0, max(1, order - 1), 1)[8 - max(1, order - 1) : -1]
        return table[tuple(seen.T)] if order > 1 else table.expand(len(part) - 8, 65)

    return draft


WRONG_ANSWERS = {
    "21.1": [
        # the network's own character is forgotten
        lambda *given: _best(*given, first=1),
        # one place too many
        lambda *given: _best(*given, more=2),
        # the check costs a step, whatever it reads
        lambda *given: _best(*given, check=False),
        # the draft costs nothing
        lambda *given: _best(*given, draft=0),
        # 1 / (1 - a), also where a is 1
        _closed_form,
        # the gain alone
        lambda *given: _best(*given)[1],
        # always as many as there may be
        lambda a, c, v: (len(v) - 1, sum(a**n for n in range(len(v))) / ((len(v) - 1) * c + v[-1])),
    ],
    "21.2": [
        # drawn anew from p where a character is refused
        lambda *given: _judged(*given, rest=lambda p, q: p),
        # not made to add up to 1
        lambda *given: _judged(*given, whole=True),
        # the difference taken the other way round
        lambda *given: _judged(*given, rest=lambda p, q: (q - p).clamp(min=0) / (q - p).clamp(min=0).sum()),
        # everything is accepted
        lambda *given: _judged(*given, accept=lambda u, r: True),
        # as long as p is the larger
        lambda *given: _judged(*given, accept=lambda u, r: bool(r >= 1)),
        # refused where it should be accepted
        lambda *given: _judged(*given, accept=lambda u, r: bool(u >= r)),
        # goes on behind a refused one
        lambda *given: _judged(*given, stop=False),
        # the row before the last where all are accepted
        lambda *given: _judged(*given, behind=False),
        # the ratio turned round
        lambda *given: _judged(*given, accept=lambda u, r: bool(u < 1 / r)),
    ],
    "21.3": [
        # the notebook's own table, and shorter ones
        _table(4),
        _table(2),
        _table(1),
        # every character alike
        lambda train, part: torch.full((len(part) - 8, 65), 1 / 65),
        # looks at the character that it should guess
        lambda train, part: torch.nn.functional.one_hot(part[8:], 65).float(),
        # logarithms
        lambda train, part: _table(3)(train, part).log(),
        # a row too many
        lambda train, part: torch.full((len(part), 65), 1 / 65),
        lambda train, part: None,
    ],
}
