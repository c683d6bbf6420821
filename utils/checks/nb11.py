"""Checks for the exercises of notebook 11."""

import secrets
import threading
from collections.abc import Callable, Iterator

import torch

from utils.checks import WrongAnswerError, check_cases, exercise, is_blank, same, wrong


@exercise("11.1")
def ring_efficiency(answer: Callable) -> None:
    """The share of a step that is spent computing: the messages counted one by one."""

    def specification(
        compute_s: float, gradient_bytes: float, world_size: int, startup_s: float, bandwidth: float
    ) -> float:
        exchange_s = 0.0
        for _round in ("add up", "hand round"):
            for _step in range(world_size - 1):
                exchange_s += startup_s + (gradient_bytes / world_size) / bandwidth
        return compute_s / (compute_s + exchange_s)

    small = [(1.0, 1e9, 1, 1.0, 1e9), (1.0, 1e9, 2, 0.0, 1e9), (1.0, 0.0, 2, 0.5, 1e9), (2.0, 4.0, 4, 0.0, 1.0)]
    large = [(0.6, 178e6, 512, 5e-6, 3.125e9), (0.01, 1.7e6, 3, 2e-3, 1e9), (1.2, 553e6, 1024, 5e-5, 1.25e10)]
    cases = [*small, *large]
    check_cases(answer, [(case, specification(*case)) for case in cases], tolerance=1e-9)


@exercise("11.2")
def exchange_in_buckets(answer: Callable) -> None:
    """Fill buckets, send each while the backward pass goes on, wait at the end: the order of events is compared."""
    generator = torch.Generator().manual_seed(secrets.randbits(32))
    small = [([2], 8, 1), ([1, 1], 4, 2), ([1, 1, 1], 8, 2)]
    large = [([3, 1, 2, 5], 12, 4), ([4, 4, 4], 1, 3), ([2, 9, 1], 1000, 2), ([1, 2, 3, 4, 5, 6], 20, 8)]
    for counts, cap_bytes, world_size in small + large:
        drawn = {f"layer {i}": torch.randn(1, n, generator=generator) for i, n in enumerate(counts)}
        pass_ = _BackwardPass(drawn, world_size)
        case = (f"{len(counts)} gradients of {counts} numbers, cap_bytes={cap_bytes}, world_size={world_size}",)
        try:
            received = answer(pass_.gradients(), pass_.start_all_reduce, cap_bytes, world_size)
        except Exception as error:
            if isinstance(error, NotImplementedError) and is_blank(error):
                raise
            raise wrong(case, "a dictionary of means", f"{type(error).__name__}: {error}") from error
        expected = _events(counts, cap_bytes)
        if pass_.events[: len(expected)] != expected:
            raise wrong(case, " -> ".join(expected), " -> ".join(pass_.events))
        if sorted(pass_.events[len(expected) :]) != sorted(f"wait {i}" for i in range(pass_.sent)):
            raise wrong(case, "each bucket waited for once, after the last gradient", " -> ".join(pass_.events))
        # the other workers hold 2, 3, ... N times our gradients
        means = {name: gradient * (world_size + 1) / 2 for name, gradient in drawn.items()}
        if not isinstance(received, dict) or received.keys() != means.keys():
            raise wrong(case, f"a dictionary with {', '.join(means)}", received)
        for name, mean in means.items():
            if not same(received[name], mean, tolerance=1e-5):
                raise wrong((*case, name), mean, received[name])


