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
# # 21 Faster generation
#
# **The question.** A language model writes one character at a time. What makes it write faster, without changing a word?
#
# Afterwards we can
#
# - write with a key-value cache, prove step by step that it changes nothing, and say where a pass over many characters is almost as cheap as a pass over one;
# - write many texts of different lengths side by side with a scheduler that never lets a slot stand idle, keep their caches in pages, and serve them over HTTP as a stream;
# - let a cheap draft write ahead, prove that the distribution stays exactly the same, and calculate beforehand whether it pays.
#
# About two minutes on two CPU cores. The theory is in [lesson 21](../lessons/21_faster_generation.md).

# %%
import copy
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy.stats import chisquare

from utils import figures, files, gptq, int4_products, ngrams, timing, weight_only
from utils import generation_drawings as drawings
from utils import speculative_decoding as speculation
from utils.accounting import bytes_on_disk, count_macs, count_parameters
from utils.cached_export import CachedWriter, export_int4_step, export_step
from utils.characters import load_shakespeare, windows
from utils.checks import check
from utils.claims import begin, claim, claim_about_this_machine, record
from utils.compact_caches import Int8Cache, PagedText, PagePool, pages_needed
from utils.continuous_batching import Request, TextBatcher, steps_needed, write_all
from utils.environment import seed_everything
from utils.language_models import evaluate_text, generate
from utils.onnx_export import OnnxModel
from utils.predictions import predict
from utils.recipes import experiment_21_shared_keys as shared
from utils.streaming_server import Streamer, ask_for_texts, streaming
from utils.transformer import KeyValueCache, attention, load_transformer

# %% tags=["parameters"]
SEED = 0  # of prompts, lengths, what is drawn, and the calibration text
GROUP = 16  # weights that share a scale in the int4 file
REPEATS = 5  # samples behind each median
REQUESTS = 24  # texts of different lengths
SLOTS = 8  # texts side by side, at most
DRAFTED = 4  # characters that a draft writes ahead
JUDGED = 3_328  # characters of validation on which we compare
TESTED = 3_200  # characters of the test part, once, at the end
ASKED = 40  # requests to the server under too much load

# %%
begin("21_faster_generation")
seed_everything(SEED)
torch.set_num_threads(1)
text = load_shakespeare()
network = load_transformer("Shakespeare-transformer")
drawn = torch.Generator().manual_seed(SEED)
places = torch.randint(len(text.validation) - 300, (REQUESTS, 1), generator=drawn)
prompts = text.validation[places + torch.arange(16)]  # (requests, 16)

# %%
print(text.vocabulary.decode(generate(network, prompts[:1], 100, temperature=0)[0]))

# %% [markdown]
# ## What is computed again and again
#
# To write a character, the network reads the text and says how likely each character is to come next. The plain way reads the *whole* text again for each new character. The keys and values of the old characters are always the same: causal attention never lets them see what comes later. A **key-value cache** keeps them ([notebook 17](17_small_transformer.ipynb) counted the arithmetic). First for one head, with two Python lists:


# %%
def head_with_lists(queries, keys, values):
    """Return what one head gives for each character, read one by one."""
    kept_keys, kept_values, given = [], [], []
    for q, k, v in zip(queries, keys, values, strict=True):
        kept_keys.append(k)
        kept_values.append(v)
        scores = torch.stack(kept_keys) @ q / len(q) ** 0.5
        given.append(scores.softmax(dim=0) @ torch.stack(kept_values))
    return torch.stack(given)


# %%
q, k, v = torch.randn(3, 12, 32, dtype=torch.float64, generator=drawn)
apart = (head_with_lists(q, k, v) - attention(q, k, v)).abs().max()
library = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
apart_library = (library - attention(q, k, v)).abs().max()

# %%
claim(
    "one by one with two lists, all at once by the definition, and by PyTorch's "
    "kernel, a head gives the same",
    bool(apart < 1e-12) and bool(apart_library < 1e-12),
    lists=apart,
    kernel=apart_library,
)

# %% [markdown]
# Now the whole network. `KeyValueCache` holds an array for all blocks and heads. The test: read 60 characters one at a time and compare the logits of *every* step with one pass over the text. We do it in float64 too, since there a difference of $10^{-6}$ could not be excused by rounding.


# %%
@torch.no_grad()
def step_for_step(model, tokens):
    cache = KeyValueCache(model)
    return torch.cat([model(one, cache) for one in tokens.split(1, dim=1)], dim=1)


precise = copy.deepcopy(network).double()
sixty = text.validation[None, :60]

# %%
with torch.no_grad():
    off = {
        "float32": (step_for_step(network, sixty) - network(sixty)).abs().max(),
        "float64": (step_for_step(precise, sixty) - precise(sixty)).abs().max(),
    }

# %%
claim(
    "step for step the logits with a cache are those of a whole pass: within 1e-4 in "
    "float32, and within 1e-10 in float64",
    bool(off["float32"] < 1e-4) and bool(off["float64"] < 1e-10),
    **off,
)

# %% [markdown]
# A cache can be *stale*. Say we read three characters, decide against them, and forget to take them back. Nothing crashes:

# %%
with torch.no_grad():
    stale, clean = KeyValueCache(network), KeyValueCache(network)
    for cache in (stale, clean):
        network(sixty[:, :40], cache)
        network(sixty[:, 50:53], cache)  # three that we decide against
    clean.forget_last(3)
    wanted = network(sixty[:, :41])[:, -1]
    off_stale = (network(sixty[:, 40:41], stale)[:, -1] - wanted).abs().max()
    off_clean = (network(sixty[:, 40:41], clean)[:, -1] - wanted).abs().max()

# %%
claim(
    "three characters left in the cache change the next logits by more than 0.1; "
    "taken back, they change nothing",
    bool(off_stale > 0.1) and bool(off_clean < 1e-4),
    stale=off_stale,
    taken_back=off_clean,
)

# %% [markdown]
# ## The clock: reading again, or keeping
#
# With $n$ characters before it, a new one costs $n$ times the arithmetic without the cache, so all $n$ together cost about $n^2/2$. With the cache each costs about the same. But arithmetic is not time. How much faster is the 256th character?

