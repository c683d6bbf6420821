# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 21 Faster generation: solutions
#
# The exercises stand in [the notebook](../21_faster_generation.ipynb).

# %%
import torch

from utils.checks import check
from utils.ngrams import count_runs, kneser_ney_probabilities

# %% tags=["parameters"]
SEED = 0  # nothing is drawn here; every notebook takes a seed


# %% [markdown]
# **Exercise 21.1.** Adding the powers up, one by one, needs no formula with $1 - a$ in it. `max` returns the first of equally good ones.


# %% tags=["solution"]
def best_drafted(accepted, draft_cost, check_costs):
    def gain(n):
        written = sum(accepted**place for place in range(n + 1))
        return written / (n * draft_cost + check_costs[n])

    best = max(range(len(check_costs)), key=gain)
    return best, gain(best)


check("21.1", best_drafted)

# %% [markdown]
# With a draft that is accepted in 80 % of the cases and costs a tenth of a step, and a check that costs a tenth more for each further character:

# %%
drafted, gain = best_drafted(0.8, 0.1, [1 + 0.1 * n for n in range(12)])
print(f"draft {drafted} characters: {gain:.2f} times as fast")


# %% [markdown]
# **Exercise 21.2.** The loop ends at the first character that is refused. Behind the loop nothing was.


# %% tags=["solution"]
def judge_round(p, q, drafted, uniform):
    for place, x in enumerate(drafted.tolist()):
        if uniform[place] >= p[place, x] / q[place, x]:
            more = (p[place] - q[place]).clamp(min=0)
            return place, more / more.sum()
    return len(drafted), p[-1]


check("21.2", judge_round)


# %% [markdown]
# **Exercise 21.3.** Kneser-Ney with five characters back. `kneser_ney_probabilities` gives $p$ of what stands in a text, so we ask it about 65 short texts a place: its five characters, and each that could follow. A table of that order would have $65^6$ entries, 300 GB in float32; what has been counted are 948,084 runs.


# %% tags=["solution"]
def counting_draft(train, part):
    order = 6
    before = part.unfold(0, order - 1, 1)[9 - order : -1]  # (places, order - 1)
    each = torch.arange(65).expand(len(before), 65)[..., None]
    asked = torch.cat([before[:, None].expand(-1, 65, -1), each], dim=-1)
    tables = count_runs(train, order, 65)
    return kneser_ney_probabilities(tables, asked.flatten())[::order].view(-1, 65)


check("21.3", counting_draft)
