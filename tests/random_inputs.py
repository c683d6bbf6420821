"""Random tensors and networks that tests draw, the same in every run."""

import torch
from hypothesis import settings
from hypothesis import strategies as st

# Few values among many places, so that ties are the rule.
tied_scores = st.lists(st.sampled_from([0.0, 0.25, 1.0, -1.0]), min_size=1, max_size=60).map(torch.tensor)
quick = settings(max_examples=40, deadline=None)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def seeded_model(kind, **options):
    torch.manual_seed(0)
    return kind(**options).eval()


def images(count=4, seed=0):
    return torch.rand(count, 1, 28, 28, generator=seeded(seed))