# %%
guess_cache = predict(
    "how many times as fast is the 256th character with a cache?", None, unit="x"
)


# %%
def ready_cache(length, texts=1, model=network):
    cache = KeyValueCache(model, batch_size=texts)
    with torch.no_grad():
        model(text.validation[:length].expand(texts, length), cache)
    return cache


# %%
@torch.no_grad()
def read_more(cache, new=1, model=network):
    """Read `new` characters more of each text, and take them back."""
    model(torch.zeros(cache.stored.shape[2], new, dtype=torch.int64), cache)
    cache.forget_last(new)


# %%
lengths = [32, 96, 160, 255]
again, kept = {}, {}


# %%
def time_lengths():
    calls = {}
    for n in lengths:
        calls["again", n] = partial(network, text.validation[None, : n + 1])
        calls["kept", n] = partial(read_more, ready_cache(n))
    with torch.inference_mode():
        for (name, n), timed in timing.compare(calls, repeats=3).items():
            {"again": again, "kept": kept}[name][n] = timed.median


# %%
def line_through(times):
    """Return slope and height of a straight line through the times."""
    return np.polyfit(lengths, [times[n] for n in lengths], 1)


# %%
def measure_lengths():
    time_lengths()
    whole = [np.polyval(line_through(t), np.arange(256)).sum() for t in (again, kept)]
    return {
        "times_as_fast_256th": again[255] / kept[255],
        "times_as_fast_all_256": whole[0] / whole[1],
        "again_ms": 1e3 * again[255],
        "kept_ms": 1e3 * kept[255],
        "again_us_more_a_character": 1e6 * line_through(again)[0],
        "kept_us_more_a_character": 1e6 * line_through(kept)[0],
    }


# %%
cache_speed = claim_about_this_machine(
    "with a cache the 256th character is at least 8 times as fast",
    measure_lengths,
    lambda m: m["times_as_fast_256th"] >= 8,
    unit={"times_as_fast_256th": "x", "times_as_fast_all_256": "x"},
)
guess_cache.compare(cache_speed["times_as_fast_256th"])

# %%
_ = claim_about_this_machine(
    "by lines through four lengths all 256 characters together are at least 4 times "
    "as fast, and the time of a character grows at least 5 times as slowly",
    cache_speed,
    lambda m: (
        m["times_as_fast_all_256"] >= 4
        and m["again_us_more_a_character"] > 5 * m["kept_us_more_a_character"]
    ),
    unit={"times_as_fast_256th": "x", "times_as_fast_all_256": "x"},
)

# %% tags=["nbval-ignore-output"]
figures.show(
    figures.curves(
        lengths,
        {
            "read again": [1e3 * again[n] for n in lengths],
            "with a cache": [1e3 * kept[n] for n in lengths],
        },
        labels=("characters before it", "time of one more character (ms)"),
    ),
    "Read again, a character takes longer the more stands before it, so a whole text "
    "takes quadratic time; with a cache the time hardly grows.",
)

# %% [markdown]
# ## One pass over many characters
#
# The rest of this notebook hangs on one curve. What does a pass cost that handles $N$ characters instead of one? There are two ways to have $N$ of them: one more character for each of $N$ *texts* (a batch), or $N$ more characters of *one* text (as in the pass over a prompt, the *prefill*). In both each matrix is read once and used $N$ times.

# %%
pass_cost = {"texts": {}, "of one text": {}}
widths = (1, 2, 5, 8, 16)


# %%
def measure_passes():
    calls = {}
    for n in widths:
        calls["texts", n] = partial(read_more, ready_cache(128, n))
        calls["of one text", n] = partial(read_more, ready_cache(128), n)
    found = timing.compare(calls, repeats=REPEATS)
    for (kind, n), timed in found.items():
        pass_cost[kind][n] = timed.median / found[kind, 1].median
    return {
        f"{kind.replace(' ', '_')}_{n}": pass_cost[kind][n]
        for kind, n in calls
        if n in (5, 16)
    }


# %%
_ = claim_about_this_machine(
    "a pass over 5 characters of one text costs less than 2.5 passes over one, and a "
    "step of 16 texts less than half of 16 steps",
    measure_passes,
    lambda m: m["of_one_text_5"] < 2.5 and m["texts_16"] < 8,
    unit="x",
)

# %% tags=["nbval-ignore-output"]
figures.show(
    figures.curves(
        list(widths),
        {name: list(costs.values()) for name, costs in pass_cost.items()},
        labels=("N, characters in one pass", "time (steps of one character)"),
        reference=("one step", 1.0),
    ),
    "A pass over several characters costs much less than as many passes over one.",
)

# %% [markdown]
# Two things follow. Texts should be written side by side: that is *batching*. And if someone could *guess* the next characters of a text, all guesses could be checked for little more than the price of one: that is *speculative decoding*.
#
# ## Batches of texts that end at different times
#
# Four texts of 9, 2, 2 and 2 characters, two slots. The pass over a prompt writes the first character, so the texts take 8, 1, 1 and 1 decoding steps. A **static** batch ends with its longest text: $\max(8, 1) + \max(1, 1) = 9$ steps. **Continuous batching** decides before *every* step, and puts the next text into a slot as soon as it is free: the three short ones go through the second slot while the long one is written, $\max(8, 1 + 1 + 1) = 8$.

# %%
lengths_drawn = 4 + np.random.default_rng(SEED).exponential(40, REQUESTS)
counts = np.clip(lengths_drawn, 4, 200).astype(int).tolist()
guess_batch = predict(
    "texts of 4 to 200 characters in 8 slots: how many times as fast is continuous "
    "batching?",
    None,
    unit="x",
)

# %% [markdown]
# Slots of different lengths need more than a batch. Each text has its own *position*, so each row is rotated by its own angles, and each has its own mask, which hides what an earlier text left behind in the slot. `read_in_slots` does that; `TextBatcher` is the scheduler, and its whole decision is this:
#
# ```python
# free = self.slots - len(self.active) if self.continuous or not self.active else 0
# ```
#
# The texts must not depend on who else is in the batch. We write all of them one by one, in static batches and continuously, with the likeliest character each time.