class _BackwardPass:
    """Gradients that are computed when they are asked for, and an all-reduce that runs in the background."""

    def __init__(self, gradients: dict[str, torch.Tensor], world_size: int) -> None:
        self.drawn, self.world_size = gradients, world_size
        self.events: list[str] = []
        self.sent = 0

    def gradients(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, gradient in self.drawn.items():
            self.events.append(name)
            yield name, gradient.clone()

    def start_all_reduce(self, vector: torch.Tensor) -> Callable[[], torch.Tensor]:
        if vector.ndim != 1:
            raise ValueError(f"a bucket is one vector, got the shape {tuple(vector.shape)}")
        number, self.sent = self.sent, self.sent + 1
        self.events.append(f"send {vector.nbytes} bytes")
        total = vector * self.world_size * (self.world_size + 1) / 2

        def wait() -> torch.Tensor:
            self.events.append(f"wait {number}")
            return total

        return wait


def _events(counts: list[int], cap_bytes: int) -> list[str]:
    """Return what must happen until the last bucket has left."""
    events, held = [], 0
    for i, count in enumerate(counts):
        events.append(f"layer {i}")
        held += 4 * count
        if held >= cap_bytes or (held and i == len(counts) - 1):
            events.append(f"send {held} bytes")
            held = 0
    return events


@exercise("11.3")
def train_sharded(answer: Callable) -> None:
    """A training of N workers, of whom each keeps one N-th of the averages and sends no more than an all-reduce."""
    makes = {
        "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "Adam": lambda p: torch.optim.Adam(p, lr=0.1),
    }
    generator = torch.Generator().manual_seed(secrets.randbits(32))
    most = 0.0
    for world_size in (1, 2, 4):
        for kind, make in makes.items():
            weights = torch.randn(8, generator=generator)
            targets = torch.randn(world_size, 8, generator=generator)
            case = (f"{world_size} workers, 8 weights, {kind}, 5 steps",)
            group = _Group(world_size)
            received = group.run(answer, weights, targets, make, case)
            parameter = torch.nn.Parameter(weights.clone())
            optimizer = make([parameter])
            for _ in range(5):
                parameter.grad = parameter.detach() - targets.mean(dim=0)
                optimizer.step()
            for values in received:
                if not same(values, parameter.detach(), tolerance=1e-5):
                    raise wrong(case, parameter.detach(), values)
            whole = _state_bytes([optimizer])
            held = [_state_bytes(each) for each in group.optimizers]
            if max(held) > whole / world_size:
                raise WrongAnswerError(
                    f"{case[0]}: the weights are right, but a worker keeps {max(held)} bytes of averages; "
                    f"the bar is one share, {whole // world_size} bytes"
                )
            limit = 5 * 2 * (world_size - 1) / world_size * weights.nbytes
            if max(group.bytes_sent) > limit:
                raise WrongAnswerError(
                    f"{case[0]}: the weights are right, but a worker sends {max(group.bytes_sent):g} bytes; "
                    f"the bar is what an all-reduce sends, {limit:g}"
                )
            most = max(held) / whole
    print(f"with four workers each keeps {100 * most:.0f} % of the averages")


def _state_bytes(optimizers: list[torch.optim.Optimizer]) -> int:
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    return sum(v.nbytes for state in states for v in state.values() if isinstance(v, torch.Tensor) and v.ndim)


class _Group:
    """Workers that are threads of this process; what each of them sends in a ring is counted."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.barrier = threading.Barrier(world_size)
        self.given: list = [None] * world_size
        self.bytes_sent = [0.0] * world_size
        self.optimizers: list[list[torch.optim.Optimizer]] = [[] for _ in range(world_size)]

    def run(
        self, answer: Callable, weights: torch.Tensor, targets: torch.Tensor, make: Callable, case: tuple[str]
    ) -> list:
        """Return what each worker's call of the answer returns; the first error of any of them is raised."""
        results: list = [None] * self.world_size
        errors: list[BaseException] = []

        def work(i: int) -> None:
            def remembered(parameters: list) -> torch.optim.Optimizer:
                self.optimizers[i].append(make(parameters))
                return self.optimizers[i][-1]

            try:
                gradient_of = lambda values: values.detach() - targets[i]  # noqa: E731
                results[i] = answer(weights.clone(), gradient_of, remembered, _Member(self, i), 5)
            except threading.BrokenBarrierError:
                errors.append(RuntimeError("the workers do not all call the same exchanges"))
            except Exception as error:
                errors.insert(0, error)
                self.barrier.abort()

        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(self.world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in errors:
            if isinstance(error, NotImplementedError) and is_blank(error):
                raise error
            raise wrong(case, "the weights after five steps", f"{type(error).__name__}: {error}") from error
        return results


class _Member:
    """What one worker sees of the group."""

    def __init__(self, group: _Group, process_rank: int) -> None:
        self._group = group
        self.process_rank, self.world_size = process_rank, group.world_size

    def reduce_scatter(self, vector: torch.Tensor) -> torch.Tensor:
        """Return the sum over all workers of this worker's piece of the vector."""
        if len(vector) % self.world_size:
            raise ValueError(f"a vector of {len(vector)} numbers has no {self.world_size} equal pieces")
        return sum(self._exchange(vector, len(vector) // self.world_size)).chunk(self.world_size)[self.process_rank]

    def all_gather(self, piece: torch.Tensor) -> torch.Tensor:
        """Return the pieces of all workers, one behind another."""
        return torch.cat(self._exchange(piece, len(piece)))

    def _exchange(self, values: torch.Tensor, count: int) -> list[torch.Tensor]:
        group = self._group
        group.bytes_sent[self.process_rank] += (self.world_size - 1) * count * values.element_size()
        group.given[self.process_rank] = values.detach().clone()
        group.barrier.wait(10)
        everyone = list(group.given)
        group.barrier.wait(10)
        return everyone
