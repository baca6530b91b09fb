"""One run on several devices: what the trainer of each of its ranks does beside the others.

Ranks hold the same weights and have equal parts of each batch. Their gradients are averaged after the backward pass, by
one sum over ranks; no wrapper hears of gradients as they arrive, which is wrong where a loss holds gradients itself.
Batch norm takes its statistics over ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganbench.contract.variant import Variant
from ganbench.errors import UserError
from ganbench.toolbox.ranks import ALONE, Group, among, current, gathered, sums, whole_batch
from ganbench.training.budget import Budget
from ganbench.training.guard import checksum


class Ranks:
    """The ranks of a run, as the trainer of one of them needs them; by default there is one alone."""

    def __init__(self, rank: int = 0, size: int = 1, group: Group = ALONE) -> None:
        self.rank, self.size, self.group = rank, size, group

    @property
    def purpose(self) -> tuple[str | int, ...]:
        """What the seed of a step is derived for beside its number: each of several ranks draws its own latents."""
        return ("rank", self.rank) if self.size > 1 else ()

    def stepping(self) -> AbstractContextManager[None]:
        """Return the block in which a step is made together."""
        return among(self.group)

    def part(self) -> None:
        """Have no others any more: what is traced but not averaged stays as it is."""
        self.size, self.group = 1, ALONE

    def announce(self, until: float) -> None:
        """Tell the others that training goes on to a share of the budget."""

    def agree(self, number: int) -> int:
        """Return the number that the first rank says, on all of them."""
        return number

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over ranks."""
        if self.size == 1 or not tensors:
            return
        for kind in dict.fromkeys(each.dtype for each in tensors):
            alike = [each for each in tensors if each.dtype == kind]
            flat = torch.cat([each.detach().reshape(-1) for each in alike])
            flat = (sums(flat, self.group) / self.size).to(kind)
            for each, mean in zip(alike, flat.split([each.numel() for each in alike]), strict=True):
                each.copy_(mean.view(each.shape))

    def largest(self, number: int, device: torch.device) -> int:
        """Return the largest of the numbers that ranks have."""
        if self.size == 1:
            return number
        return int(gathered(torch.tensor([number], device=device), self.group).max())

    def require_alike(self, variant: nn.Module, name: str, steps: int) -> None:
        """Raise `ValueError` where ranks hold different weights or buffers."""
        if self.size == 1:
            return
        named = [*variant.named_parameters(), *variant.named_buffers()]
        named = [(key, tensor) for key, tensor in named if tensor.numel()]
        found = gathered(checksum(tensor for _, tensor in named), self.group).view(self.size, -1)
        apart = (found != found[:1]).any(0).tolist()
        if any(apart):
            key = named[apart.index(True)][0]
            raise ValueError(
                f"the {self.size} devices of {name} hold different values of {key} after {steps} steps: what changes "
                f"it must be alike on all, by mean_over_ranks or whole_batch; or set `one_device` to why it cannot be"
            )


SINGLE = Ranks()


class Pace:
    """When a tick is due: after so many steps or seconds; several ranks agree on the number of steps before."""

    def __init__(self, ranks: Ranks, steps: int, seconds: float, now: float) -> None:
        self._ranks, self._steps, self._seconds = ranks, steps, seconds
        self._made, self._last, self._left = 0, now, 1
        self._agree(1)

    def is_due(self, now: float) -> bool:
        """Count a step, and say whether a tick is due after it."""
        self._made += 1
        return self._made >= self._left if self._ranks.size > 1 else now - self._last > self._seconds

    def begin(self, last: float, now: float) -> None:
        """Begin anew after a tick. `last`: when its last step had been made."""
        each = max(1e-6, (last - self._last) / max(1, self._made))
        self._agree(max(1, min(self._steps, int(self._seconds / each))))
        self._made, self._last = 0, now

    def _agree(self, steps: int) -> None:
        if self._ranks.size > 1:
            self._left = self._ranks.agree(steps)


def misfit(variant: Variant, budget: Budget, batch: int, images: int, devices: int) -> str | None:
    """Return why a variant cannot be trained on so many devices, with `images` a step of this batch, or None."""
    if devices == 1:
        return None
    if variant.one_device:
        return f"it is for one device: {variant.one_device}"
    if batch % devices or images % devices:
        of = f"a batch of {batch}" if batch % devices else f"a step of {images} real images"
        return f"{of} cannot be shared out equally among {devices} devices: --batch must be a multiple of {devices}"
    if budget.unit == "seconds":
        return f"a budget of seconds is not known alike to {devices} devices: give images, updates or flops"
    return None


def require_fit(variant: Variant, budget: Budget, batch: int, images: int, devices: int) -> None:
    """Raise `UserError` where a variant cannot be trained on so many devices."""
    if reason := misfit(variant, budget, batch, images, devices):
        raise UserError(reason)


def share_statistics(network: nn.Module) -> None:
    """Let the batch norms of a network take their statistics over ranks, in the steps that several make."""
    for part in network.modules():
        if isinstance(part, _BatchNorm) and not isinstance(part, _Shared):
            kind = type(part)
            part.__class__ = _SHARED.setdefault(kind, type(kind.__name__, (_Shared, kind), {}))


class _Shared(_BatchNorm):
    """A batch norm over ranks, differentiable as often as one over a single batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`; alone, or in evaluation mode, as the norm that this was."""
        if current().size == 1 or not (self.training or not self.track_running_stats):
            return super().forward(x)
        self._check_input_dim(x)  # type: ignore[no-untyped-call]
        with torch.autocast(x.device.type, enabled=False):
            output = self._normalised(x.to(torch.promote_types(x.dtype, torch.float32)))
        return output.to(x.dtype)

    def _normalised(self, x: Tensor) -> Tensor:
        places = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        mean = x.mean(places)
        variance = (x - mean.view(shape)).square().mean(places)
        # The variance of parts of equal size is the mean of theirs and the variance of their means: one sum suffices.
        means, variances = whole_batch(torch.stack([mean, variance])[None]).unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        if self.training and self.track_running_stats:
            self._follow(mean.detach(), variance.detach(), len(means) * x.numel() // x.shape[1])
        output = (x - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            output = output * self.weight.view(shape) + self.bias.view(shape)
        return output

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.add_(share * (mean.to(self.running_mean.dtype) - self.running_mean))
        unbiased = variance.to(self.running_var.dtype) * (count / max(1, count - 1))
        self.running_var.add_(share * (unbiased - self.running_var))


_SHARED: dict[type, type[_Shared]] = {}
"""By kind of batch norm, the kind over ranks."""