# %%
def requests():
    return [Request(p, n) for p, n in zip(prompts, counts, strict=True)]


def one_by_one():
    return [
        generate(network, p[None], n, temperature=0)[0, 16:].tolist()
        for p, n in zip(prompts, counts, strict=True)
    ]


# %%
alone = one_by_one()
batchers = {
    name: TextBatcher(network, slots=SLOTS, continuous=name == "continuous")
    for name in ("static", "continuous")
}
side_by_side = {name: write_all(each, requests()) for name, each in batchers.items()}

# %%
claim(
    "one by one, in static batches and continuously the texts are the same, character "
    "by character",
    all(written == alone for written in side_by_side.values()),
    characters=sum(counts),
    texts=len(counts),
)

# %%
counted = {
    name: steps_needed(counts, SLOTS, continuous=name == "continuous")
    for name in batchers
}
wanted_rows = sum(counts) - len(counts)

# %%
claim(
    "the schedulers take as many steps as we count without a network; static batches "
    "take at least 1.4 times as many, and compute characters that nobody wanted",
    all(batchers[name].steps == counted[name] for name in counted)
    and counted["static"] > 1.4 * counted["continuous"]
    and batchers["continuous"].computed == wanted_rows
    and batchers["static"].computed > 1.4 * wanted_rows,
    **{f"{name}_steps": each for name, each in counted.items()},
    in_vain=1 - wanted_rows / batchers["static"].computed,
    unit={"in_vain": "%"},
)


# %%
def schedule(name, shown):
    """Return start, steps and end of each text, by running the scheduler."""
    batcher = TextBatcher(network, slots=4, continuous=name == "continuous")
    some = requests()[:shown]
    write_all(batcher, some)
    together = [[r.ended for r in some if r.begun == each.begun] for each in some]
    frees = [
        each.ended if name == "continuous" else max(ends)
        for each, ends in zip(some, together, strict=True)
    ]
    return [
        (each.begun, each.ended - each.begun, end)
        for each, end in zip(some, frees, strict=True)
    ]


# %%
figures.show(
    drawings.slots_as_gantt({name: schedule(name, 10) for name in batchers}, slots=4),
    "Ten texts in four slots: in static batches the slots of short texts stand idle "
    "(grey) until the longest ends; continuously the next text begins at once.",
)


# %%
def measure_batching():
    calls = {
        name: lambda name=name: write_all(
            TextBatcher(network, slots=SLOTS, continuous=name == "continuous"),
            requests(),
        )
        for name in batchers
    }
    timed = timing.compare(calls, repeats=1)
    found = {name: each.median for name, each in timed.items()}
    return {
        "times_as_fast": found["static"] / found["continuous"],
        "characters_a_second": sum(counts) / found["continuous"],
    }


# %%
batch_speed = claim_about_this_machine(
    "continuous batching writes the same texts at least 1.5 times as fast as static "
    "batches",
    measure_batching,
    lambda m: m["times_as_fast"] >= 1.5,
    unit={"times_as_fast": "x"},
)
guess_batch.compare(batch_speed["times_as_fast"])

# %% [markdown]
# ## Where the cache lies
#
# A slot reserves room for the longest text that may come, 256 characters. Most texts are shorter. **Pages** of 16 characters are given out one by one, from a pool that all texts share; a *table* for each text says which of its pages lies where. A text then wastes at most 15 places, in its last page.

# %%
held = [16 + n - 1 for n in counts]  # the last character is never read
room = {
    "reserved": 256 * len(held),
    "in pages": sum(16 * pages_needed(n, 16) for n in held),
}
wasted = {name: 1 - sum(held) / places for name, places in room.items()}

# %%
claim(
    "with 256 places reserved for each text over half of them stay empty; in pages of "
    "16 less than a sixth does",
    wasted["reserved"] > 0.5 and wasted["in pages"] < 1 / 6,
    unit="%",
    **{name.replace(" ", "_"): share for name, share in wasted.items()},
)

# %% [markdown]
# Two texts that begin alike can share the pages of their beginning (*prefix caching*): a server's instructions, say, stand before every request. Whoever writes into a page that is shared copies it first. We read 40 characters once, fork, and go on with two different texts.

# %%
pool = PagePool(network, pages=12, page=16)
first = PagedText(pool)
with torch.no_grad():
    network(sixty[:, :40], first)
    second = first.fork()
    after_first = network(sixty[:, 40:], first)
    after_second = network(sixty[:, 20:40], second)
    whole_first = network(sixty)[:, 40:]
    whole_second = network(torch.cat([sixty[:, :40], sixty[:, 20:40]], dim=1))[:, 40:]

# %%
claim(
    "two texts that share their first pages get the logits of whole passes; 2 of their "
    "8 pages are shared, and the beginning was read once",
    bool((after_first - whole_first).abs().max() < 1e-4)
    and bool((after_second - whole_second).abs().max() < 1e-4)
    and first.table[:2] == second.table[:2]
    and set(first.table[2:]).isdisjoint(second.table[2:])
    and pool.in_use == 6,
    largest_difference=(after_second - whole_second).abs().max(),
    pages_in_use=pool.in_use,
    pages_without_sharing=len(first.table) + len(second.table),
)

# %%
figures.show(
    drawings.pages_and_tables(
        {"first": first.table, "second": second.table},
        {"first": first.length, "second": second.length},
        pages=12,
        page=16,
    ),
    "Two texts and their tables: both begin with the two pages in orange; the third, "
    "which was half full, was copied before one of them wrote into it.",
)

# %% [markdown]
# ### Smaller rows: 8 bits
#
# A row of the cache is one character's key or value in one head, 32 numbers of 4 bytes. In int8 with one scale of 2 bytes it takes $32 + 2$ bytes in place of 128, 3.8 times fewer. What does it cost in nats? Each window of validation goes through the network with either cache, so every key and value that is looked at has been rounded.


