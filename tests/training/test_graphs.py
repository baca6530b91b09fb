"""Replayed steps have the bits of those that are made, or none is replayed: on a tape, and as graphs on CUDA."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from ganbench_plugins.backbones.mlp import MLP, Config as Layers
from torch import Tensor
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Update, Variant, discriminator_loss, gradient_penalty, nonsaturating_loss
from ganbench.contract.variant import Control
from ganbench.runs.registry import discover, load_file
from ganbench.testing.subject import advance, state_of, subject_of
from ganbench.testing.tape import on_tape
from ganbench.testing.watching import difference
from ganbench.training import trainer as training
from ganbench.training.budget import Budget
from ganbench.training.capture import CudaRecorder, Recorder
from ganbench.training.devices import cores, make_repeatable
from ganbench.training.guard import Unfair
from ganbench.training.networks import build_variant
from ganbench.training.trainer import Trainer

DATA = load_file(Path(__file__).parents[1] / "tiny_plugin.py").Tiny().load(Path(), 8)
SMALL = MLP()
SMALL.config = Layers(width=16, depth=2, z_dim=4)
CPU = torch.device("cpu")


class Everything(Variant):
    """All that a step may have: a period, rates, an average, a penalty, logs, a buffer, a hook, random numbers."""

    name = "everything"
    ema_half_life_images = 200.0
    period = 3

    def build(self, parts: Any) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")
        self.register_buffer("level", torch.zeros(()))

    def optimizers(self) -> dict[str, Optimizer]:
        critic = Adam(self.D.parameters(), 1e-3)
        critic.register_step_post_hook(lambda *_: [p.data.clamp_(-0.1, 0.1) for p in self.D.parameters()])
        return {"G": Adam(self.G.parameters(), 1e-3), "D": critic}

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Any]]:
        return {"G": {"lr_factor": 1 - clock.progress / 2}, "D": {"lr": 1e-3 * (1 - clock.progress)}}

    def factor(self, clock: Clock) -> Any:
        """What the loss of D is multiplied with."""
        return 1 + clock.progress

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        fake = self.sample(len(batch.real)).detach()
        penalty = gradient_penalty(self.D, batch.real, fake)
        loss = discriminator_loss(self.D(batch.real), self.D(fake)) + penalty * self.level
        yield Update("D", self.factor(clock) * loss, {"penalty": penalty.detach(), "level": cast(Tensor, self.level)})
        cast(Tensor, self.level).add_(0.1 * penalty.detach()).clamp_(0, 1)
        if (clock.step + 1) % self.period == 0:
            yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real)))))


def make(
    cls: type[Variant] = Everything,
    *,
    recorder: Recorder | None = on_tape,
    replays: bool = True,
    steps: int = 40,
    **more: Any,
) -> Trainer:
    """Return a trainer that replays, or one that works in all else like it and makes each step."""
    variant = build_variant(cls, SMALL, DATA.spec(), seed=1)
    if not replays:
        more["watched"] = lambda step: True
    budget = Budget(8.0 * steps, "images")
    more = {"watched": lambda step: False, "device": CPU, **more}
    return Trainer(variant, DATA.train, budget, seed=1, batch=8, recorder=recorder, **more)


def train(trainer: Trainer, until: float = 1.0) -> Trainer:
    for _ in trainer.train(until):
        pass
    return trainer


def refused(trainer: Trainer) -> str:
    assert trainer.graphs is not None
    return trainer.graphs.refused


def replays(trainer: Trainer) -> int:
    assert trainer.graphs is not None
    return trainer.graphs.replays


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replayed_steps_are_bit_for_bit_those_that_are_made_with_all_that_is_metered(precision: str) -> None:
    made, replayed = (train(make(replays=on, precision=precision)) for on in (False, True))
    assert replays(replayed) == 40 - 3 * 3 and not refused(replayed)
    assert replays(made) == 0
    assert difference(state_of(made), state_of(replayed)) == ""
    assert made.meters.updates == replayed.meters.updates == {"G": 13, "D": 40}
    assert made.meters.images == replayed.meters.images and made.meters.flops == replayed.meters.flops > 0
    one, other = made.snapshot(), replayed.snapshot()  # which looks at meters and traces as well
    assert difference(one.state_dict(), other.state_dict()) == ""


def test_what_is_made_between_replays_changes_nothing() -> None:
    """Steps that are looked at, ticks, snapshots and a checkpoint that is read again."""
    whole, half, later = make(replays=False), make(watched=lambda step: step in (12, 13, 20)), make()
    train(whole)
    train(half, 0.6)
    half.snapshot()
    later.load_state_dict(through_a_file(half.state_dict()))
    train(later)
    train(half)
    assert replays(half) == 31 - 3 and replays(later) == 16 - 6
    for one in (half, later):
        assert difference(state_of(whole), state_of(one)) == ""


def test_a_state_that_is_read_into_a_trainer_under_way_is_what_it_replays_from() -> None:
    source, target, right = make(replays=False), make(), make(replays=False)
    advance(source, 7)
    advance(target, 12)
    for trainer in (target, right):
        trainer.load_state_dict(through_a_file(source.state_dict()))
        advance(trainer, 12)
    assert replays(target) == 3 + 6
    assert difference(state_of(right), state_of(target)) == ""


def test_a_divergence_is_found_in_replayed_steps() -> None:
    class Diverges(Everything):
        def factor(self, clock: Clock) -> Any:
            return torch.where(clock.progress > 0.5, float("nan"), 1.0)

    made, replayed = (train(make(Diverges, replays=on, steps=80)) for on in (False, True))
    assert replayed.diverged == made.diverged != ""
    assert replays(replayed) > 35 and not refused(replayed)


class StepNumber(Everything):
    def factor(self, clock: Clock) -> Any:
        return 1 / (1 + clock.step)


class LateBranch(Everything):
    def factor(self, clock: Clock) -> Any:
        return 2 if clock.step > 10_000 else 1


class ReadsProgress(Everything):
    def factor(self, clock: Clock) -> Any:
        return 1 + float(clock.progress)


class Branches(Everything):
    def factor(self, clock: Clock) -> Any:
        return 2 if cast(Tensor, self.level) > 0.5 else 1


class Masks(Everything):
    def factor(self, clock: Clock) -> Any:
        weight = next(self.D.parameters())
        return weight[weight > 0].mean()


class PythonRandom(Everything):
    def factor(self, clock: Clock) -> Any:
        return random.random()


class HostCounter(Everything):
    made = 0

    def factor(self, clock: Clock) -> Any:
        self.made += 1
        return 1 + 1 / self.made


class Replaces(Everything):
    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        yield from super().step(batch, clock)
        self.level = cast(Tensor, self.level) * 1


class PythonRate(Everything):
    """A rate that a step sets itself, as a number."""

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        for update in super().step(batch, clock):
            yield Update(update.player, update.loss * self.rate)
            self.rate *= 0.9

    def build(self, parts: Any) -> None:
        super().build(parts)
        self.rate = 1.0


class OwnAdam(Adam):
    """It may count on the host, who knows."""


class OwnOptimizer(Everything):
    def optimizers(self) -> dict[str, Optimizer]:
        return {"G": OwnAdam(self.G.parameters(), 1e-3), "D": Adam(self.D.parameters(), 1e-3)}


REFUSED: dict[type[Variant], str] = {
    StepNumber: "its step depends on the number of the step, not only on its place in the period",
    LateBranch: "its step depends on the number of the step, not only on its place in the period",
    ReadsProgress: "its step reads values of tensors on the host",
    Branches: "its step reads values of tensors on the host",
    Masks: "its step waits for index",
    PythonRandom: "replayed, its step comes to another ",
    HostCounter: "replayed, its step comes to another ",
    PythonRate: "replayed, its step comes to another ",
    Replaces: "its step puts a new tensor in the place of level",
    OwnOptimizer: "OwnAdam is not an optimizer of PyTorch",
}


@pytest.mark.parametrize("cls", REFUSED)
def test_what_a_graph_would_freeze_is_found_and_steps_are_made_one_by_one(cls: type[Variant]) -> None:
    random.seed(0)
    trainer = train(make(cls))
    assert refused(trainer).startswith(REFUSED[cls]), refused(trainer)
    assert replays(trainer) == 0 and trainer.meters.updates == {"G": 13, "D": 40}
    if cls in (StepNumber, LateBranch, ReadsProgress, Branches, Masks, OwnOptimizer, Replaces):
        # All that they have is seen by the harness, so that trying leaves no mark.
        assert difference(state_of(train(make(cls, replays=False))), state_of(trainer)) == ""


class TurnsLate(Everything):
    """A host counter that matters only after its graph was found right."""

    made = 0

    def factor(self, clock: Clock) -> Any:
        self.made += 1
        return 1 if self.made < 14 else 2  # it is asked twelve times until all graphs have been captured


def test_a_graph_that_is_right_no_longer_ends_the_run() -> None:
    trainer = make(TurnsLate, steps=100)
    assert trainer.graphs is not None
    trainer.graphs.compared_at = (0, 20)
    with pytest.raises(Unfair, match=r"comes to another .* than the CUDA graph of its phase, .* --compile off"):
        train(trainer)
    assert replays(trainer) >= 3 * 15


class Momentum(Everything):
    """Settings that lie on no device: they change in the first half, and are at rest then."""

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Any]]:
        return {"G": {"betas": (0.5, 0.9 + 0.09 * (2 * clock.progress).clamp(max=1))}}


class Staircase(Everything):
    """A setting that changes every twelve steps of 480, until it rests."""

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Any]]:
        return {"D": {"eps": 1e-8 * (1 + (clock.progress * 40).floor().clamp(max=4))}}


def test_settings_that_change_are_waited_for() -> None:
    made, replayed = (train(make(Momentum, replays=on)) for on in (False, True))
    assert replays(replayed) == 40 - 20 - 2 * 3 and not refused(replayed)
    assert difference(state_of(made), state_of(replayed)) == ""


def test_a_graph_is_captured_again_for_other_settings_but_not_at_each_change() -> None:
    captured = list[int]()

    def counting(function: Any) -> Any:
        captured.append(replayed.meters.steps)
        return on_tape(function)

    made, replayed = make(Staircase, replays=False, steps=480), make(Staircase, recorder=counting, steps=480)
    for trainer in (made, replayed):
        advance(trainer, 90)
    assert captured == [6, 7, 8, 60, 61, 62]  # they rest from step 48 on
    assert replays(replayed) == 3 + 90 - 63 and not refused(replayed)
    assert difference(state_of(made), state_of(replayed)) == ""


def test_a_recorder_that_fails_is_told_and_the_run_goes_on_as_without() -> None:
    def fails(function: Any) -> Any:
        function()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nAnd more lines.")

    trainer = train(make(recorder=fails))
    assert (
        refused(trainer) == "capturing its step fails, OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."
    )
    assert difference(state_of(train(make(replays=False))), state_of(trainer)) == ""


def changing(trainers: list[Trainer], change: Callable[[Tensor], Any], *, from_replay: int = 0) -> Recorder:
    """Return a recorder whose replays change a weight of the last trainer, from a replay of its own on."""

    def recorder(function: Callable[[], None]) -> Callable[[], None]:
        replay, count = on_tape(function), iter(range(10**6))

        def replayed() -> None:
            replay()
            if next(count) >= from_replay:
                change(next(trainers[-1].variant.parameters()).detach())

        return replayed

    return recorder


def last_bits(weight: Tensor) -> None:
    weight.view(torch.int32).bitwise_xor_(1)


def test_a_replay_that_comes_to_another_bit_is_found() -> None:
    trainers = list[Trainer]()
    trainers.append(make(recorder=changing(trainers, last_bits)))
    train(trainers[0])
    assert refused(trainers[0]) == "replayed, its step comes to another G.0.weight"
    assert difference(state_of(train(make(replays=False))), state_of(trainers[0])) == ""


@pytest.mark.parametrize("late", [0, 8])
def test_kernels_that_give_other_bits_each_time_are_no_fault_of_the_variant(late: int) -> None:
    noise, trainers = torch.Generator().manual_seed(0), list[Trainer]()

    def shaken(weight: Tensor) -> None:
        weight.mul_(1 + 0.1 * torch.rand(weight.shape, generator=noise))

    trainers.append(make(recorder=changing(trainers, shaken, from_replay=late), steps=60))
    assert trainers[0].graphs is not None
    trainers[0].graphs.compared_at = (0, 12)
    train(trainers[0])
    assert refused(trainers[0]) == "its kernels give another G.0.weight each time"
    assert trainers[0].meters.updates["D"] == 60
    if not late:
        assert difference(state_of(train(make(replays=False, steps=60))), state_of(trainers[0])) == ""


def test_without_a_recorder_nothing_is_kept_for_one() -> None:
    trainer = make(recorder=None)
    train(trainer)
    assert trainer.graphs is None
    rates = [group["lr"] for optimizer in trainer.optimizers.values() for group in optimizer.param_groups]
    assert all(isinstance(rate, float) for rate in rates)


def test_rates_lie_on_the_device_and_are_numbers_in_a_checkpoint() -> None:
    trainer = make()
    advance(trainer, 1)
    (group,) = trainer.optimizers["G"].param_groups
    rate = group["lr"]
    advance(trainer, 11)
    assert group["lr"] is rate and float(rate) == pytest.approx(1e-3 * (1 - 11 / 80))
    saved = trainer.state_dict()["optimizers"]["G"]["param_groups"][0]["lr"]
    assert isinstance(saved, float) and group["lr"] is rate
    other = make(recorder=None)
    other.load_state_dict(through_a_file(trainer.state_dict()))
    advance(other, 1)
    assert isinstance(other.optimizers["G"].param_groups[0]["lr"], float)


def test_compared_once_more_are_graphs_that_have_been_used_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FLOP_SAMPLE", 10**6)
    trainer = make(steps=3 * 300)
    assert trainer.graphs is not None
    trainer.graphs.compared_at = (0, 5)
    compared = list[int]()
    before = trainer.graphs.compare
    monkeypatch.setattr(trainer.graphs, "compare", lambda *given: (compared.append(given[2]), before(*given)))
    advance(trainer, 60)
    assert compared == [6, 7, 8, 21, 22, 23]


@pytest.mark.gpu
@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize("name", discover().find("variant", "all"))
def test_every_variant_replays_its_steps_on_a_gpu_to_the_bits_of_those_that_are_made(name: str) -> None:
    registry, device = discover(), torch.device("cuda:0")
    if issubclass(registry.get("variant", name).item, Control):
        pytest.skip("a control is not trained")
    make_repeatable(device, cores())
    subject = subject_of(name, registry=registry, device=device)
    period = subject.trainer().period
    made = subject.trainer(steps=8 * period)
    replayed = subject.trainer(steps=8 * period, recorder=CudaRecorder(device))
    for trainer in (made, replayed):
        advance(trainer, 6 * period)
    assert difference(state_of(made), state_of(replayed)) == ""
    assert refused(replayed) == ""
    waits = "betas" in str(replayed.variant.schedules(Clock(0, torch.tensor(0.5))))
    assert waits or replays(replayed) == 3 * period


@pytest.mark.gpu
@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "tf32"])
def test_all_that_a_step_may_have_is_replayed_on_a_gpu(precision: str) -> None:
    device = torch.device("cuda:0")
    make_repeatable(device, cores())
    recorder = CudaRecorder(device)
    made = train(make(recorder=None, device=device, precision=precision))
    replayed = train(make(recorder=recorder, device=device, precision=precision))
    assert replays(replayed) == 31 and refused(replayed) == ""
    assert difference(state_of(made), state_of(replayed)) == ""


@pytest.mark.gpu
@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize("cls", REFUSED)
def test_a_capture_that_is_lost_leaves_a_gpu_as_it_was(cls: type[Variant]) -> None:
    device = torch.device("cuda:0")
    make_repeatable(device, cores())
    trainer = train(make(cls, recorder=CudaRecorder(device), device=device))
    assert refused(trainer).startswith(REFUSED[cls])
    after = train(make(recorder=CudaRecorder(device), device=device))  # of another run in this process
    assert replays(after) == 31 and refused(after) == ""
