"""A step is a function of state, batch, seed, progress and its place in the period: a recorded one can be replayed.

What it does is recorded operation by operation, with every number that Python hands to one. A number that changes with
time would be the same for ever in a recording; a time belongs into a buffer, or comes as `clock.progress`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ganbench import Batch, Clock, Update, UserError, Variant, discriminator_loss, nonsaturating_loss
from ganbench.contract.variant import Control
from ganbench.runs.registry import discover
from ganbench.seeds import derive, seed_device
from ganbench.testing.choices import forms
from ganbench.testing.subject import Subject, advance, state_of, subject_of
from ganbench.testing.watching import difference
from ganbench.training.tracing import PhaseOnly, Uncompilable
from ganbench.training.trainer import Trainer

REGISTRY = discover()
LATE = 10_000
"""So many periods later a step must do what it does at first."""


class Recorder(TorchDispatchMode):
    """Writes down each operation: its name, the kinds of its tensors, its numbers, and values it was not given."""

    def __init__(self, given: list[Tensor]) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.known = {id(each): each for each in given}  # held, so that no other tensor takes its place

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        line = f"{func} {self.told((args, kwargs or {}))}"
        found = func(*args, **(kwargs or {}))
        self.lines.append(line)
        self.know(found)
        return found

    def told(self, argument: Any) -> str:
        if isinstance(argument, Tensor):
            kind = f"{argument.dtype}{list(argument.shape)}"
            # One number that no operation made is one that Python made.
            constant = argument.numel() == 1 and id(argument) not in self.known
            return f"{kind}={argument.detach().clone().tolist()}" if constant else kind
        if isinstance(argument, list | tuple):
            return f"[{', '.join(map(self.told, argument))}]"
        if isinstance(argument, dict):
            return f"{{{', '.join(f'{name}: {self.told(value)}' for name, value in argument.items())}}}"
        return str(argument)

    def know(self, found: Any) -> None:
        if isinstance(found, Tensor):
            self.known[id(found)] = found
        elif isinstance(found, list | tuple):
            for each in found:
                self.know(each)


def recorded(trainer: Trainer, first: int, progress: float, place: Any = int) -> list[str]:
    """Make a period of steps numbered from `first` on, of the batches and seeds of the first; return what they do."""
    lines, variant = list[str](), trainer.variant.train()
    for phase in range(trainer.period):
        batch, clock = trainer.stream[phase], Clock(place(first + phase), torch.full((), progress))
        served = [each for each in (*batch, clock.progress) if each is not None]
        seed_device(trainer.device, derive(0, "step", phase))
        states = [each for optimizer in trainer.optimizers.values() for each in optimizer.state.values()]
        moments = [each for state in states for each in state.values() if isinstance(each, Tensor)]
        recorder = Recorder([*served, *variant.parameters(), *variant.buffers(), *moments])
        updates = variant.step(batch, clock)
        while True:
            with recorder:
                update = next(updates, None)
            if update is None:
                break
            recorder.lines.append(f"update of {update.player}, logs {sorted(update.log)}")
            trainer.apply(update)
        lines += [f"step {phase}: {line}" for line in recorder.lines]
    return lines


def require_same(name: str, one: list[str], other: list[str], when: str) -> None:
    for first, second in zip(one, other, strict=False):
        assert first == second, f"{name} depends on time {when}:\n  {first}\n  {second}"
    assert len(one) == len(other), f"{name} does more or less {when}: {len(one)} and {len(other)} operations"


def require_repetition(subject: Subject) -> None:
    """Raise where a step is more than its place in the period: by its number, its progress, or what went before."""
    name, period = subject.variant.name, subject.trainer().period
    early, late, trained = (subject.trainer() for _ in range(3))
    first = recorded(early, 0, 0.1)
    require_same(name, first, recorded(late, LATE * period, 0.1), "by the number of the step")
    mend = "keep what it counts in a buffer"
    apart = difference(state_of(early), state_of(late))
    assert not apart, f"{name} comes to another {apart} in late steps: {mend}"
    advance(trained, 2 * period)
    require_same(name, first, recorded(trained, LATE * period, 0.9), "by a number that Python holds")
    try:
        recorded(subject.trainer(), 0, 0.1, lambda number: PhaseOnly(number, period))
    except Uncompilable as error:
        raise AssertionError(f"{name}: {error}; {mend}") from error


def cases() -> Iterator[Any]:
    for name in REGISTRY.find("variant", "all"):
        cls = REGISTRY.get("variant", name).item
        if not issubclass(cls, Control):
            for settings in forms(cls):
                yield pytest.param(name, settings, id="-".join([name, *(f"{k}={v}" for k, v in settings.items())]))


@pytest.mark.parametrize(("name", "settings"), list(cases()))
def test_a_step_is_its_place_in_the_period(name: str, settings: Mapping[str, str]) -> None:
    try:
        subject = subject_of(name, registry=REGISTRY, settings=settings)
    except UserError as reason:
        pytest.skip(str(reason))
    require_repetition(subject)


class Sound(Variant):
    """A GAN that weighs a loss by what is left of its budget and by how often it has moved."""

    name = "sound"
    period = 2

    def build(self, parts: Any) -> None:
        self.G, self.D = parts.generator(), parts.discriminator()
        self.register_buffer("count", torch.zeros(()))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {player: torch.optim.SGD(getattr(self, player).parameters(), 0.01) for player in "GD"}

    def weight(self, clock: Clock) -> Any:
        return torch.where(cast(Tensor, self.count) < 3, 1, 1 - clock.progress)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        fake = self.sample(len(batch.real))
        yield Update("D", self.weight(clock) * discriminator_loss(self.D(batch.real), self.D(fake.detach())))
        if clock.step % 2 == 1:
            yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real)))))
        cast(Tensor, self.count).add_(1)


class Branches(Sound):
    """Another path after a while."""

    def weight(self, clock: Clock) -> Any:
        return 1 - clock.progress if clock.step > 500 else 1


class BakesIn(Sound):
    """The number of the step, as a number."""

    def weight(self, clock: Clock) -> Any:
        return 1 / (1 + clock.step)


class BakesInATensor(Sound):
    """The same, in a tensor that is a constant to any recording."""

    def weight(self, clock: Clock) -> Any:
        return torch.tensor(1.0 / (1 + clock.step))


class ReadsProgress(Sound):
    """The share of the budget, read on the host."""

    def weight(self, clock: Clock) -> Any:
        return 1 - float(clock.progress)


class Counts(Sound):
    """A counter that no checkpoint knows."""

    made = 0

    def weight(self, clock: Clock) -> Any:
        self.made += 1
        return 1.0 / self.made if self.made > self.period else 1.0


class AsksForMore(Sound):
    """A threshold beyond every step that is tried here."""

    def weight(self, clock: Clock) -> Any:
        return 0.5 if clock.step == 10**9 else 1


class OtherPeriod(Sound):
    """Control flow that repeats, but not with the period that it declares."""

    def weight(self, clock: Clock) -> Any:
        return 0.5 if clock.step % 5 == 4 else 1


@pytest.mark.parametrize("cls", [Branches, BakesIn, BakesInATensor, ReadsProgress, Counts, AsksForMore, OtherPeriod])
def test_what_would_freeze_is_found(cls: type[Variant]) -> None:
    require_repetition(subject_of(Sound, registry=REGISTRY))
    with pytest.raises(AssertionError, match="sound"):
        require_repetition(subject_of(cls, registry=REGISTRY))
