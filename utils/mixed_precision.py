"""Training with 16 bits: what underflows, the scale that saves it, and what is held for the backward pass."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from utils.input_validation import require_int, require_positive


class LossScaler:
    """Dynamic loss scaling by hand: halve the scale on an overflow, double it after some good steps.

    The loss is multiplied by the scale before `backward`, the gradients are divided by it before the optimizer's step,
    and the step is left out if one of them is infinite or NaN (Micikevicius and others, 2018, section 3.2).
    `torch.amp.GradScaler` does the same.
    """

    def __init__(self, scale: float = 2.0**16, *, good_steps: int = 2000) -> None:
        """Begin with a scale.

        Args:
            scale: a power of two, so that multiplying rounds nothing.
            good_steps: without an overflow, after which the scale is doubled.
        """
        self.scale, self.good_steps = require_positive("scale", scale), require_int("good_steps", good_steps, minimum=1)
        self._good = 0

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss times the scale."""
        return loss * self.scale

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Divide the gradients by the scale, make the step if all are finite, and adapt the scale.

        Returns whether the step was made.
        """
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        for gradient in gradients:
            gradient /= self.scale
        finite = all(gradient.isfinite().all() for gradient in gradients)
        if not finite:
            self.scale, self._good = self.scale / 2, 0
            return False
        optimizer.step()
        self._good += 1
        if self._good == self.good_steps:
            self.scale, self._good = self.scale * 2, 0
        return True


def underflow(values: torch.Tensor, dtype: torch.dtype) -> float:
    """Return the share of the values that are not zero but become zero in `dtype`.

    >>> underflow(torch.tensor([1.0, 1e-8, 0.0]), torch.float16)
    0.5
    """
    there = values != 0
    return ((values.to(dtype) == 0) & there).sum().item() / max(1, there.sum().item())


class HeldForBackward:
    """Count the bytes that the backward pass will need, now and at most: `now`, `most`. Parameters do not count.

    Within `counting` autograd hands every tensor that it saves to this object, by `saved_tensors_hooks`, and drops it
    when it has been used. Two saved tensors on one storage count once. Tensors that nobody saves, such as those that
    live during one operation, are not seen.
    """

    def __init__(self, model: nn.Module) -> None:
        """Begin with nothing held; the model's parameters are there anyway and are left out."""
        self._parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self._users: dict[int, int] = {}
        self.now = self.most = 0

    @contextlib.contextmanager
    def counting(self) -> Iterator["HeldForBackward"]:
        """Count what is saved within the block; the backward pass must be in it, too."""
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Held(self, tensor), lambda held: held.tensor):
            yield self

    def _take(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place in self._parameters:
            return
        self._users[place] = self._users.get(place, 0) + 1
        if self._users[place] == 1:
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)

    def _drop(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place in self._parameters:
            return
        self._users[place] -= 1
        if self._users[place] == 0:
            self.now -= storage.nbytes()


class _Held:
    """A tensor that autograd saved; when autograd drops it, it is counted off."""

    def __init__(self, count: HeldForBackward, tensor: torch.Tensor) -> None:
        self.count, self.tensor = count, tensor
        count._take(tensor.untyped_storage())

    def __del__(self) -> None:
        self.count._drop(self.tensor.untyped_storage())


class _Recomputed(torch.autograd.Function):
    """A part of a network that keeps its input only, and computes the rest again when the gradient comes."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, part: nn.Module, values: torch.Tensor) -> torch.Tensor:
        ctx.part = part
        ctx.save_for_backward(values)
        return part(values)  # autograd does not look into a Function: nothing in here is saved

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> tuple[None, torch.Tensor]:
        (values,) = ctx.saved_tensors
        values = values.detach().requires_grad_()
        with torch.enable_grad():
            again = ctx.part(values)
        torch.autograd.backward(again, gradient)  # adds to the parameters' gradients, too
        return None, values.grad


def recomputed(part: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Return ``part(values)`` and hold nothing but `values` for the backward pass: activation checkpointing by hand.

    It is `torch.utils.checkpoint.checkpoint` in its short, older form (``use_reentrant=True``), for a part without
    dropout, whose second computation would draw other numbers. `values` must require a gradient, or the part's
    parameters get none (Chen and others, 2016).
    """
    if not values.requires_grad:
        raise ValueError("values must require a gradient; otherwise autograd leaves the part out of the backward pass")
    return _Recomputed.apply(part, values)