# %%
@torch.no_grad()
def nats_through(form):
    part = text.validation[20_000 : 20_000 + JUDGED + 1]
    inputs, targets = part[:-1].view(-1, 256), part[1:]
    logits = network(inputs, form(network, batch_size=len(inputs)))
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets).item()


lost = nats_through(Int8Cache) - nats_through(KeyValueCache)
caches = {form: form(network) for form in (KeyValueCache, Int8Cache)}

# %%
with torch.no_grad():
    for cache in caches.values():
        network(text.validation[None, :255], cache)
smaller = caches[KeyValueCache].nbytes / caches[Int8Cache].nbytes

# %%
claim(
    "in int8 the cache is 128 / 34 times smaller and costs at most 0.002 nats a "
    "character",
    abs(smaller - 128 / 34) < 1e-6 and abs(lost) < 0.002,
    times_smaller=smaller,
    nats_lost=lost,
)


# %%
def measure_int8():
    found = timing.compare(
        {form.__name__: partial(read_more, each) for form, each in caches.items()},
        repeats=REPEATS,
    )
    return {"times_as_fast": found["KeyValueCache"].median / found["Int8Cache"].median}


# %%
_ = claim_about_this_machine(
    "a step with the int8 cache is slower: it makes all rows float again each time",
    measure_int8,
    lambda m: m["times_as_fast"] < 1,
    unit="x",
    null_result="A kernel that multiplies the codes would be needed, and a cache that "
    "no cache of the processor holds.",
)

# %% [markdown]
# ### Fewer rows: heads that share keys and values
#
# If several heads share a key and a value (*grouped-query attention*; with one for all, *multi-query*), there are fewer rows. Networks are trained that way from the start, or converted: take the mean of each group's matrices and train on for a while. Our network has five heads. `data/experiments/21_shared_keys.jsonl` holds what we measured for two and one keys and values, each with three seeds. Its control is the network that shares nothing, *trained on for the same 40 steps* of the same windows. Here we repeat a row without training.

# %%
about, rows = shared.read_experiment(shared.NAME)
table = pd.DataFrame(rows)
table["mean_nats"] = [float(np.mean(each)) for each in table["nats"]]
row = table.query("key_heads == 2 and pool == 'first' and steps == 0").iloc[0]
parts = text.validation.tensor_split(shared.PARTS)[:3]
live = shared.nats_by_part(shared.trained_on(shared.Condition(2, "first", 0, 0)), parts)

# %%
claim(
    "three stretches of a row of the table, repeated here, agree with it",
    bool(np.allclose(live, row["nats"][:3], atol=2e-3)),
    here=live[0],
    table=row["nats"][0],
    unit="nats",
)

# %% tags=["nbval-ignore-output"]
untrained = table.query("steps == 0").set_index(["key_heads", "pool"])["mean_nats"]
trained = table.query("steps > 0").pivot(
    index="seed", columns="key_heads", values="mean_nats"
)
bytes_a_character = {heads: 2 * 5 * heads * 32 * 4 for heads in (5, 2, 1)}
pd.DataFrame(
    {
        "bytes a character": bytes_a_character,
        "untrained, mean": {h: untrained[h, "mean"] for h in (5, 2, 1)},
        "untrained, first": {h: untrained.get((h, "first")) for h in (5, 2, 1)},
        **{f"40 steps, seed {seed}": trained.loc[seed] for seed in trained.index},
    }
).rename_axis("keys and values").round(3)

# %%
claim(
    "after 40 steps two keys and values are over 0.2 nats behind the control and one "
    "over 0.5, with each of three seeds; untrained, a group's first matrix is better "
    "than the mean",
    bool((trained[2] - trained[5] > 0.2).all())
    and bool((trained[1] - trained[5] > 0.5).all())
    and untrained[2, "first"] < untrained[2, "mean"],
    unit="nats",
    control=trained[5].mean(),
    two=trained[2].mean(),
    one=trained[1].mean(),
    two_untrained_mean=untrained[2, "mean"],
    two_untrained_first=untrained[2, "first"],
)

# %% [markdown]
# So the bytes go down by 2.5 and 5, and here the price is far too high. 40 steps are 0.25 % of the first training; Ainslie and others trained on for 5 %. The loss was still falling. What the table shows is that the conversion is no free step, and that without its control one would have blamed sharing for the little that further training itself spoils.
#
# ## Writing ahead: speculative decoding
#
# A pass over five characters of one text costs little more than a pass over one. So let something cheap, the **draft**, write four characters, and let the network read all four in one pass. It then knows its own distribution $p$ at each of the four places, and at the one behind them. The draft drew $x$ from its distribution $q$. The rule:
#
# $$\text{accept } x \text{ with probability } \min\Big(1, \frac{p(x)}{q(x)}\Big), \qquad \text{else draw from } \frac{\max(p - q, 0)}{\sum \max(p - q, 0)}$$
#
# and drop what was drafted behind it. Why is the result distributed as $p$? A character $x$ comes out accepted with probability $q(x) \min(1, p(x)/q(x)) = \min(p(x), q(x))$. The draft is refused with probability $1 - \sum \min(p, q) = \sum \max(p - q, 0)$, and then $x$ comes out with that sum times $\max(p(x) - q(x), 0)$ over it. Together: $\min(p, q) + \max(p - q, 0) = p$.
#
# | symbol | meaning | in the code |
# |---|---|---|
# | $p$, $q$ | the network's distribution, the draft's | `p`, `q` |
# | $\gamma$ | characters drafted a round | `drafted` |
# | $\alpha$ | probability that one is accepted, $\sum \min(p, q)$ | `acceptance(p, q)` |
#
# By hand: $p = (0.5, 0.3, 0.2)$, $q = (0.2, 0.5, 0.3)$. Accepted: $0.2 + 0.3 + 0.2 = 0.7$. Left over is $(0.3, 0, 0)$, so a refused draft always becomes the first character.

# %%
p, q = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.2, 0.5, 0.3]])
accepted = speculation.acceptance(p, q).item()
rest = speculation.left_over(p, q)[0].tolist()

