"""Breaking notebook 15: see `tests.notebooks.broken`."""

IN_NOTEBOOK = [
    ("sums[code - 1] += g", "sums[code - 1] = g", "hand, loop, index_add and autograd find"),
    ("key=lambda tree: tree[0])", "key=lambda tree: -tree[0])", "hand, loop and huffman"),
    ("(whole >> 7) & 0xFF", "(whole >> 2) & 0xFF", "Huffman writes the exponents of both networks"),
    ("zeros < 2**bits - 1", "zeros < 2**bits - 2", "hand, loop and relative_indices agree"),
    # the table of Huffman's code is charged for with and without it
    (
        '"gaps, no table": huffman,',
        '"gaps, no table": huffman + len(counts),',
        "Huffman's gaps with their table take more",
    ),
    # the digits after the first are forgotten
    (
        "bits += further - math.log2(",
        "bits += 0 * further - math.log2(",
        "coded adaptively the gaps take over a twentieth",
    ),
    # the table is left out
    ("sum(map(len, words))", "0 * sum(map(len, words))", "in each of the ten files contexts take the fewest bytes"),
    # a bitmap: a bit a place
    (
        "entropy_coding.entropy(each) * each.size / 8 for",
        "each.size / 8 for",
        "of n H(k/n) contexts save nothing in LeNet5",
    ),
    # a bound that is too low
    (
        "entropy_coding.entropy(each) * each.size / 8 for",
        "0.85 * entropy_coding.entropy(each) * each.size / 8 for",
        "of n H(k/n) contexts save over a tenth in LeNet300100",
    ),
    # the file that lies less far below the line
    ("key=below.get)", "key=lambda name: -below[name])", "chosen on validation, the file with bits in its loss"),
    # the control is a rival of another size
    ('"pull, 25e-6"}[chosen]', '"four levels"}[chosen]', "a pull towards zero that counts no bits"),
    # a control that exchanges nothing
    ("size=(times * len(kept), 2)", "size=(0, 2)", "the number of weights of each unit, or of each pixel"),
    # the rival is a goal network too
    ("read_all(shipped.NARROW_DENSE)", 'goals["LeNet300100"]', "in as many bytes, give or take 5 %, the narrow dense"),
    # the goal network again
    (
        '"narrow and dense": shipped.load_compressed(first),',
        '"narrow and dense": theirs,',
        "the narrow dense file spends over",
    ),
    # rounded before, too
    (
        "entropy_coding.decode_network(file) for name, file in both",
        "floats[name] for name, file in both",
        "on both splits the narrow dense network errs",
    ),
    # "half of the bytes" is the goal network itself
    ("""["LeNet300100-3-kB"][columns]""", """["LeNet300100-7-kB"][columns]""", "pruned to under half its bytes"),
    # half of the errors of the dense networks
    (
        "    model: 1 - evaluate(network, digits.test).accuracy",
        "    model: 0.5 * (1 - evaluate(network, digits.test).accuracy)",
        "LeNet300100 errs under 0.4 points more than its dense network",
    ),
]

IN_LIBRARY = [
    # the columns are not stored
    (
        "utils.pruning",
        "return nonzeros * (value_bytes + index_bytes) + (rows + 1) * max(4, index_bytes)",
        "return nonzeros * value_bytes + (rows + 1) * max(4, index_bytes)",
        "fifty times fewer weights make compressed rows",
    ),
    # the codes of the largest centroids come first
    (
        "utils.weight_sharing",
        "np.searchsorted(centroids, rounded) + 1)",
        "len(centroids) - np.searchsorted(centroids, rounded))",
        "share finds our codes",
    ),
    # each weight takes its neighbour's centroid
    (
        "utils.weight_sharing",
        "kept = centroids[self.codes.flatten()[self.places] - 1]",
        "kept = centroids[self.codes.flatten()[self.places] - 2]",
        "hand, loop, index_add and autograd find",
    ),
    # the rarest letters get no longer words
    ("utils.entropy_coding", "lengths[symbol] += 1", "lengths[symbol] = 1", "hand, loop and huffman_lengths agree"),
    # a filler stands for one place too many
    (
        "utils.entropy_coding",
        "gaps += [reach - 1] * fillers + [gap % reach]",
        "gaps += [reach] * fillers + [gap % reach]",
        "hand, loop and relative_indices agree",
    ),
]
