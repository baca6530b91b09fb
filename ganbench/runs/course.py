"""A variant on an experiment's own data, stepped by the trainer of every run, in float64 where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from ganbench.contract.data import ImageSet
from ganbench.contract.experiments import Optimizers
from ganbench.contract.types import Batch, Clock, Update
from ganbench.contract.variant import Control, Variant
from ganbench.errors import UserError, brief, named
from ganbench.seeds import derive, seed_device
from ganbench.training.arithmetic import default_dtype
from ganbench.training.budget import Budget
from ganbench.training.stream import Stream
from ganbench.training.trainer import Trainer

ENDLESS = Budget(1e15, "images")
"""A course ends when its experiment says so: the share of the budget that a clock shows stays zero."""


class HarnessCourse:
    """See `ganbench.contract.experiments.Course`.

    `make`: builds the variant at its first step. `optimizers`: make those of its players, in place of its own.
    `times`: what the rates of its own are multiplied by.
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
        times: float = 1.0,
        double: bool = False,
    ) -> None:
        self._data, self._seed, self._batch, self._device = data, seed, batch, device
        self._double = double
        with self._precision():
            self.variant = make()
            if isinstance(self.variant, Control):
                raise UserError("it is a control, which is not trained")
            if double:
                self.variant.double()
            if optimizers is not None:
                self._replace(optimizers)
            elif times != 1:
                self._hasten(times)
        self.restart()

    def advance(self, steps: int = 1) -> str:
        """See `Course.advance`."""
        self.variant.train()
        with self._precision():
            with _told():
                for _ in range(steps):
                    self._trainer.step()
            return self._trainer.look()

    def gradients(self) -> dict[str, list[list[Tensor]]]:
        """See `Course.gradients`."""
        found: dict[str, list[list[Tensor]]] = {}
        # Closed before anybody hears of what fails, since it puts the weights back.
        with closing(self._yielded()) as updates, _told():
            for update in updates:
                weights = self._player(update)
                one = torch.autograd.grad(
                    update.loss, weights, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                found.setdefault(update.player, []).append(list(one))
        return found

    def losses(self) -> dict[str, list[Tensor]]:
        """See `Course.losses`."""
        found: dict[str, list[Tensor]] = {}
        with closing(self._yielded()) as updates, _told():
            for update in updates:
                self._player(update)
                found.setdefault(update.player, []).append(update.loss.detach())
        return found

    def restart(self, weights: Mapping[str, Tensor] | None = None) -> None:
        """See `Course.restart`."""
        with self._precision(), torch.no_grad():
            known = self.variant.state_dict()
            for name, value in (weights or {}).items():
                if name not in known:
                    raise UserError(f"it has no {name}, but {brief(', '.join(known), 300)}")
                try:
                    value.expand(known[name].shape)
                except RuntimeError:
                    there, found = tuple(known[name].shape), tuple(value.shape)
                    raise UserError(f"{name} has the shape {there}, to which {found} cannot be brought") from None
            for name, value in (weights or {}).items():
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
                metered=False,
            )
        self.period = self._trainer.period
        if self._double:
            self._trainer.stream = _Doubled(self._trainer.stream)  # type: ignore[assignment]

    def _player(self, update: Update) -> list[nn.Parameter]:
        known = self._trainer.players
        if update.player not in known:
            raise UserError(f"it yields an update of {update.player!r}; its players are {', '.join(known)}")
        return known[update.player]

    def _yielded(self) -> Generator[Update, None, None]:
        """Yield what the steps of a period ask for without making it, and put back what they change by themselves."""
        before = {name: value.clone() for name, value in self.variant.state_dict().items()}
        self.variant.train()
        try:
            for step in range(self._trainer.period):
                with self._precision():
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
            return {name: _hooked(optimizers(name, _weights(o)), o) for name, o in own(variant).items()}

        vars(variant)["optimizers"] = replaced
        vars(variant)["schedules"] = lambda clock: {}

    def _hasten(self, times: float) -> None:
        """Multiply the rates of the variant's own optimizers, and those that its schedules set."""
        variant, own, schedules = self.variant, type(self.variant).optimizers, type(self.variant).schedules

        def hastened() -> dict[str, torch.optim.Optimizer]:
            players = own(variant)
            for group in [group for optimizer in players.values() for group in optimizer.param_groups]:
                group["lr"] *= times
            return players

        def scheduled(clock: Clock) -> dict[str, dict[str, Any]]:
            found = {player: dict(settings) for player, settings in schedules(variant, clock).items()}
            for settings in found.values():
                settings |= {"lr": cast("float | Tensor", settings["lr"]) * times} if "lr" in settings else {}
            return found

        vars(variant).update(optimizers=hastened, schedules=scheduled)

    def _precision(self) -> AbstractContextManager[torch.dtype]:
        """Draw latents in float64 inside the block, where that is asked for."""
        return default_dtype(torch.float64 if self._double else torch.get_default_dtype())


def _weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _hooked(optimizer: torch.optim.Optimizer, own: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Give an optimizer what a variant hooks to its own: the clipping of weights, of gradients."""
    for before in own._optimizer_step_pre_hooks.values():
        optimizer.register_step_pre_hook(before)
    for after in own._optimizer_step_post_hooks.values():
        optimizer.register_step_post_hook(after)
    return optimizer


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
        return Batch(real.double(), _doubled(cond))

    def conditions(self, n: int, seed: int) -> Tensor | None:
        return _doubled(self._stream.conditions(n, seed))


def _doubled(cond: Tensor | None) -> Tensor | None:
    return cond.double() if cond is not None and cond.is_floating_point() else cond
