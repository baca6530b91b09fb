"""Every random number is a function of the seed and of what it is for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *purpose: str | int) -> int:
    """Derive a 63-bit seed for one purpose; stable across processes, machines and Python versions."""
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_device(device: torch.device, value: int) -> None:
    """Seed the default generators of the host and of `device` (microseconds; `torch.manual_seed` is 100 times that)."""
    import torch

    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)


@contextmanager
def seeded(value: int) -> Iterator[None]:
    """Seed the host's generator inside the block and put back the state that was found."""
    import torch

    state = torch.get_rng_state()
    torch.default_generator.manual_seed(value)
    try:
        yield
    finally:
        torch.set_rng_state(state)