# %%
claim(
    "by hand and by utils 0.7 is accepted, and what is left over is the first "
    "character alone",
    abs(accepted - 0.7) < 1e-6 and np.allclose(rest, [1, 0, 0]),
    accepted=accepted,
    left_over=rest[0],
)


# %%
def characters_by(rule, draws):
    """Return how often each of the three characters comes out."""
    guesses = q[0].multinomial(draws, replacement=True, generator=drawn)
    uniform = torch.rand(draws, generator=drawn)
    counts = torch.zeros(3)
    for guess, chance in zip(guesses, uniform, strict=True):
        verdict = rule(p.expand(2, 3), q, guess.view(1), chance.view(1))
        if verdict.accepted:
            counts[guess] += 1
        else:
            counts[verdict.following.multinomial(1, generator=drawn)] += 1
    return counts


# %%
def drawn_anew_from_p(*given):
    """A rule that looks right: if refused, draw from p itself."""
    return speculation.judge(*given)._replace(following=p[0])


# %%
DRAWS = 2_000
expected_draws = DRAWS * np.array([0.5, 0.3, 0.2])
fits = {
    name: chisquare(characters_by(rule, DRAWS).numpy(), expected_draws).pvalue
    for name, rule in (("rule", speculation.judge), ("wrong", drawn_anew_from_p))
}

# %%
claim(
    "in 2,000 draws a chi-squared test finds no difference from p (over 0.0001), and "
    "finds it at once where a refused character is drawn anew from p",
    fits["rule"] > 1e-4 and fits["wrong"] < 1e-6,
    rule=fits["rule"],
    wrong=fits["wrong"],
)

# %% [markdown]
# Now a real draft, `Shakespeare-draft`: 271,008 parameters against 1,532,960. And a draft without any network, which counts: a table of how often each character followed the three before it, in the training part. Before we write, we *predict*. On 8 texts that the network has written, we ask network and draft for $p$ and $q$ at every place, and take the mean of $\sum \min(p, q)$.

# %%
small = load_transformer("Shakespeare-draft")
by_counting = ngrams.ngram_probabilities(text.train, 4, 65, strength=10.0).float()
guess_draft = predict(
    "which share of the small network's characters will be accepted?", None, unit="%"
)

# %%
with torch.no_grad():
    texts = generate(network, prompts[:8], 100, generator=drawn)  # temperature 1
    own = network(texts)[:, 15:-1].softmax(dim=-1)  # (8, 100, 65)
    of = {
        "small network": small(texts)[:, 15:-1].softmax(dim=-1),
        "counting": by_counting[tuple(texts.unfold(1, 3, 1)[:, 13:-1].movedim(-1, 0))],
    }

# %%
predicted = {
    name: speculation.acceptance(own, guessed).mean().item()
    for name, guessed in of.items()
}


# %%
def written_by(name, prompt, count=80, **options):
    drafts = {
        "small network": lambda: speculation.NetworkDraft(small),
        "counting": lambda: speculation.CountingDraft(by_counting),
    }
    return speculation.speculate(network, drafts[name](), prompt, count, **options)


# %%
found = {
    name: [
        written_by(name, prompt, drafted=DRAFTED, generator=drawn)
        for prompt in prompts[:5]
    ]
    for name in predicted
}

# %%
share = {
    name: sum(w.accepted for w in all_) / sum(w.judged for w in all_)
    for name, all_ in found.items()
}
guess_draft.compare(share["small network"])

# %%
a_round = {name: 5 * 80 / sum(w.rounds for w in all_) for name, all_ in found.items()}
expected = {
    name: speculation.expected_characters(each, DRAFTED)
    for name, each in predicted.items()
}

# %%
claim(
    "the share that is accepted is the mean of sum min(p, q), within 0.1, and a round "
    "writes 1 + a + ... + a^4 characters, within 25 %",
    all(abs(share[name] - predicted[name]) < 0.1 for name in share)
    and all(abs(a_round[name] / expected[name] - 1) < 0.25 for name in share),
    network_predicted=predicted["small network"],
    network_accepted=share["small network"],
    counting_predicted=predicted["counting"],
    counting_accepted=share["counting"],
    network_a_round=a_round["small network"],
    network_a_round_expected=expected["small network"],
)

# %% [markdown]
# With temperature 0 both distributions put everything on one character, and the rule becomes: accept as long as the draft writes what the network would have written. The text must then be *identical*, however bad the draft is.

# %%
long = [i for i in range(REQUESTS) if counts[i] >= 60][:2]
same = {
    name: all(
        written_by(name, prompt, 60, temperature=0).text[16:].tolist() == wanted[:60]
        for prompt, wanted in ((prompts[i], alone[i]) for i in long)
    )
    for name in predicted
}

# %%
claim(
    "with the likeliest character each time both drafts leave the text as it is",
    all(same.values()) and len(long) == 2,
    texts=len(long),
    characters=60 * len(long),
)

# %%
guesses, _ = speculation.NetworkDraft(small).propose(
    prompts[0], DRAFTED, temperature=0, generator=drawn
)
after = generate(network, prompts[:1], DRAFTED + 1, temperature=0)[0, 16:]
right = int((guesses == after[:-1]).long().cumprod(dim=0).sum())
decode = text.vocabulary.decode

# %%
figures.show(
    drawings.round_of_speculation(
        decode(prompts[0][-6:]), decode(guesses), right, decode(after[right][None])
    ),
    "A round at temperature 0: what the draft wrote is read in one pass; up to the "
    "first difference it is accepted, and one character of the network's own follows.",
)

# %% [markdown]
# ### Does it pay?
#
# A round costs $\gamma$ steps of the draft and one pass of the network over $\gamma + 1$ characters. In units of the network's step, with $c$ for a drafted character and $v$ for the pass that checks, the writing is
#
# $$\frac{1 + \alpha + \dots + \alpha^{\gamma}}{\gamma c + v}$$
#
# times as fast. We measured $\alpha$ and $v$; $c$ is missing.

# %%
arithmetic, speeds = {}, {}


