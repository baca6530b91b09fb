"""What only the harness may do: weights that move, work that is spent and meters that change by other hands are told.

Nothing here waits for the device in an ordinary step: versions of tensors are numbers of the host.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganbench.training.meter import FlopCounter

MOST_CHANGES = 8
"""So often may one update change a weight in place: optimizers take one or two, a projection after it one more."""
WATCH = 200
"""One step in about so many is watched closely, at moments that nobody can foresee."""
MORE = 2.0
"""A watched step may spend so many times the FLOPs that its phase is charged with."""
_WHOLE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Unfair(Exception):
    """A plugin did what would make a comparison untrue; the run ends in an error that says what and where."""


class Weights:
    """The weights of a variant, watched. `versions` rise with every change in place, whoever makes it."""

    def __init__(self, variant: nn.Module) -> None:
        self._named = dict(variant.named_parameters())
        self._all = tuple(self._named.values())
        self.versions = self.read()

    def read(self) -> list[int]:
        """Return the versions as they are now."""
        return [weight._version for weight in self._all]

    def accept(self) -> None:
        """Take the versions of now for those that the harness has made."""
        self.versions = self.read()

    def require_still(self, name: str, when: str) -> None:
        """Raise `Unfair` where a weight has changed since the last look."""
        if (found := self.read()) != self.versions:
            moved = self._first(found)
            raise Unfair(
                f"{name} changes {moved} {when}: only an update that is yielded may change weights, so that it is "
                f"counted; clip and project in optimizer.register_step_post_hook"
            )

    def require_update(self, name: str, player: str, mine: Iterable[Tensor]) -> None:
        """Raise `Unfair` where an update has changed others than a player's weights, or those more than once."""
        found, own = self.read(), {id(weight) for weight in mine}
        for weight, before, after in zip(self._all, self.versions, found, strict=True):
            if after == before:
                continue
            if id(weight) not in own:
                raise Unfair(f"an update of {player} of {name} changes {self._name(weight)}, which is not its weight")
            if after - before > MOST_CHANGES:
                raise Unfair(
                    f"the optimizer of {player} of {name} changes {self._name(weight)} {after - before} times in one "
                    f"update: an update is one step, and each is metered"
                )
        self.versions = found

    def _first(self, found: Sequence[int]) -> str:
        moved = (w for w, old, new in zip(self._all, self.versions, found, strict=True) if old != new)
        return self._name(next(moved))

    def _name(self, weight: Tensor) -> str:
        return next((name for name, known in self._named.items() if known is weight), "a weight")


class Watch:
    """The steps that are looked at closely: what changes without a version, and what is spent without a meter.

    Drawn from the system's own randomness, so that nothing in a run depends on it and no plugin foresees it; the first
    ones lie close together, since a run may be short.
    """

    def __init__(self) -> None:
        self._chance = random.SystemRandom()
        self._next = -1

    def is_due(self, step: int) -> bool:
        """Whether to look at this step."""
        if self._next < 0:
            self._next = step + self._chance.randrange(4)
        if step < self._next:
            return False
        self._next = step + 1 + self._chance.randrange(min(2 * WATCH, 8 + step))
        return True


class Work(FlopCounter):
    """A counter that also sees outer products, which the meter of FLOPs takes for elementwise work."""

    def __init__(self) -> None:
        super().__init__()
        self.unmetered = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and add what it multiplies and sums."""
        output = super().__torch_dispatch__(func, types, args, kwargs)
        if func._overloadpacket is torch.ops.aten.mul and isinstance(output, Tensor):
            widest = max((part.numel() for part in args if isinstance(part, Tensor)), default=0)
            self.unmetered += output.numel() if output.numel() > widest else 0
        return output


def require_metered(name: str, step: int, spent: Work, charged: float) -> None:
    """Raise `Unfair` where a watched step spends more than it is charged with."""
    if spent.flops > MORE * charged:
        raise Unfair(
            f"step {step} of {name} spends {spent.flops:,} FLOPs, but steps of its phase are charged with "
            f"{charged:,.0f}, as the last one that was counted: its work must repeat with its `period`"
        )
    if spent.unmetered > MORE * max(spent.flops, charged):
        raise Unfair(
            f"step {step} of {name} multiplies {spent.unmetered:,} times outside of matrix products and convolutions, "
            f"but only {spent.flops:,} FLOPs inside, which are metered: use matmul or a convolution"
        )


@torch.no_grad()
def checksum(tensors: Iterable[Tensor]) -> Tensor:
    """Return a number for each tensor, on its device, that changes with any bit of it."""
    sums = [_sum_of_bits(tensor.detach()).view(1) for tensor in tensors if tensor.numel()]
    return torch.cat([each.to(sums[0].device) for each in sums]) if sums else torch.zeros(0, dtype=torch.int64)


def _sum_of_bits(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)  # as it lies in memory: no copy
    flat = tensor.contiguous().view(-1)
    # Eight bytes at a time, which is ten times as fast as a sum that widens what it adds.
    whole = flat.numel() * flat.element_size() // 8 * 8 // flat.element_size()
    rest = flat[whole:].view(_WHOLE[flat.element_size()]).sum(dtype=torch.int64)
    return flat[:whole].view(torch.int64).sum() + rest if whole else rest


def require_sound_samples(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise `Unfair` where sampling has changed what is sampled."""
    moved = [key for key, value in before.items() if not torch.equal(value, after[key])]
    if moved:
        raise Unfair(f"{name} changes {moved[0]} while it is sampled: sampling leaves a variant as it is")


def marks_of(variant: nn.Module) -> dict[str, Tensor]:
    """Return a checksum of every parameter and buffer by name."""
    return {name: checksum([tensor]).cpu() for name, tensor in (*variant.named_parameters(), *variant.named_buffers())}
