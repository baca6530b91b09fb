"""Operations written in others that give the same numbers and compile better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
FEW = 16
"""So many pieces at most are compared one by one."""


def largest(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Return what `torch.max` along a dimension does: the first of the largest, and NaN where there is one."""
    dim = dim % x.ndim if x.ndim else 0
    if not x.ndim or not 1 < x.shape[dim] <= FEW or not x.is_floating_point():
        return NotImplemented
    pieces = x.unbind(dim)
    value, place = pieces[0], torch.zeros_like(pieces[0], dtype=torch.int64)
    for piece in pieces[1:]:
        value = torch.maximum(value, piece)
    for piece in reversed(pieces[:-1]):  # products, since a branch that nobody can foresee costs more
        place = (piece != value) * (place + 1)
    return (value.unsqueeze(dim), place.unsqueeze(dim)) if keepdim else (value, place)


def put(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Return what `torch.scatter` does where one value a line is put, as by the gradient of a maximum."""
    dim = dim % x.ndim if x.ndim else 0
    if not x.ndim or index.shape != source.shape or index.shape != (*x.shape[:dim], 1, *x.shape[dim + 1 :]):
        return NotImplemented
    places = torch.arange(x.shape[dim], device=x.device).view([-1 if d == dim else 1 for d in range(x.ndim)])
    return torch.where(places == index, source, x)


def like(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return what draws as many numbers as a tensor has, from its shape alone."""

    def drawn(x: Tensor, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
        return draw(x.shape, dtype=dtype or x.dtype, device=device or x.device)

    return drawn


REWRITTEN: dict[Any, Callable[..., Any]] = {
    aten.max.dim: largest,
    aten.scatter.src: put,
    aten.randn_like.default: like(torch.randn),
    aten.rand_like.default: like(torch.rand),
}
DRAWN = {
    aten.randn.default,
    aten.rand.default,
    aten.randint.default,
    aten.randint.low,
    aten.randperm.default,
    aten.normal.float_float,
}
"""What draws random numbers whatever the tensors are."""