# %%
def measure_speculation():
    drafts = {
        "small network": speculation.NetworkDraft(small),
        "counting": speculation.CountingDraft(by_counting),
    }
    start = texts[0]
    calls = {
        name: partial(each.propose, start, DRAFTED, generator=drawn)
        for name, each in drafts.items()
    }
    calls["step"] = partial(read_more, ready_cache(116))
    calls["check"] = partial(read_more, ready_cache(116), DRAFTED + 1)
    with torch.no_grad():
        took = {n: t.median for n, t in timing.compare(calls, repeats=REPEATS).items()}
    v = took["check"] / took["step"]
    for name in drafts:
        c = took[name] / DRAFTED / took["step"]
        arithmetic[name] = speculation.expected_speedup(
            predicted[name], DRAFTED, draft_cost=c, check_cost=v
        )
    return {"check_cost": v} | {
        f"{n.replace(' ', '_')}_cost": took[n] / DRAFTED / took["step"] for n in drafts
    }


# %%
_ = claim_about_this_machine(
    "a drafted character costs less than a third of a step with the small network, and "
    "less than a tenth by counting",
    measure_speculation,
    lambda m: m["small_network_cost"] < 1 / 3 and m["counting_cost"] < 0.1,
    unit="x",
)


# %%
def measure_writing():
    calls = {
        name: partial(written_by, name, prompts[1], 120, drafted=DRAFTED)
        for name in predicted
    }
    calls["alone"] = partial(generate, network, prompts[1:2], 120)
    took = {n: t.median for n, t in timing.compare(calls, repeats=1).items()}
    speeds.update({name: took["alone"] / took[name] for name in predicted})
    return {
        "counting": speeds["counting"],
        "counting_by_arithmetic": arithmetic["counting"],
        "network": speeds["small network"],
        "network_by_arithmetic": arithmetic["small network"],
    }


# %%
spec_speed = claim_about_this_machine(
    "speculative decoding writes at least 1.3 times as fast with the better of the two "
    "drafts",
    measure_writing,
    lambda m: max(m["counting"], m["network"]) >= 1.3,
    unit="x",
)

# %%
_ = claim_about_this_machine(
    "the draft that counts is worse at guessing and makes the writing faster than the "
    "small network does",
    {**spec_speed, **{f"accepted_{n.split()[0]}": s for n, s in share.items()}},
    lambda m: (
        m["counting"] > m["network"] and m["accepted_counting"] < m["accepted_small"]
    ),
    unit={"counting": "x", "network": "x"},
)

# %% [markdown]
# The better guesser need not win: a step of the small network still starts dozens of operations, and a look into a table starts a handful. All hangs on $v$, the price of the pass that checks. Where bytes set the pace, five rows cost hardly more than one. 4-bit weights change that: they make *one* row cheap, and the more rows a product has the less they help ([notebook 18](18_weight_only_quantization.ipynb)). On one layer of $2048 \times 2048$:

# %%
folder = files.temporary_folder()
four_bits = partial(weight_only.minmax_half_grid, bits=4)
weight = torch.randn(2048, 2048, generator=drawn) / 45
packed = weight_only.round_to_nearest(weight, four_bits, group_size=32)
products = {
    "float32": OnnxModel(int4_products.write_product(weight, folder / "float.onnx")),
    "int4": OnnxModel(int4_products.write_int4_product(packed, folder / "int4.onnx")),
}


# %%
def measure_rows():
    calls = {
        (name, n): partial(product, torch.randn(n, 2048))
        for name, product in products.items()
        for n in (1, DRAFTED + 1)
    }
    took = {key: t.median for key, t in timing.compare(calls, repeats=REPEATS).items()}
    return {
        f"{name}_5_rows": took[name, DRAFTED + 1] / took[name, 1] for name in products
    } | {"int4_gain_1_row": took["float32", 1] / took["int4", 1]}


# %%
_ = claim_about_this_machine(
    "five rows cost more, in products of one row, with 4-bit weights than in float32",
    measure_rows,
    lambda m: m["int4_5_rows"] > m["float32_5_rows"],
    unit="x",
)

# %% [markdown]
# So two ways to be fast get into each other's way. What speculative decoding may gain is what the single row leaves unused, and 4-bit weights have used a part of that already.
#
# ## Out of PyTorch: the cache as input and output, and 4 bits
#
# Our step is slow because PyTorch starts two hundred small operations. ONNX Runtime has a graph in place of a Python program, but a graph has no state. So the cache becomes an *input*, an array for all 256 places of which the first `position` count, and the newest key and value an *output*, which we write into the array ourselves. We write the step twice: in float, and with GPTQ's 4-bit weights in groups of 16, multiplied by the operator `MatMulNBits`.

# %%
calibration, _ = windows(text.train, 256, 16, torch.Generator().manual_seed(SEED))
seen = weight_only.input_statistics(network, calibration.split(8))
rounded = weight_only.round_linear_layers(
    network,
    lambda name, w: gptq.gptq(w, seen[name].moment, four_bits, group_size=GROUP),
)

# %%
writers = {
    "float32": CachedWriter(export_step(network, folder / "step.onnx")),
    "int4": CachedWriter(export_int4_step(rounded, folder / "step4.onnx")),
}

# %%
by_file = torch.stack([writers["float32"].read(c) for c in sixty[0].tolist()])
with torch.no_grad():
    off_file = (by_file - network(sixty)[0]).abs().max()
sizes = {name: bytes_on_disk(each.path) for name, each in writers.items()}

# %%
claim(
    "60 steps of the file in float give the logits of one pass, within 1e-3; the file "
    "in int4 is at least 4 times smaller",
    bool(off_file < 1e-3) and sizes["float32"] > 4 * sizes["int4"],
    off=off_file,
    **{f"{name}_bytes": size for name, size in sizes.items()},
)

# %% [markdown]
# Does int4 write the same? Two texts that differ in one character go on differently, so comparing texts would count one difference many times. We let the network in float write, with the likeliest character each time, and ask the file in int4 at each place of *that* text which character it would have written.

