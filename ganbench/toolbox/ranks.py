"""What is of a whole batch where several devices, the ranks of a run, have a part of it each.

On one device every function here returns what it is given. On several, each rank takes the gradient of its own loss,
and the harness averages these: means over equal parts need nothing more. What is no mean of samples (a deviation, pairs
of samples, a function of a mean) goes through these functions. Their derivatives, of any order, are such that gradients
averaged over ranks are those of the whole batch. All ranks must call them equally often and in the same order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Group(ABC):
    """The ranks of one run, as one of them sees them."""

    rank: int = 0
    size: int = 1

    @abstractmethod
    def sum_(self, tensor: Tensor) -> None:
        """Replace a tensor, contiguous, by its sum over ranks, the same bits on each; all ranks call this together."""


class Alone(Group):
    """One device."""

    def sum_(self, tensor: Tensor) -> None:
        """Leave the tensor as it is."""


ALONE = Alone()
_now: Group = ALONE


def current() -> Group:
    """Return the ranks that make a step at this moment."""
    return _now


def enter(group: Group) -> None:
    """Let the functions here be of this group from now on."""
    global _now
    _now = group


@contextmanager
def among(group: Group) -> Iterator[None]:
    """Let the functions here be of this group inside the block."""
    before = current()
    enter(group)
    try:
        yield
    finally:
        enter(before)


def mean_over_ranks(x: Tensor) -> Tensor:
    """Return the mean of what each rank has: of means over its part of a batch, that of the whole batch."""
    return x if _now.size == 1 else _Mean.apply(x, _now)


def whole_batch(x: Tensor) -> Tensor:
    """Return the samples of all ranks, `[ranks * B, ...]`, in order of ranks, where each has `[B, ...]`."""
    return x if _now.size == 1 else _Whole.apply(x, _now)


def own_part(x: Tensor) -> Tensor:
    """Return this rank's samples, `[B, ...]`, of those of a whole batch, `[ranks * B, ...]`."""
    if _now.size == 1:
        return x
    n = len(x) // _now.size
    return x[_now.rank * n : (_now.rank + 1) * n]


def whole_size(n: int) -> int:
    """Return how many samples the whole batch has where each rank has `n`."""
    return n * _now.size


def sums(x: Tensor, group: Group) -> Tensor:
    """Return the sum over ranks, in float32 at least, without a gradient."""
    total = x.detach().to(torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else x.dtype, copy=True)
    total = total.contiguous()
    group.sum_(total)
    return total


def gathered(x: Tensor, group: Group) -> Tensor:
    """Return what all ranks have, one after the other along the first dimension, without a gradient."""
    # A sum with zeros: exact, and all that a group must be able to do is to sum.
    joined = x.new_zeros(group.size, *x.shape)
    joined[group.rank] = x.detach()
    group.sum_(joined)
    return joined.flatten(0, 1)


class _Mean(torch.autograd.Function):
    """Rank r's x reaches the losses of all ranks, each by a share: the gradient is the mean of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return (sums(x, group) / group.size).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Mean.apply(gradient, ctx.group), None


class _Whole(torch.autograd.Function):
    """Rank r's x is a part of what all ranks see: the gradient is the sum of theirs for that part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return gathered(x, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Part.apply(gradient, ctx.group), None


class _Part(torch.autograd.Function):
    """The derivative of `_Whole`, whose own derivative is that again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        n = len(x) // group.size
        return sums(x, group)[group.rank * n : (group.rank + 1) * n].to(x.dtype).clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Whole.apply(gradient, ctx.group), None
