"""A variant on an experiment's own data, stepped by the trainer of every run, in float64 where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer

from ganbench.contract.data import ImageSet
from ganbench.contract.experiments import Optimizers
from ganbench.contract.types import Batch, Clock, Update
from ganbench.contract.variant import Variant
from ganbench.errors import UserError, brief, named
from ganbench.seeds import derive, seed_device
from ganbench.training.budget import Budget
from ganbench.training.stream import Stream
from ganbench.training.trainer import Trainer

ENDLESS = Budget(1e15, "images")
"""A course ends when its experiment says so: the share of the budget that a clock shows stays zero."""


class HarnessCourse:
    """See `ganbench.contract.experiments.Course`.

    `make`: builds the variant at its first step. `optimizers`: make those of its players, in place of its own.
    """

    def __init__(
        self,
        make: Callable[[], Variant],
        data: ImageSet,
        *,
        seed: int,
        batch: int,
        device: torch.device,
        optimizers: Optimizers | None = None,
        double: bool = False,
    ) -> None:
        self._data, self._seed, self._batch, self._device = data, seed, batch, device
        self._optimizers, self._double = optimizers, double
        with self._precision():
            self.variant = make()
            if double:
                self.variant.double()
            if optimizers is not None:
                self._replace(optimizers)
        self.restart()

    def advance(self, steps: int = 1) -> str:
        """See `Course.advance`."""
        self.variant.train()
        with self._precision(), _told():
            for _ in range(steps):
                self._trainer.step()
        return self._trainer.look()

    def gradients(self) -> dict[str, list[list[Tensor]]]:
        """See `Course.gradients`."""
        found: dict[str, list[list[Tensor]]] = {}
        for update in self._yielded():
            weights = self._trainer.players[update.player]
            one = torch.autograd.grad(
                update.loss, weights, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            found.setdefault(update.player, []).append(list(one))
        return found

    def losses(self) -> dict[str, list[Tensor]]:
        """See `Course.losses`."""
        found: dict[str, list[Tensor]] = {}
        for update in self._yielded():
            found.setdefault(update.player, []).append(update.loss.detach())
        return found

    def restart(self, weights: Mapping[str, Tensor] | None = None) -> None:
        """See `Course.restart`."""
        with self._precision(), torch.no_grad():
            known = self.variant.state_dict()
            for name, value in (weights or {}).items():
                if name not in known:
                    raise UserError(f"it has no {name}, but {brief(', '.join(known), 300)}")
                known[name].copy_(value)
        with self._precision():
            self._trainer = Trainer(
                self.variant,
                self._data,
                ENDLESS,
                seed=self._seed,
                batch=self._batch,
                device=self._device,
                half_life=None,
            )
        self.period = self._trainer.period
        if self._double:
            self._trainer.stream = _Doubled(self._trainer.stream)  # type: ignore[assignment]

    def _yielded(self) -> Iterator[Update]:
        """Yield what the steps of a period ask for without making it, and put back what they change by themselves."""
        before = {name: value.clone() for name, value in self.variant.state_dict().items()}
        self.variant.train()
        try:
            for step in range(self._trainer.period):
                with self._precision(), _told():
                    seed_device(self._device, derive(self._seed, "step", step))
                    clock = Clock(step, torch.zeros((), device=self._device))
                    yield from self.variant.step(self._trainer.stream[step], clock)
        finally:
            with torch.no_grad():
                for name, value in self.variant.state_dict().items():
                    value.copy_(before[name])

    def _replace(self, optimizers: Optimizers) -> None:
        """Give the variant other optimizers, of this object alone, and none of the schedules that are of its own."""
        variant, own = self.variant, type(self.variant).optimizers

        def replaced() -> dict[str, torch.optim.Optimizer]:
            return {name: _in_place_of(old, partial(optimizers, name)) for name, old in own(variant).items()}

        vars(variant)["optimizers"] = replaced
        vars(variant)["schedules"] = lambda clock: {}

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """Draw latents in float64 inside the block, where that is asked for."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64 if self._double else before)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def _in_place_of(old: Optimizer, make: Callable[[Sequence[Tensor]], Optimizer]) -> Optimizer:
    """Make an optimizer of the same parameters; what a variant does before and after a step of its own (it clips
    weights, say) is done before and after one of this.
    """
    new = make([weight for group in old.param_groups for weight in group["params"]])
    for hook in old._optimizer_step_pre_hooks.values():
        new.register_step_pre_hook(hook)
    for hook in old._optimizer_step_post_hooks.values():
        new.register_step_post_hook(hook)
    return new


@contextmanager
def _told() -> Iterator[None]:
    """Turn what a variant raises on networks that it never saw into a `UserError`."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"it fails there: {brief(named(error), 200)}") from error


class _Doubled:
    """A stream whose samples are float64."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __getitem__(self, step: int) -> Batch:
        real, cond = self._stream[step]
        return Batch(real.double(), cond)

    def conditions(self, n: int, seed: int) -> Tensor | None:
        return self._stream.conditions(n, seed)