# %%
guess_same = predict("which share of the characters is the same?", None, unit="%")
greedy = generate(network, prompts[:8], 100, temperature=0)


# %%
def would_write(writer, line):
    writer.forget()
    return torch.stack([writer.read(c) for c in line.tolist()])[15:-1].argmax(dim=-1)


agree = torch.cat([would_write(writers["int4"], t) == t[16:] for t in greedy])
same_share = agree.double().mean().item()
guess_same.compare(same_share)

# %%
claim(
    "at each place of the texts that float writes, int4 would write the same character "
    "in at least 95 % of 800 cases",
    same_share >= 0.95,
    same=same_share,
    unit="%",
)


# %%
def one_step(writer):
    writer.read(0)
    writer.forget(128)


# %%
def measure_files():
    calls = {name: partial(one_step, each) for name, each in writers.items()}
    calls["eager"] = partial(read_more, ready_cache(128))
    for writer in writers.values():
        writer.forget(128)
    timed = timing.compare(calls, repeats=REPEATS)
    took = {name: t.median for name, t in timed.items()}
    return {
        "int4": took["eager"] / took["int4"],
        "float32_file": took["eager"] / took["float32"],
        "int4_us": 1e6 * took["int4"],
        "float32_us": 1e6 * took["float32"],
    }


# %%
file_speed = claim_about_this_machine(
    "a step of the file in int4, cache and all, is at least twice as fast as PyTorch's "
    "in float32",
    measure_files,
    lambda m: m["int4"] >= 2,
    unit={"int4": "x", "float32_file": "x"},
)

# %%
_ = claim_about_this_machine(
    "most of that is the file and not the 4 bits: in float32 the file is more than "
    "half as fast as in int4",
    file_speed,
    lambda m: m["float32_file"] > m["int4"] / 2,
    unit={"int4": "x", "float32_file": "x"},
)

# %% [markdown]
# ## A server that streams
#
# Now all of it behind HTTP. A client sends a prompt and reads the characters as they are written. What it feels are two numbers: how long until the *first* character, and how many follow in a second. The scheduler steps in a thread of its own. What arrives, or goes away, is told to it between two steps. At most eight requests wait for a slot; a further one gets status 503 and the header Retry-After. A client that goes away must not keep its slot:

# %%
batcher = TextBatcher(small, slots=2)
three = [Request(p, 50) for p in prompts[:3]]
for each in three:
    batcher.add(each)
batcher.step()
batcher.cancel(three[0])
batcher.step()

# %%
claim(
    "two of three requests have slots; when the first is cancelled the third gets its "
    "slot before the next step",
    three[2] in batcher.active
    and len(batcher.active) == len(batcher.cache.lengths) == 2,
    in_slots=len(batcher.active),
    waiting=len(batcher.waiting),
)

# %% [markdown]
# We measure with an **open** load: requests arrive at random times that were fixed beforehand, whether the server keeps up or not, and each time counts from when the request *should* have been sent ([notebook 12](12_inference_efficiency.ipynb)). First we learn how many texts of 100 characters the scheduler writes in a second; then we ask for a third of that, and for four times as many.


# %%
LONG = 100  # characters of each request
together = []


def one_batch():
    batch = [Request(p, LONG) for p in prompts[:SLOTS]]
    together[:] = write_all(TextBatcher(network, slots=SLOTS), batch)


