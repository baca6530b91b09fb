"""What outlives a step: weights, buffers and states of optimizers, to be copied, put back and compared bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Place(NamedTuple):
    """Where a tensor is kept: how it is called, in what and under which key."""

    name: str
    holder: MutableMapping[Any, Any]
    key: Any
    tensor: Tensor


def places(variant: nn.Module, optimizers: Mapping[str, Optimizer]) -> list[Place]:
    """Return the places of all that a step may read and the next one finds; a tensor that is shared, once."""
    found = {id(place.tensor): place for place in (*_of_modules(variant), *_of_optimizers(optimizers))}
    return list(found.values())


def _of_modules(variant: nn.Module) -> Iterator[Place]:
    for path, module in variant.named_modules():
        kept: dict[str, Any]
        for kept in (module._parameters, module._buffers):
            for name, tensor in kept.items():
                if tensor is not None:
                    yield Place(f"{path}.{name}".lstrip("."), kept, name, tensor)


def _of_optimizers(optimizers: Mapping[str, Optimizer]) -> Iterator[Place]:
    for player, optimizer in optimizers.items():
        for number, state in enumerate(optimizer.state.values()):
            for name, value in state.items():
                if isinstance(value, Tensor):
                    yield Place(f"{name} {number} of the optimizer of {player}", state, name, value)


def moved(before: Sequence[Place], now: Sequence[Place]) -> str:
    """Return the name of a place that has another tensor than before, or nothing."""
    known = {id(place.tensor) for place in before}
    there = {id(place.tensor) for place in now}
    fresh = (place.name for place in now if id(place.tensor) not in known)
    return next(fresh, next((place.name for place in before if id(place.tensor) not in there), ""))


def copied(held: Sequence[Place]) -> dict[str, Tensor]:
    """Return what the tensors hold, on the host, by name."""
    return {place.name: place.tensor.detach().to("cpu", copy=True) for place in held}


@torch.no_grad()
def put_back(held: Sequence[Place], content: Mapping[str, Tensor]) -> None:
    """Put tensors back in their places, with what they held."""
    for place in held:
        place.holder[place.key] = place.tensor
        place.tensor.copy_(content[place.name])


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Return the name of the first tensor on the host that differs in any bit, or nothing."""
    if one.keys() != other.keys():
        return next(iter(one.keys() ^ other.keys()))
    return next((name for name, mine in one.items() if not torch.equal(_bits(mine), _bits(other[name]))), "")


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)
