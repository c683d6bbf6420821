"""Breaking notebook 21: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    # values are kept and keys are not
    (
        "        kept_keys.append(k)\n",
        "        kept_keys[:] = [k] * len(kept_values + [v])\n",
        "one by one with two lists",
    ),
    # nothing is stale
    ("    clean.forget_last(3)\n", "    clean.forget_last(3)\n    stale.forget_last(3)\n", "three characters left in"),
    # both are static
    (
        'name: TextBatcher(network, slots=SLOTS, continuous=name == "continuous")\n    for name',
        "name: TextBatcher(network, slots=SLOTS, continuous=False)\n    for name",
        "the schedulers take as many steps",
    ),
    # each text has its neighbour's place in the batch
    (
        "greedy_logits(prompts[group], model)",
        "greedy_logits(prompts[group.flip(0)], model)",
        "in batches of 2, 8 and 32 the",
    ),
    # the least likely character is compared
    (
        "same = alone_.argmax(dim=-1) == together.argmax(dim=-1)",
        "same = alone_.argmax(dim=-1) == together.argmin(dim=-1)",
        "a text changes at most where",
    ),
    # each table looks at the same character
    (
        "behind = texts.unfold(1, back, 1)[:, 16 - back : -1]",
        "behind = texts.unfold(1, back, 1)[:, 15 - back : -2]",
        "the more characters a table looks back",
    ),
    # a loss that is there
    ("lost = nats_through(Int8Cache)", "lost = 0.01 + nats_through(Int8Cache)", "in int8 the cache is"),
    # the wrong rule is the right one
    (
        "return speculation.judge(*given)._replace(following=p[0])",
        "return speculation.judge(*given)",
        "in 2,000 draws a chi-squared test",
    ),
    # p and q of neighbouring places
    ("own = network(texts)[:, 15:-1]", "own = network(texts)[:, 14:-2]", "the share that is accepted"),
    # codes in another order
    (
        "lambda name, w: gptq.gptq(w, seen[name].moment, four_bits, group_size=GROUP)",
        "lambda name, w: gptq.gptq(w.roll(1, 0), seen[name].moment, four_bits, group_size=GROUP)",
        "at each place of the texts that float writes",
    ),
    # there are pages for everyone
    (
        "slots=REQUESTS, cache=PagedSlots(network, pages=PAGES)",
        "slots=REQUESTS, cache=PagedSlots(network, pages=20 * PAGES)",
        "with the memory of two slots",
    ),
    # the first head's query is the last one's
    (
        "query.transpose(1, 2), key, value\n",
        "query.flip(1).transpose(1, 2), key, value\n",
        "five keys and values, and attention written out",
    ),
    # both servers batch continuously
    (
        'under_load(Counted(scheduler == "continuous"), load, seed)',
        "under_load(Counted(True), load, seed)",
        "of the same arrivals, at 0.6",
    ),
    # each scheduler has arrivals of its own
    (
        'under_load(Counted(scheduler == "continuous"), load, seed)',
        'under_load(Counted(scheduler == "continuous"), load, seed + len(scheduler))',
        "of the same arrivals, at 0.6",
    ),
    # what is counted gives every free slot away at once
    ("if self.continuous or not self.active else 0", "if True else 0", "counted without a network"),
    # the overload is none
    ('LOADS = {"0.6": 0.6, "1.5": 1.5}', 'LOADS = {"0.6": 0.6, "1.5": 0.7}', "of the same arrivals, at 0.6"),
    # only the first requests are looked at, which found the queue empty
    ("refused[100:].mean()", "refused[:10].mean()", "the overload lasts"),
    # the file reads each window's first character last
    (
        "self.writer.read(c) for c in window",
        "self.writer.read(c) for c in window[1:] + window[:1]",
        "on the test part the file in float32",
    ),
]

IN_LIBRARY = [
    # the position of every character but the first is off by one
    (
        "utils.transformer",
        "positions = torch.arange(self.seen, self.seen + count, device=self.stored.device)",
        "positions = torch.arange(self.seen, self.seen + count, device=self.stored.device) + (self.seen > 0)",
        "step for step the logits",
    ),
    # a stale cache: the rejected characters stay
    (
        "utils.transformer",
        "        self.length -= count\n        self.seen -= count",
        "        pass",
        "three characters",
    ),
    # positions of a slot are off by one from the second character on
    (
        "utils.continuous_batching",
        "positions = lengths[:, None] + torch.arange(new, device=device)",
        "positions = (lengths[:, None] - 1).clamp(min=0) + torch.arange(new, device=device)",
        "one by one, in static batches and continuously",
    ),
    # a slot shows what an earlier text left in it
    (
        "utils.continuous_batching",
        "<= positions[:, None, :, None]",
        "<= positions.max() + 0 * positions[:, None, :, None]",
        "one by one, in static batches and continuously",
    ),
    # the text that moves into a free slot keeps its old length
    (
        "utils.continuous_batching",
        "            self.lengths[slot] = held\n",
        "",
        "one by one, in static batches and continuously",
    ),
    # whoever writes into a shared page does not copy it
    (
        "utils.compact_caches",
        "if began % page and self.pool.uses[self.table[-1]] > 1:",
        "if False:",
        "two texts that share their first pages",
    ),
    # half of the codes' range
    ("utils.compact_caches", "amax(dim=-1) / 127)", "amax(dim=-1) / 254)", "in int8 the cache is"),
    # a character is accepted that should have been refused
    (
        "utils.speculative_decoding",
        "if drawn * q[place, character] >= p[place, character]:",
        "if drawn * q[place, character] >= 2 * p[place, character]:",
        "in 2,000 draws a chi-squared test",
    ),
    # what the draft wrote and the network refused stays in the cache
    (
        "utils.speculative_decoding",
        "        self.cache.forget_last(len(self.read) - same)\n",
        "",
        "over the 27 texts of three characters",
    ),
    # what was refused is drawn from p
    (
        "utils.speculative_decoding",
        "return torch.where(total > 0, more / total, p)",
        "return p",
        "by hand and by utils 0.7",
    ),
    # a cancelled text keeps its slot
    (
        "utils.continuous_batching",
        "            self._release(self.active.index(request))",
        "            pass",
        "two of three requests have slots",
    ),
    # the file is told a position too many
    (
        "utils.cached_export",
        "np.array([self.length], dtype=np.int64)",
        "np.array([min(self.length + 1, 255)], dtype=np.int64)",
        "60 steps of the file in float",
    ),
    # a client that has left is written for
    (
        "utils.streaming_server",
        "            streamer.cancel(stream.request)  # nothing, if it is at its end",
        "            pass",
        "a client that leaves frees its slot",
    ),
    # a refusal does not say when to come back
    (
        "utils.streaming_server",
        'headers = {"Retry-After": str(error.retry_after)}',
        "headers = {}",
        "under every load each request is answered",
    ),
    # what a text had written is forgotten when its pages are taken back
    (
        "utils.continuous_batching",
        "text = torch.cat([request.prompt, torch.tensor(request.written, dtype=torch.int64)])",
        "text = request.prompt",
        "with the memory of two slots",
    ),
    # each character is written a place too far in its page
    (
        "utils.compact_caches",
        "inside = self._positions % self.pool.page",
        "inside = (self._positions + 1) % self.pool.page",
        "with the memory of two slots",
    ),
    # chunks are as long as the prompt
    (
        "utils.continuous_batching",
        "self._unread[request][:left] for request in some",
        "self._unread[request] for request in some",
        "read whole or in chunks",
    ),
    # behind a chunk the prompt is read from its beginning again
    (
        "utils.continuous_batching",
        "self._unread[request] = self._unread[request][pieces.shape[1] :]",
        "self._unread[request] = self._unread[request][: -pieces.shape[1]]",
        "read whole or in chunks",
    ),
]