rate = SLOTS / timing.time_call(one_batch, repeats=1).median
loads = {"a third": (rate / 3, ASKED // 4), "four times": (4 * rate, ASKED)}
asked = {}

# %%
for name, (load, count) in loads.items():
    streamer = Streamer(TextBatcher(network, slots=SLOTS), max_waiting=SLOTS)
    with streaming(streamer, text.vocabulary) as url:
        asked[name] = ask_for_texts(
            url, [decode(p) for p in prompts[:SLOTS]], LONG, count, rate=load, seed=SEED
        )

# %%
right_texts = [
    said == decode(torch.tensor(together[i % SLOTS]))
    for each in asked.values()
    for i, said in enumerate(each.answers)
    if each.statuses[i] == 200
]
statuses = np.concatenate([each.statuses for each in asked.values()])

# %%
claim(
    "every request is answered with its whole text, the one that is written alone, or "
    "refused with 503",
    all(right_texts) and set(statuses.tolist()) <= {200, 503},
    answered=int((statuses == 200).sum()),
    refused=int((statuses == 503).sum()),
)


# %% tags=["nbval-ignore-output"]
def felt(each):
    """Return what the clients of the answered requests felt."""
    first = (each.firsts - each.planned)[each.answered]
    pace = (LONG - 1) / (each.ends - each.firsts)[each.answered]
    return {
        "asked": len(each.planned),
        "answered": int(each.answered.sum()),
        "refused": int((each.statuses == 503).sum()),
        "first character, p50 (ms)": 1e3 * np.percentile(first, 50),
        "first character, p99 (ms)": 1e3 * np.percentile(first, 99),
        "characters a second, p50": np.percentile(pace, 50),
        "characters a second, slowest 1 %": np.percentile(pace, 1),
    }


served = pd.DataFrame({name: felt(each) for name, each in asked.items()})
served.rename_axis("load").round(1)

# %%
_ = claim_about_this_machine(
    "at a third of the load nobody is refused; at four times the load some are, with a "
    "Retry-After, and the queue is bounded, so the first character of the others comes "
    "within the time of three full batches",
    {
        "refused_at_a_third": served.loc["refused", "a third"],
        "refused_at_four_times": served.loc["refused", "four times"],
        "first_p99_ms": served.loc["first character, p99 (ms)", "four times"],
        "batch_ms": 1e3 * SLOTS / rate,
    },
    lambda m: (
        m["refused_at_a_third"] == 0 < m["refused_at_four_times"]
        and m["first_p99_ms"] < 3 * m["batch_ms"]
    ),
)

# %% [markdown]
# ## Test, once
#
# Of all this only the 4-bit weights change what is written. We judge the two files' weights on the test part and record them, each with its own file's bytes and the time of its own step.

# %%
part = text.test[: TESTED + 1]
scores = {
    "float32": evaluate_text(network, part, stride=256),
    "int4": evaluate_text(rounded.model, part, stride=256),
}

# %%
claim(
    "on the test part 4-bit weights cost at most 0.01 nats a character",
    scores["int4"].nats - scores["float32"].nats <= 0.01,
    unit="nats",
    **{name: score.nats for name, score in scores.items()},
)

# %%
for name, score in scores.items():
    record(
        "generation with a cache",
        "Transformer",
        variant=f"ONNX step, {name}",
        family="fewer bits" if name == "int4" else "another runtime",
        data_set="tiny_shakespeare",
        accuracy=score.accuracy,
        parameters=count_parameters(network),
        macs=count_macs(network, sixty[:, :1]),
        bytes=sizes[name],
        latency_s=file_speed[f"{name}_us"] / 1e6,
        epochs=0,
        training="none; calibrated on 4,096 characters" if name == "int4" else "none",
        bits_per_character=score.bits,
    )

# %% [markdown]
# ## Exercises
#
# **Exercise 21.1 (compute).** Before anyone writes speculative decoding, they should know whether it can pay. Which number of drafted characters is best?


# %% tags=["exercise"]
def best_drafted(accepted, draft_cost, check_costs):
    """Return (drafted, speedup): how many characters to draft a round, and the gain.

    A round that drafts n characters writes 1 + a + ... + a^n characters on average,
    with a = `accepted`, from 0 to 1. It costs n times `draft_cost`, and
    `check_costs[n]` for the pass over n + 1 characters, in steps of the network alone.
    Of equally good n the smallest counts. n = 0 is allowed: no draft at all.

    Args:
        accepted: a number from 0 to 1. draft_cost: a number, at least 0.
        check_costs: a list, for n = 0, 1, 2, ...; check_costs[0] is 1.

    Returns:
        n, and the characters a round writes over what the round costs.

    Hint: mind a = 1, where the formula with 1 - a in it divides by zero.
    Expected length: three to six lines.
    """
    raise NotImplementedError


check("21.1", best_drafted)


# %% [markdown]
# **Exercise 21.2 (implement).** The rule for a whole round. Write it without `utils`.


# %% tags=["exercise"]
def judge_round(p, q, drafted, uniform):
    """Return (accepted, following): how many drafted characters stay, and what follows.

    Place by place, character x = drafted[i] is accepted if uniform[i] < p[i, x] /
    q[i, x]; the first that is not ends the round. `following` is the distribution from
    which the next character is drawn: of max(p - q, 0), made to add up to 1, at the
    place that was refused, or the last row of p if none was.

    Args:
        p: shape (n + 1, characters), float64. q: shape (n, characters), float64.
        drafted: shape (n,), int64; n may be 0. uniform: shape (n,), from 0 to below 1.

    Returns:
        a whole number from 0 to n, and a tensor of shape (characters,).

    Hint: loop over the places and return from inside the loop.
    Expected length: five to eight lines.
    """
    raise NotImplementedError


check("21.2", judge_round)

# %% [markdown]
# **Exercise 21.3 (challenge).** The table that looks three characters back cost almost nothing and was accepted least. Make a better draft by counting: **at least 74 % accepted on 2,000 characters of validation**, without a network, in half a minute. The check takes your draft's distribution at each place, and the mean of $\sum \min(p, q)$ with the shipped network's $p$. Before you start: what does a table of four characters back cost in memory, and what else could know that "KING" is followed by a space or a colon?


# %% tags=["exercise"]
def counting_draft(train, part):
    """Return q for each place of a text, shape (len(part) - 8, 65); each row adds to 1.

    Row i is the draft's distribution for part[i + 8], made of the characters before
    that place alone: the check gives you the text twice, once with another end.

    Args:
        train: the training part, 948,084 numbers from 0 to 64. part: numbers.

    Returns:
        a float tensor.

    Hint: look into `utils.ngrams`: what notebook 17 found best goes seven back.
    Expected length: three to six lines.
    """
    raise NotImplementedError


check("21.3", counting_draft)

# %% [markdown]
# The [solutions](solutions/21_faster_generation.ipynb) are a notebook of their own.
#
# ## What we measured, and when it fails
#
# The cache changed no logit and made the time of a character nearly independent of what stands before it. Continuous batching wrote the same texts as one by one, in fewer steps than static batches, which computed characters that nobody wanted. Pages wasted less than a sixth of their places where reserving for the longest text wasted over half, and a fork shared the beginning. In int8 the cache was 3.8 times smaller at no visible loss, and PyTorch was slower with it. Heads that share keys and values cost far more nats than 40 steps of training could give back. Speculative decoding left the distribution as it was, which a chi-squared test could tell from a rule that only looks right; its acceptance could be predicted before a character was written; and the worse guesser, a table, was the better draft. The step as a file, with the cache as input and output, was faster than PyTorch's mostly because it is a file.
#
# It fails where a cache is stale, which nothing reports; where positions are counted from a wrong start in one slot of several; where the context is full and the cache must forget. Speculative decoding gains nothing where $v$ is near $\gamma + 1$: with many texts side by side, or where 4-bit weights have made one row cheap. Our network is small: what a larger one gains from bytes we did not measure, and the times here are those of one busy machine.
#
# - Kwon and others, *Efficient memory management for large language model serving with PagedAttention*, SOSP 2023: pages, tables, sharing; Yu and others, *Orca: a distributed serving system for transformer-based generative models*, OSDI 2022: the scheduler that decides before every step.
# - Leviathan, Kalman and Matias, *Fast inference from transformers via speculative decoding*, ICML 2023, and Chen and others, *Accelerating large language model decoding with speculative sampling*, 2023: the rule, its proof, the arithmetic.
# - Ainslie and others, *GQA: training generalized multi-query transformer models from multi-head checkpoints*, EMNLP 2023; Shazeer, *Fast transformer decoding: one write-head is all you need*, 2019: fewer keys and values.
#
# Next: [22 Your own network](22_your_own_network.ipynb). What of all this does your network need?
