"""Breaking notebook 17: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # another count
    ("letter in word])", "letter in word[1:]])", "in abracadabra b stands behind a"),
    # each character sees the next one
    ("triu(1)", "triu(2)", "attention by hand, loop, matrices"),
    # nothing is shuffled
    ("torch.tensor([3, 0, 4, 2, 1, 5])", "torch.arange(6)", "without the mask the past depends on the future"),
    # no positions
    ("q, k = transformer.rotate(q, *turns), transformer.rotate(k, *turns)", "pass", "our ten lines are the block"),
    # two matrices in the feed-forward branch
    ("4 * d**2 + 3 * d * f)", "4 * d**2 + 2 * d * f)", "the formulas give the parameters"),
    # a step that reads everything again
    ("whole_context[:, :1], cache)", "whole_context)", "reading 256 characters is exactly 256 times"),
    # pieces that know nothing of each other
    ("[network(piece, cache) for", "[network(piece) for", "reading in pieces with a cache gives"),
    # one text in place of 32
    ("batch_size=batch)", "batch_size=1)", "the cache takes a fifth of the memory"),
    # four characters in place of the best
    ('further["Kneser-Ney"].idxmin()', "4", "Kneser-Ney with seven characters is the best counting"),
    # nothing is learned
    ('"transformer": (small, 4e-3)', '"transformer": (small, 0.0)', "after 600 steps the transformer is better"),
    # judged by windows side by side both times
    ("evaluate_text(trained, part, stride=256).nats", "overlapped", "the same network on the same text"),
    # the text that they are chosen by in place of the one that they learned from
    ("pieces = text.train.unfold", "pieces = text.validation.unfold", "every network knows its own text better"),
    # the part before is left out both times
    (
        "up_to_it = torch.cat([text.train, text.validation])",
        "up_to_it = text.train",
        "with the 5 % just before it counted",
    ),
    # the LSTM is given the transformer's logits
    (
        "logits_of(shipped[name], part)",
        'logits_of(shipped["transformer"], part)',
        "the temperature of the LSTM is nearer to 1",
    ),
    # the one look is at the transformer every time
    (
        "logits_of(model.to(device), text.test)",
        'logits_of(shipped["transformer"], text.test)',
        "on validation the transformer is over 0.02 nats ahead",
    ),
    # the other way round
    (
        'of_each["transformer"] - of_each["LSTM"]',
        'of_each["LSTM"] - of_each["transformer"]',
        "on the last tenth the transformer is behind the LSTM",
    ),
    # counting is judged by the character before
    ("p.log(), part[best_n - 1 :]", "p.log(), part[best_n - 2 : -1]", "on the last tenth the transformer's likeliest"),
    # whatever is likeliest counts as right
    ("(likeliest == came)", "(likeliest == likeliest)", "on the last tenth the transformer's likeliest character"),
    # chosen where the network had learned
    (
        "stretch = text.validation[20_000:32_801]",
        "stretch = text.train[20_000:32_801]",
        "at the temperature chosen on the stretch",
    ),
    # an untrained network in place of the shipped one
    ('load_transformer(names["transformer"])', "Transformer().eval()", "the same network on the same text"),
]

IN_LIBRARY = [
    # what lies ahead counts as a score of zero
    ("utils.transformer", "masked_fill(~mask, -torch.inf)", "masked_fill(~mask, 0.0)", "attention by hand, loop"),
    # the newest characters take themselves for the oldest
    ("utils.transformer", ".tril(keys - queries)", ".tril()", "reading in pieces with a cache gives"),
    ("utils.transformer", "arange(self.seen, self.seen + count,", "arange(0, count,", "reading in pieces with a cache"),
    # a sum in place of a gate
    (
        "utils.transformer",
        "F.silu(self.gate(x)) * self.up(x)",
        "F.silu(self.gate(x)) + self.up(x)",
        "our ten lines are",
    ),
    # all orders mixed with 1 / characters
    (
        "utils.ngrams",
        "below = (counts + strength * below)",
        "below = (counts + strength / characters)",
        "counting one character more lowers the nats",
    ),
    # the orders below count how often, and not behind how many
    (
        "utils.ngrams",
        "table = _different_before(tables[order])",
        "table = tables[order - 1]",
        "Kneser-Ney with seven characters is the best counting",
    ),
    # one temperature for all
    ("utils.language_models", "(logits / temperature).softmax", "logits.softmax", "the lower the temperature"),
    # no temperature changes anything
    (
        "utils.language_models",
        "parameter /= temperature",
        "parameter /= 1.0",
        "at the temperature chosen on the stretch",
    ),
]
