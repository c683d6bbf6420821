"""In which order the tests run: what takes long begins first, in each of the processes that share them."""

from collections.abc import Hashable, Sequence
from itertools import groupby


def dealt(tests: Sequence, units: Sequence[Hashable | None], processes: int) -> list:
    """Return the tests in the order in which pytest-xdist's processes end at nearly the same time.

    Each process gets an equal part of the list, and whoever is done takes half of what another has left, from its end.
    So the units, which take long, stand at the beginnings of the parts, dealt in turn, and what is quick behind them:
    no process is left with two long tests when there is nothing else to do.

    Args:
        tests: in the order in which they stand.
        units: of each test, what it belongs to and stays together with; None for a quick one.
        processes: how many share the list.

    >>> dealt("abcdefgh", [None, 1, 1, None, 2, None, None, 3], 2)
    ['b', 'c', 'h', 'a', 'e', 'd', 'f', 'g']
    >>> dealt("abcd", [1, 2, 3, None], 1)
    ['a', 'b', 'c', 'd']
    """
    both = list(zip(tests, units, strict=True))
    quick = [test for test, unit in both if unit is None]
    parts: list[list] = [[] for _ in range(processes)]
    long = groupby((each for each in both if each[1] is not None), key=lambda each: each[1])
    for number, (_, group) in enumerate(long):
        parts[number % processes] += [test for test, _ in group]
    ordered: list = []
    for number, part in enumerate(parts):
        # as many as `xdist.scheduler.worksteal` sends to this process
        room = (len(tests) - len(ordered)) // (processes - number) - len(part)
        ordered += part + quick[: max(0, room)]
        quick = quick[max(0, room) :]
    return ordered + quick
