"""Wrong answers to the exercise of notebook 00."""

WRONG_ANSWERS = {
    "00.1": [
        lambda count, bits: count * bits // 8,  # forgets the last, partly filled byte
        lambda count, bits: count * bits // 8 + 1,  # one too many where the last byte is full
        lambda count, bits: -(-count // 8) * bits,  # rounds the count instead of the bits
        lambda count, bits: count * -(-bits // 8),  # whole bytes for each number: not packed
        lambda count, bits: count * bits / 8,  # a fraction of a byte
        lambda count, bits: None,
    ]
}
