"""Breaking notebook 11: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("len(labels) if weighted", "len(labels) * 1.01 if weighted", "weighted by their sizes"),
    # what is not sent is forgotten
    ("held_back = wanted - sent", "held_back = 0.0 * sent", "what was sent and what is held back are together"),
    # the loss is scaled after its gradient was computed
    ("(scale * loss).backward()", "loss.backward()", "scaling the loss by 65,536 saves"),
    ("place = (w - 1 + offset - step) % n", "place = (w + offset - step) % n", "after twice three steps each of the"),
    # the places of the values travel free of charge
    ("budget / (3 * 8)", "budget / (3 * 4)", "top-k and PowerSGD send the same bytes"),
    # small gradients, and no scale after all
    ("train_fixed(2.0**16 * 2.0**-14)", "train_fixed(2.0**-14)", "with gradients 16,384 times"),
]

IN_LIBRARY = [
    # an exchange begins as soon as its bucket is full, although the link is busy
    (
        "utils.communication_cost",
        "begin = max(ready, times[-1][1] if times else 0.0)",
        "begin = ready",
        "on paper a bucket of 1 MB ends sooner than one bucket",
    ),
    # what top-k does not send is forgotten
    (
        "utils.gradient_compression",
        "self.held_back = whole.scatter(1, places, 0.0)",
        "self.held_back = torch.zeros_like(whole)",
        "with error feedback top-k and PowerSGD end within 20 %",
    ),
    # an overflow takes the scale down by four
    (
        "utils.mixed_precision",
        "self.scale, self._good = self.scale / 2, 0",
        "self.scale, self._good = self.scale / 4, 0",
        "by hand and by the library, 40 steps have the same scales",
    ),
    # a part keeps all that it computes
    (
        "utils.mixed_precision",
        "    return _Recomputed.apply(part, values)",
        "    return part(values)",
        "four parts of four layers hold the least",
    ),
    # the weights are compared, which are the same whatever the shards are
    (
        "utils.data_parallel",
        "p.grad.flatten() for p in trained.values()",
        "p.flatten() for p in trained.values()",
        "over shards of 448 and 64 digits the mean is off",
    ),
    # over the number of values, not over the length of what was expected
    (
        "utils.data_parallel",
        ".norm().item() / expected.double().norm().item()",
        ".norm().item() / expected.numel()",
        "over shards of 448 and 64 digits the mean is off",
    ),
]
