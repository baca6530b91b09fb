"""The loop: what it performs, what it meters, and that a run is a function of its seed alone."""

import io
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ganbench_plugins.backbones.dcgan import DCGAN, Config as Convolutions
from ganbench_plugins.backbones.mlp import MLP, Config as Layers
from torch import nn
from torch.optim import SGD, Adam

from ganbench import ImageSet, Update, UserError, discriminator_loss, gradient_penalty, nonsaturating_loss
from ganbench.runs.options import resolve
from ganbench.runs.registry import discover, load_file
from ganbench.scoring.evaluate import Evaluator, Subject
from ganbench.scoring.samples import generate
from ganbench.seeds import derive
from ganbench.training import switches, trainer
from ganbench.training.ahead import Held
from ganbench.training.bench import Bench
from ganbench.training.budget import Budget
from ganbench.training.meter import FlopCounter
from ganbench.training.networks import build_variant
from ganbench.training.stream import Stream
from ganbench.training.trainer import Trainer

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
CPU = torch.device("cpu")
tiny = load_file(PLUGIN)
DATA = tiny.Tiny().load(Path(), 8)
SMALL, CONVOLUTIONAL = MLP(), DCGAN()
SMALL.config = Layers(width=16, depth=2, z_dim=4)
CONVOLUTIONAL.config = Convolutions(width=4, z_dim=4)


def make(
    cls=tiny.Plain, budget="80-images", *, seed=0, batch=8, config=None, backbone=SMALL, precision="fp32", data=DATA
):
    variant = build_variant(cls, backbone, data.spec(), seed=seed, config=config)
    return Trainer(variant, data.train, Budget.parse(budget), seed=seed, batch=batch, device=CPU, precision=precision)


def train(run, until=1.0):
    *_, last = run.train(until)
    return last


def steps(run, number):
    for _ in range(number):
        run.step()
    return run


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def numbers(run):
    """Everything that two equal runs have in common: all of the state but time and memory."""
    state = through_a_file(run.state_dict())
    del state["meters"]["seconds"], state["meters"]["peak_bytes"]
    return state


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def parameters(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()]).clone()


class Critic(tiny.Plain):
    """Five updates of the critic for one of the generator, with a penalty."""

    name = "critic"
    period = 5

    def step(self, batch, clock):
        fake = self.sample(len(batch.real)).detach()
        penalty = gradient_penalty(self.D, batch.real, fake)
        yield Update("D", self.D(fake).mean() - self.D(batch.real).mean() + 10 * penalty, {"penalty": penalty})
        if (clock.step + 1) % 5 == 0:
            yield Update("G", -self.D(self.sample(len(batch.real))).mean())


class Everything(Critic):
    """Every kind of state that a variant may have."""

    name = "everything"
    ema_half_life_images = 40.0

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")
        self.drop = nn.Dropout(0.2)
        self.register_buffer("balance", torch.zeros(()))
        self.register_buffer("pool", torch.zeros(8, *parts.data.shape))

    def optimizers(self):
        return {
            "G": Adam(self.G.parameters(), 1e-3),
            "D": SGD(self.D.parameters(), 1e-3, momentum=0.9, nesterov=True),
        }

    def schedules(self, clock):
        return {"D": {"lr_factor": 1 - clock.progress}}

    def step(self, batch, clock):
        for update in super().step(batch._replace(real=self.drop(batch.real)), clock):
            yield update
            self.balance.add_(0.1 * update.loss.detach())
        fake = self.sample(len(self.pool)).detach()
        yield Update("D", self.D(self.pool).mean() - self.D(fake).mean(), {"balance": self.balance})
        self.pool.copy_(fake)


# What the loop does


def test_updates_are_those_of_a_loop_written_by_hand():
    run = make(tiny.Plain, "40-images", seed=3)
    train(run)

    hand = build_variant(tiny.Plain, SMALL, DATA.spec(), seed=3)
    players = {"D": list(hand.D.parameters()), "G": list(hand.G.parameters())}
    losses, norms = {"D": [], "G": []}, {"D": [], "G": []}
    order = torch.randperm(256, generator=torch.Generator().manual_seed(derive(3, "epoch", 0)))

    def descend(player, loss):
        gradients = torch.autograd.grad(loss, players[player])
        norms[player].append(math.sqrt(sum(float(g.double().square().sum()) for g in gradients)))
        losses[player].append(loss.item())
        with torch.no_grad():
            for parameter, gradient in zip(players[player], gradients, strict=True):
                parameter -= 0.01 * gradient

    for step in range(5):
        real = DATA.train.images[order[8 * step : 8 * step + 8]].float() / 127.5 - 1
        torch.manual_seed(derive(3, "step", step))
        fake = hand.G(torch.randn(8, 4)).detach()
        on_real, on_fake = hand.D(real).double().sigmoid(), hand.D(fake).double().sigmoid()
        descend("D", -on_real.log().mean() - (1 - on_fake).log().mean())
        descend("G", -hand.D(hand.G(torch.randn(8, 4))).double().sigmoid().log().mean())

    for mine, other in zip(hand.parameters(), run.variant.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    traces = run.traces()
    for player in "DG":
        np.testing.assert_allclose(traces[f"loss/{player}"], losses[player], rtol=1e-5)
        np.testing.assert_allclose(traces[f"grad_norm/{player}"], norms[player], rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-37, 1e-29, 1e20, 1e32])
def test_gradients_that_vanish_or_grow_large_are_traced_as_they_are(scale):
    class Scaled(tiny.Plain):
        def optimizers(self):
            return {player: SGD(each.param_groups[0]["params"], 0.0) for player, each in super().optimizers().items()}

        def step(self, batch, clock):
            for update in super().step(batch, clock):
                yield replace(update, loss=scale * update.loss)

    plain = steps(make(tiny.Plain, seed=3), 1).traces()
    scaled = steps(make(Scaled, seed=3), 1)
    resumed = make(Scaled, seed=3)
    resumed.load_state_dict(scaled.state_dict())
    for traces in (scaled.traces(), resumed.traces()):
        assert traces["grad_norm/D"].dtype == np.float64 and traces["loss/D"].dtype == np.float32
        # At 1e-37 some gradients are rounded to what float32 has below its smallest normal number.
        np.testing.assert_allclose(
            traces["grad_norm/D"], scale * plain["grad_norm/D"], rtol=1e-3 if scale < 1e-36 else 1e-5
        )


def test_an_update_moves_its_own_player_alone():
    moved = []

    class Watched(tiny.Plain):
        def step(self, batch, clock):
            for update in super().step(batch, clock):
                before = {"D": parameters(self.D), "G": parameters(self.G)}
                yield update
                moved.append(
                    (
                        update.player,
                        [p for p in "DG" if not torch.equal(before[p], parameters(self.G if p == "G" else self.D))],
                    )
                )

    train(make(Watched, "24-images"))
    assert moved == [("D", ["D"]), ("G", ["G"])] * 3


def test_backward_reaches_only_the_player_s_own_parameters():
    found = []

    class Attached(tiny.Plain):
        def step(self, batch, clock):
            yield Update("D", discriminator_loss(self.D(batch.real), self.D(self.sample(len(batch.real)))))
            found.append([p.grad for p in self.G.parameters()])
            self.D.zero_grad()
            yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real)))))
            found.append([p.grad for p in self.D.parameters()])

    make(Attached).step()
    assert found == [[None] * 6, [None] * 6]


def test_an_update_without_detach_equals_one_with_detach():
    class Attached(tiny.Plain):
        def step(self, batch, clock):
            yield Update("D", discriminator_loss(self.D(batch.real), self.D(self.sample(len(batch.real)))))
            yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real)))))

    one, other = make(tiny.Plain), make(Attached)
    train(one), train(other)
    assert equal(numbers(one), numbers(other))  # weights, traces, and operations too


def test_gradients_left_over_by_a_plugin_are_not_used():
    class Dirty(tiny.Plain):
        def step(self, batch, clock):
            for update in super().step(batch, clock):
                self.D(batch.real).sum().backward()
                yield update

    one, other = make(tiny.Plain), make(Dirty)
    train(one), train(other)
    assert equal(one.state_dict()["variant"], other.state_dict()["variant"])
    assert other.meters.flops > one.meters.flops


def test_an_update_of_nobody_names_the_players():
    class Wrong(tiny.Plain):
        def step(self, batch, clock):
            yield Update("E", self.D(batch.real).mean())

    with pytest.raises(ValueError, match="plain yields an update of 'E'; its players are G, D"):
        make(Wrong).step()


def test_shared_parts_start_alike_whatever_the_variant_and_differ_between_seeds():
    plain, other, later = make(tiny.Plain), make(Everything), make(tiny.Plain, seed=1)
    for part in ("G", "D"):
        first = parameters(getattr(plain.variant, part))
        assert torch.equal(first, parameters(getattr(other.variant, part)))
        assert not torch.equal(first, parameters(getattr(later.variant, part)))


def test_what_a_variant_builds_itself_depends_on_the_seed_alone():
    class Own(tiny.Plain):
        def build(self, parts):
            super().build(parts)
            self.embed = nn.Linear(3, 3)

    first, again, other = (parameters(make(Own, seed=seed).variant.embed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


# Budgets and clocks


@pytest.mark.parametrize(
    ("budget", "steps_made"),
    [("20-images", 3), ("24-images", 3), ("25-images", 4), ("1-images", 1), ("3-updates", 15), ("1-updates", 5)],
)
def test_a_run_ends_with_the_first_whole_step_at_or_past_its_budget(budget, steps_made):
    run = make(Critic, budget)
    meters = train(run).meters
    assert meters.steps == steps_made
    assert meters.images == 8 * steps_made
    assert meters.updates == {"D": steps_made, "G": steps_made // 5}


def test_a_budget_of_operations_ends_at_the_first_step_past_it():
    one = steps(make(tiny.Plain), 1).meters.flops
    assert train(make(tiny.Plain, f"{2.5 * one:.0f}-flops")).meters.steps == 3
    assert train(make(tiny.Plain, f"{3 * one:.0f}-flops")).meters.steps == 3


def test_a_budget_of_seconds_ends_at_the_first_step_past_it():
    run = make(tiny.Slow, "0.12-seconds")
    meters = train(run).meters
    assert meters.seconds >= 0.12
    assert 1 <= meters.steps <= 3  # each sleeps for 0.05 s


def test_a_budget_of_updates_needs_a_player_g():
    class Lonely(tiny.Plain):
        def optimizers(self):
            return {"D": SGD(self.D.parameters(), 0.01)}

    with pytest.raises(ValueError, match="plain has no player G"):
        make(Lonely, "5-updates")
    make(Lonely, "5-images")


def test_marks_are_met_to_the_step():
    run = make(tiny.Plain, "42-images", batch=1)
    for number in range(1, 15):
        assert train(run, number / 14).meters.steps == 3 * number  # 9 / 14 · 42 is more than 27 in floats


def test_a_plugin_is_told_the_step_and_the_share_of_the_budget():
    seen = []

    class Watched(tiny.Plain):
        def step(self, batch, clock):
            seen.append((clock.step, clock.progress))
            yield from super().step(batch, clock)

    train(make(Watched, "25-images"))
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    assert all(progress.shape == () for _, progress in seen)
    assert [float(progress) for _, progress in seen] == pytest.approx([0, 8 / 25, 16 / 25, 24 / 25])


def test_ticks_show_the_meters_and_the_latest_losses(monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    run = make(Critic, "48-images")
    ticks = list(run.train(1.0))
    assert [tick.meters.images for tick in ticks] == [8, 16, 24, 32, 40, 48, 48]
    traces = run.traces()
    assert [tick.losses["D"] for tick in ticks[:-1]] == list(traces["loss/D"])
    assert ["G" in tick.losses for tick in ticks] == [False] * 4 + [True] * 3
    assert ticks[-1].losses["G"] == traces["loss/G"][-1]


# Meters that a plugin cannot cheat


class OverridesItsClaim(tiny.Plain):
    def step(self, batch, clock):
        if clock.step == 3:
            self.images_per_step = lambda batch: 1
            self.period = 1000
        assert len(batch.real) == 8
        yield from super().step(batch, clock)


class ShrinksItsBatch(tiny.Plain):
    def step(self, batch, clock):
        yield from super().step(batch, clock)
        batch.real.resize_(1, 1, 8, 8)


class NamesItsOwnMeters(tiny.Plain):
    def step(self, batch, clock):
        self.meters, self.images, self.steps, self.flops, self.seconds, self.updates = 0, 0, 0, 0.0, 0.0, {}
        clock.progress.zero_()
        yield from super().step(batch, clock)


@pytest.mark.parametrize("cls", [OverridesItsClaim, ShrinksItsBatch, NamesItsOwnMeters])
def test_no_plugin_changes_what_is_metered(cls):
    honest, run = make(tiny.Plain), make(cls)
    train(honest)
    meters = train(run).meters
    assert (meters.steps, meters.images, meters.updates) == (10, 80, {"D": 10, "G": 10})
    assert meters.flops == honest.meters.flops


def test_a_plugin_gets_as_many_images_as_it_claims_and_pays_for_them():
    served = []

    class Modest(tiny.Plain):
        share = 1 / 8

        def images_per_step(self, batch):
            return int(batch * self.share)

        def step(self, batch, clock):
            served.append(len(batch.real))
            yield from super().step(batch, clock)

    class Greedy(Modest):
        share = 2

    for cls, images in ((Modest, 1), (Greedy, 16)):
        served.clear()
        meters = train(make(cls, "32-images")).meters
        assert served == [images] * (32 // images)
        assert meters.images == 32


@pytest.mark.parametrize("claim", [0, -8])
def test_a_plugin_that_claims_no_images_is_refused(claim):
    class Free(tiny.Plain):
        def images_per_step(self, batch):
            return claim

    with pytest.raises(ValueError, match="real images a step; both are at least 1"):
        make(Free)


def test_what_a_plugin_does_to_its_batch_reaches_neither_the_data_nor_later_batches():
    class Labelled(tiny.Plain):
        task = "label"

    class Spoils(Labelled):
        def step(self, batch, clock):
            yield from super().step(batch, clock)
            batch.real.fill_(7.0)
            batch.cond.fill_(-1)

    images, labels = DATA.train.images.clone(), DATA.train.cond.clone()
    run, honest = make(Spoils, "520-images", batch=64), make(Labelled, "520-images", batch=64)
    train(run), train(honest)  # two epochs of 256
    assert torch.equal(DATA.train.images, images) and torch.equal(DATA.train.cond, labels)
    assert equal(numbers(run), numbers(honest))


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(("asked", "served"), [("generate", False), ("label", True)])
def test_labels_are_served_to_whom_they_are_for(asked, served, fresh):
    seen = []

    class Looks(tiny.Plain):
        task = asked

        def step(self, batch, clock):
            seen.append(batch.cond is not None)
            yield from super().step(batch, clock)

    data = replace(DATA, train=DATA.train._replace(source=Held(DATA.train))) if fresh else DATA
    train(make(Looks, "40-images", data=data))
    assert len(seen) > 1 and set(seen) == {served}


class UpdatesTwice(tiny.Plain):
    def step(self, batch, clock):
        yield from super().step(batch, clock)
        yield from super().step(batch, clock)


class ReplaysOldBatches(tiny.Plain):
    def build(self, parts):
        super().build(parts)
        self.register_buffer("old", torch.zeros(8, *parts.data.shape))

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        yield from super().step(batch._replace(real=self.old), clock)
        self.old.copy_(batch.real)


@pytest.mark.parametrize(
    ("cls", "updates"),
    [
        (UpdatesTwice, {"D": 20, "G": 20}),
        (ReplaysOldBatches, {"D": 20, "G": 20}),
    ],
)
def test_more_work_on_the_same_images_shows_in_operations(cls, updates):
    honest, run = make(tiny.Plain), make(cls)
    train(honest)
    meters = train(run).meters
    assert meters.images == honest.meters.images == 80
    assert meters.updates == updates
    assert meters.flops >= 1.4 * honest.meters.flops


def test_hidden_work_shows_in_seconds():
    assert train(make(tiny.Slow, "40-images")).meters.seconds >= 5 * 0.05


def test_every_variant_is_served_exactly_the_same_images(monkeypatch):
    registry, served = discover(), {}
    plain = Stream.__getitem__

    def record(stream, step):
        batch = plain(stream, step)
        served.setdefault(name, []).append(batch.real.clone())
        return batch

    monkeypatch.setattr(Stream, "__getitem__", record)
    names = ["gan", "gan-minimax", "lsgan", "wgan", "wgan-gp", "began"]
    for name in names:
        cls = registry.get("variant", name).item
        meters = train(make(cls, "96-images", config=resolve(cls, name, {}), backbone=CONVOLUTIONAL, batch=16)).meters
        assert (meters.images, meters.steps) == (96, 6)
        assert min(meters.flops, meters.seconds, meters.peak_bytes, meters.updates["G"], meters.updates["D"]) > 0
    for name in names[1:]:
        assert equal(served[name], served["gan"])


# Operations


def test_operations_of_a_period_of_five_are_extrapolated_exactly(monkeypatch):
    sampled = train(make(Critic, "184-images")).meters  # 23 steps: the last period is not whole
    monkeypatch.setattr(trainer, "FLOP_SAMPLE", 1)
    counted = train(make(Critic, "184-images")).meters
    assert sampled.flops == counted.flops > 0
    with FlopCounter() as counter:
        steps(make(Critic), 5)
    # Of 23 steps 4 update the generator: what five steps cost and what four without it cost give the rest.
    with FlopCounter() as without:
        steps(make(Critic), 4)
    assert counted.flops == 4 * counter.flops + 3 * without.flops / 4


def test_operations_of_a_step_are_those_counted_by_hand():
    # D: 64 → 16 → 16 → 1 on 8 real and 8 fake samples; G: 4 → 16 → 16 → 64.
    first, d = 2 * 8 * 64 * 16, 2 * 8 * (64 * 16 + 16 * 16 + 16)
    g, g_first = 2 * 8 * (4 * 16 + 16 * 16 + 16 * 64), 2 * 8 * 4 * 16
    update_d = g + 2 * d + 2 * (2 * d - first)  # back to the weights, and through all layers but the first
    update_g = g + d + d + (2 * g - g_first)  # back through D without its weights, then through G
    assert steps(make(tiny.Plain), 1).meters.flops == update_d + update_g


def test_operations_are_counted_again_every_so_often(monkeypatch):
    class Grows(tiny.Plain):
        def step(self, batch, clock):
            for _ in range(clock.step // 4):
                self.D(batch.real)
            yield from super().step(batch, clock)

    plain = make(tiny.Plain)
    one = steps(plain, 1).meters.flops
    with FlopCounter() as look:
        plain.variant.D(torch.zeros(8, 1, 8, 8))
    monkeypatch.setattr(trainer, "FLOP_SAMPLE", 4)
    assert steps(make(Grows), 12).meters.flops == 12 * one + 4 * look.flops * (0 + 1 + 2)


# Seconds


def test_the_clock_stands_still_while_somebody_else_works(monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    run = make(tiny.Plain, "80-images")
    for _ in run.train(0.5):
        time.sleep(0.1)
    time.sleep(0.3)
    for _ in run.train(1.0):
        time.sleep(0.1)
    assert 0 < run.meters.seconds < 1.0  # of 1.5 that passed at the least


def test_the_clock_runs_during_every_part_of_a_step():
    class Sleeps(tiny.Plain):
        def schedules(self, clock):
            time.sleep(0.02)
            return {}

        def step(self, batch, clock):
            yield Update("D", self.D(batch.real).mean())
            time.sleep(0.02)

    meters = train(make(Sleeps, "80-images")).meters
    assert meters.seconds >= 10 * 0.04


@pytest.mark.gpu
def test_the_clock_waits_for_a_gpu():
    class Heavy(tiny.Plain):
        def step(self, batch, clock):
            yield Update("D", self.D(batch.real).mean())
            for _ in range(20):  # queued in no time
                torch.mm(self.block, self.block)

    device = torch.device("cuda:0")
    variant = build_variant(Heavy, SMALL, DATA.spec(), seed=0)
    variant.register_buffer("block", torch.ones(8192, 8192))
    run = Trainer(variant, DATA.train, Budget.parse("80-images"), seed=0, batch=8, device=device)
    start = time.perf_counter()
    train(run)
    torch.cuda.synchronize(device)
    assert run.meters.seconds > 0.9 * (time.perf_counter() - start)


def test_seconds_go_on_after_a_resume():
    first = make(tiny.Slow, "80-images")
    train(first, 0.5)
    second = make(tiny.Slow, "80-images")
    second.load_state_dict(through_a_file(first.state_dict()))
    assert train(second).meters.seconds >= 10 * 0.05


# Same seed, same numbers


@pytest.mark.parametrize("cls", [tiny.Plain, Everything])
def test_same_seed_same_numbers_and_another_seed_differs(cls):
    runs = [make(cls, "96-images", seed=seed) for seed in (4, 4, 5)]
    for run in runs:
        torch.manual_seed(time.time_ns())  # whatever the process drew before
        train(run)
    assert equal(numbers(runs[0]), numbers(runs[1]))
    assert not torch.equal(parameters(runs[0].variant.G), parameters(runs[2].variant.G))
    for name, trace in runs[0].traces().items():
        assert not np.array_equal(trace, runs[2].traces()[name]), f"{name} does not depend on the seed"


@pytest.mark.parametrize("stop", [1, 5, 7, 16])
@pytest.mark.parametrize(("precision", "backbone"), [("fp32", SMALL), ("fp32", CONVOLUTIONAL), ("bf16", SMALL)])
def test_a_resumed_run_equals_an_uninterrupted_one(stop, precision, backbone):
    def fresh():
        return make(Everything, "144-images", precision=precision, backbone=backbone)

    whole = fresh()
    train(whole)
    first, second = steps(fresh(), stop), fresh()
    second.load_state_dict(through_a_file(first.state_dict()))
    torch.manual_seed(stop)
    train(second)
    assert whole.meters.steps == 18
    assert equal(numbers(second), numbers(whole))
    state = whole.state_dict()
    assert state["variant"]["balance"] != 0 and state["variant"]["pool"].any()  # it was there to be lost
    assert not equal(state["ema"], state["variant"])
    assert state["optimizers"]["G"]["state"] and state["optimizers"]["D"]["state"]
    assert len(set(state["flops"])) == 2
    assert {len(trace) for trace in state["traces"].values()} == {3, 18, 36}


def test_a_run_resumed_at_every_step_equals_an_uninterrupted_one():
    whole = make(Everything, "96-images")
    train(whole)
    state = make(Everything, "96-images").state_dict()
    for _ in range(12):
        run = make(Everything, "96-images")
        run.load_state_dict(through_a_file(state))
        run.step()
        state = run.state_dict()
    assert equal(numbers(run), numbers(whole))


def test_a_state_may_be_loaded_twice():
    state = through_a_file(steps(make(tiny.Plain), 2).state_dict())
    for _ in range(2):
        run = make(tiny.Plain)
        run.load_state_dict(state)
        assert run.meters.updates == {"D": 2, "G": 2}
        run.step()


@pytest.mark.parametrize("backbone", [SMALL, CONVOLUTIONAL])
def test_evaluation_after_every_step_changes_nothing(backbone):
    alone, watched = (make(Everything, "96-images", backbone=backbone) for _ in range(2))
    train(alone)
    evaluator = Evaluator(Bench(tiny.Tiny(), DATA, DCGAN()), samples=16, device=CPU)
    for _ in range(12):
        watched.step()
        variant = watched.snapshot()
        generate(variant, 4, DATA, seed=0, purpose="picture")
        evaluator.score(Subject(variant, watched.traces()), tiny.ganbench_metrics())
    assert equal(numbers(watched), numbers(alone))


def test_ticks_change_nothing(monkeypatch):
    quiet = make(Everything, "96-images")
    train(quiet)
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    loud = make(Everything, "96-images")
    train(loud)
    assert equal(numbers(loud), numbers(quiet))


# Traces


def test_every_update_leaves_its_loss_its_norm_and_its_log():
    run = make(Critic, "96-images")
    train(run)
    lengths = {name: len(trace) for name, trace in run.traces().items()}
    assert lengths == {"loss/D": 12, "grad_norm/D": 12, "log/penalty": 12, "loss/G": 2, "grad_norm/G": 2}
    kinds = {name: trace.dtype for name, trace in run.traces().items()}
    assert {kind for name, kind in kinds.items() if name.startswith("grad_norm/")} == {np.dtype("float64")}
    assert {kind for name, kind in kinds.items() if not name.startswith("grad_norm/")} == {np.dtype("float32")}


def test_a_trace_holds_what_a_tensor_was_when_it_was_logged():
    class Counts(tiny.Plain):
        def build(self, parts):
            super().build(parts)
            self.register_buffer("count", torch.zeros(()))

        def step(self, batch, clock):
            loss = self.D(batch.real).mean()
            yield Update("D", loss, {"count": self.count})
            self.count.add_(1)
            loss.detach().fill_(-1.0)

    run = make(Counts)
    train(run)
    assert run.traces()["log/count"].tolist() == list(range(10))
    assert (run.traces()["loss/D"] != -1).all()


# Learning rates


class Scheduled(tiny.Plain):
    def schedules(self, clock):
        assert clock.progress.device == CPU
        return {"G": {"lr_factor": 1 - clock.progress}, "D": {"lr": 0.02 if clock.step < 3 else 0.0}}

    def optimizers(self):
        self.seen = []
        groups = [{"params": [p], "lr": 0.01 * (1 + i)} for i, p in enumerate(self.G.parameters())]
        return {"G": SGD(groups, 0.5), "D": SGD(self.D.parameters(), 0.02)}


def test_rates_scale_the_learning_rate_of_every_group_and_step():
    run = make(Scheduled)
    for step in range(10):
        before = parameters(run.variant.D)
        run.step()
        factor = 1 - step / 10
        found = [group["lr"] for group in run.optimizers["G"].param_groups]
        assert found == pytest.approx([factor * 0.01 * (1 + i) for i in range(len(found))], rel=1e-6)
        assert run.optimizers["D"].param_groups[0]["lr"] == (0.02 if step < 3 else 0.0)
        assert torch.equal(before, parameters(run.variant.D)) == (step >= 3)


def test_a_resumed_run_scales_from_the_rate_that_the_plugin_gave():
    first, second = steps(make(Scheduled), 6), make(Scheduled)
    second.load_state_dict(through_a_file(first.state_dict()))
    second.step()
    assert second.optimizers["G"].param_groups[0]["lr"] == pytest.approx(0.01 * 0.4, rel=1e-6)


class Warms(tiny.Plain):
    """Adam's second beta rises, as does the half-life of the average."""

    ema_half_life_images = 8.0

    def optimizers(self):
        return {"G": Adam(self.G.parameters(), 0.01), "D": Adam(self.D.parameters(), 0.01)}

    def schedules(self, clock):
        beta = 0.9 + 0.09 * clock.progress
        return {"D": {"betas": (0.5, beta), "eps": 1e-6}, "ema": {"half_life_images": 8 * clock.progress}}


def test_a_schedule_sets_whatever_a_group_has():
    run = make(Warms)
    for step in range(10):
        run.step()
        group = run.optimizers["D"].param_groups[0]
        assert group["betas"] == (0.5, pytest.approx(0.9 + 0.09 * step / 10)) and group["eps"] == 1e-6
        assert group["lr"] == 0.01 and run.optimizers["G"].param_groups[0]["betas"] == (0.9, 0.999)


def test_a_schedule_sets_the_half_life_of_the_average(monkeypatch):
    monkeypatch.setattr("ganbench.training.trainer.EMA_RAMP", 1.0)
    run = make(Warms)
    expected = parameters(run.variant.G)
    for step in range(10):
        run.step()
        half_life = min(8 * step / 10, 8 * (step + 1))
        weight = 1 - 0.5 ** (8 / half_life) if half_life else 1.0
        expected = expected + weight * (parameters(run.variant.G) - expected)
        assert torch.allclose(parameters(run.ema.G), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "found"),
    [
        ({"G": {"learning_rate": 0.1}}, "schedules 'learning_rate' of G; there is .*lr"),
        ({"G": {"params": ()}}, "schedules 'params' of G"),
        ({"H": {"lr": 0.1}}, "schedules 'H'; its players are G, D"),
        ({"ema": {"half_life_images": 1.0}}, "declares no `ema_half_life_images`"),
    ],
)
def test_what_cannot_be_scheduled_is_told(schedule, found):
    class Wrong(tiny.Plain):
        def schedules(self, clock):
            return schedule

    with pytest.raises(ValueError, match=found):
        make(Wrong).step()


def test_the_method_that_schedules_replaced_is_refused():
    with pytest.raises(TypeError, match="`rates`, which is `schedules` now"):

        class Old(tiny.Plain):
            def rates(self, clock):
                return {}


# Divergence


class Breaks(tiny.Plain):
    """At one update, its fifth, one player's loss or gradient is spoiled, and healthy again afterwards."""

    player, how, when = "D", "nan", 5

    def step(self, batch, clock):
        for update in super().step(batch, clock):
            if clock.step == self.when - 1 and update.player == self.player:
                bias = (self.D if self.player == "D" else self.G).get_parameter(
                    "head.bias" if self.player == "D" else "0.bias"
                )
                spoiled = {
                    "nan": update.loss.detach() * float("nan") + 0 * bias.sum(),
                    "inf": update.loss + float("inf"),
                    "-inf": update.loss - float("inf"),
                    "nan norm": update.loss + (0 * bias).sum().sqrt(),
                    "inf norm": update.loss + 3e38 * (bias - bias.detach()).sum() + 3e38 * (bias - bias.detach()).sum(),
                }[self.how]
                update = Update(update.player, spoiled)
            yield update


@pytest.mark.parametrize("player", ["D", "G"])
@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("nan", "loss of {} is nan"),
        ("inf", "loss of {} is inf"),
        ("-inf", "loss of {} is -inf"),
        ("nan norm", "gradient norm of {} is nan"),
        ("inf norm", "gradient norm of {} is inf"),
    ],
)
def test_divergence_is_found_and_named_with_its_update(how, found, player, monkeypatch):
    cls = type("Spoiled", (Breaks,), {"how": how, "player": player})
    for pause in (1.0, 0.0):  # ticks come by the clock too, and must not decide what is found or when
        monkeypatch.setattr(trainer, "TICK_SECONDS", pause)
        run = make(cls, "800-images")
        tick = train(run)
        assert run.diverged == f"the {found.format(player)} at its update 5"
        assert tick.meters.steps == 50
        assert train(run).meters.steps == 50 and run.diverged  # it stays so


def test_divergence_is_found_although_traces_were_read_meanwhile(monkeypatch):
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    run = make(type("Spoiled", (Breaks,), {"how": "inf", "when": 55}), "1600-images")
    for tick in run.train(1.0):
        assert len(run.traces()["loss/D"]) == tick.meters.steps
    assert run.diverged == "the loss of D is inf at its update 55" and tick.meters.steps == 100


def test_divergence_is_found_before_the_next_mark():
    run = make(Breaks, "80-images")
    assert train(run, 0.4).meters.steps == 4 and not run.diverged
    assert train(run, 0.6).meters.steps == 6 and run.diverged == "the loss of D is nan at its update 5"


@pytest.mark.parametrize("stop", [4, 5, 20, 50])
def test_a_resumed_run_diverges_where_an_uninterrupted_one_does(stop, monkeypatch):
    cls = type("Spoiled", (Breaks,), {"how": "inf"})
    whole = make(cls, "800-images")
    train(whole)
    monkeypatch.setattr(trainer, "TICK_SECONDS", 0.0)
    first, second = make(cls, "800-images"), make(cls, "800-images")
    for tick in first.train(1.0):
        if tick.meters.steps == stop:
            break
    second.load_state_dict(through_a_file(first.state_dict()))
    train(second)
    assert equal(numbers(second), numbers(whole))
    assert second.diverged == whole.diverged == "the loss of D is inf at its update 5"


def test_the_earlier_of_two_faults_is_named():
    class Sooner(Critic):
        def step(self, batch, clock):
            for update in super().step(batch, clock):
                # G's fourth update comes in step 20, D's twenty-second in step 22.
                spoiled = clock.step == 19 if update.player == "G" else clock.step >= 21
                yield Update(update.player, update.loss + float("inf")) if spoiled else update

    run = make(Sooner, "800-images")
    train(run)
    assert run.diverged == "the loss of G is inf at its update 4"


def test_a_logged_value_that_is_not_finite_is_no_divergence():
    class Logs(tiny.Plain):
        def step(self, batch, clock):
            for update in super().step(batch, clock):
                yield Update(update.player, update.loss, {"ratio": torch.tensor(float("nan"))})

    run = make(Logs)
    assert train(run).meters.steps == 10 and run.diverged == ""


# Mixed precision


def noting(loss, note):
    """Return an equal loss; `note` is called in its backward pass."""

    class Notes(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            note()
            return gradient

    return Notes.apply(loss)


def test_bf16_runs_the_step_in_bf16_and_penalties_updates_and_weights_in_float32():
    seen = {"plain": set(), "penalty": set(), "backward": set()}

    class Watched(Critic):
        def build(self, parts):
            super().build(parts)
            self.D.head.register_forward_hook(lambda layer, inputs, output: seen[self.where].add(output.dtype))

        def step(self, batch, clock):
            self.where = "plain"
            fake = self.sample(len(batch.real))
            scores = self.D(batch.real), self.D(fake.detach())
            self.where = "penalty"
            penalty = gradient_penalty(self.D, batch.real, fake)
            assert penalty.dtype == torch.float32
            self.where = "plain"
            loss = scores[1].float().mean() - scores[0].float().mean() + 10 * penalty
            yield Update("D", noting(loss, lambda: seen["backward"].add(torch.is_autocast_enabled("cpu"))))
            assert torch.is_autocast_enabled("cpu")
            yield Update("G", -self.D(self.sample(len(batch.real))).mean())

    run = make(Watched, "400-images", precision="bf16")
    train(run)
    assert seen == {"plain": {torch.bfloat16}, "penalty": {torch.float32}, "backward": {False}}
    assert not torch.is_autocast_enabled("cpu")
    assert {p.dtype for p in run.variant.parameters()} == {torch.float32}
    assert run.diverged == "" and all(np.isfinite(trace).all() for trace in run.traces().values())


def test_bf16_takes_the_weights_of_the_moment():
    # A cast that autocast kept from before an update would give the old loss again.
    class Still(tiny.Plain):
        def step(self, batch, clock):
            yield Update("D", self.D(batch.real).float().mean())
            yield Update("D", self.D(batch.real).float().mean())

    run = make(Still, precision="bf16")
    run.step()
    first, second = run.traces()["loss/D"]
    assert second < first


def test_tf32_is_switched_on_for_steps_and_updates_alone(monkeypatch):
    products_of = switches.products_of
    monkeypatch.setattr(switches, "products_of", lambda precision, device: products_of(precision, "cuda"))
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    seen = {"step": set(), "backward": set(), "update": set(), "elsewhere": set()}

    def note(where):
        seen[where].add(tuple(kind.fp32_precision for kind in kinds))

    class Watched(Everything):
        def optimizers(self):
            players = super().optimizers()
            players["G"].register_step_post_hook(lambda *_: note("update"))
            return players

        def schedules(self, clock):
            note("elsewhere")
            return {}

        def sample(self, n, cond=None):
            note("elsewhere" if self.is_sampled else "step")
            return super().sample(n, cond)

        def step(self, batch, clock):
            for update in super().step(batch, clock):
                note("step")
                yield replace(update, loss=noting(update.loss, lambda: note("backward")))
                note("step")

    Watched.is_sampled = False
    run, before = make(Watched, precision="tf32", backbone=CONVOLUTIONAL), tuple(kind.fp32_precision for kind in kinds)
    for tick in run.train(0.5):
        assert tick and tuple(kind.fp32_precision for kind in kinds) == before
    Watched.is_sampled = True
    run.snapshot()  # whose statistics are made anew from samples
    high = {("tf32", "tf32")}
    assert seen == {"step": high, "backward": high, "update": high, "elsewhere": {before}}


def test_a_processor_has_no_tf32():
    runs = [make(Everything, precision=precision, backbone=CONVOLUTIONAL) for precision in ("fp32", "tf32")]
    one, other = (train(run) and run.state_dict() for run in runs)
    assert equal(one["variant"], other["variant"]) and equal(one["traces"], other["traces"])


# Moving averages


def test_an_average_with_its_buffers_is_that_of_copies_one_by_one(monkeypatch):
    def one_by_one(sources, targets):
        with torch.no_grad():
            for mine, new in zip(targets, sources, strict=True):
                mine.copy_(new)

    fast = make(Everything, "144-images", backbone=CONVOLUTIONAL)
    train(fast)
    monkeypatch.setattr(trainer, "copy_all", one_by_one)
    slow = make(Everything, "144-images", backbone=CONVOLUTIONAL)
    train(slow)
    assert equal(dict(fast.ema.state_dict()), dict(slow.ema.state_dict()))
    assert len(list(fast.ema.buffers())) > 4 and {b.dtype for b in fast.ema.buffers()} == {torch.float32, torch.int64}


class Averaged(tiny.Plain):
    """G jumps once and then stands still, so that the average is known in closed form."""

    ema_half_life_images = 40.0

    def build(self, parts):
        super().build(parts)
        self.register_buffer("count", torch.zeros(()))

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.0), "D": SGD(self.D.parameters(), 0.0)}

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        self.count.add_(1)


def test_the_average_forgets_half_in_its_half_life_which_is_ramped_up():
    run = make(Averaged, "1600-images")
    start, gap = parameters(run.variant.G), 1.0
    with torch.no_grad():
        for parameter in run.variant.G.parameters():
            parameter.add_(1.0)
    for number in range(1, 201):
        run.step()
        gap *= 0.5 ** (8 / min(40, 0.05 * 8 * number))
        if number in (1, 2, 5):  # what is left of the initial weights
            assert gap < 0.5 ** (20 * number / 5)
        expected = start + (1 - gap)
        torch.testing.assert_close(parameters(run.ema.G), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        before = parameters(run.ema.G)
        for parameter in run.variant.G.parameters():
            parameter.add_(1.0)
    steps(run, 5)  # 40 images, of more than 800
    torch.testing.assert_close(parameters(run.ema.G), before + 0.5, rtol=0, atol=1e-4)
    assert run.ema.count == 205  # buffers are taken as they are
    torch.testing.assert_close(parameters(run.snapshot().G), parameters(run.ema.G), rtol=0, atol=0)


def test_a_snapshot_is_raw_unless_the_variant_declares_an_average():
    run = steps(make(tiny.Plain), 3)
    assert run.ema is None
    assert torch.equal(parameters(run.snapshot()), parameters(run.variant))


@pytest.mark.parametrize("cls", [tiny.Plain, Everything])
def test_a_snapshot_is_frozen_and_no_part_of_the_run(cls):
    run = steps(make(cls, backbone=CONVOLUTIONAL), 3)
    snapshot = run.snapshot()
    before = parameters(snapshot)
    assert not snapshot.training and not any(p.requires_grad for p in snapshot.parameters())
    assert run.variant.training and all(p.requires_grad for p in run.variant.parameters())
    steps(run, 2)
    assert torch.equal(parameters(snapshot), before)
    assert equal(dict(run.snapshot().state_dict()), dict(run.snapshot().state_dict()))


def test_batch_statistics_of_an_average_are_those_of_its_own_samples():
    run = steps(make(Everything, backbone=CONVOLUTIONAL), 4)
    means, variances = [], []

    def note(layer, inputs):
        x = inputs[0].double()
        means.append(x.mean((0, 2, 3)))
        variances.append(x.var((0, 2, 3)))

    hand = run.snapshot().train()
    norm = next(m for m in hand.modules() if isinstance(m, nn.BatchNorm2d))
    norm.register_forward_pre_hook(note)
    for number in range(16):
        torch.manual_seed(derive(0, "statistics", number))
        hand.G(torch.randn(256, 4))
    found = next(m for m in run.snapshot().modules() if isinstance(m, nn.BatchNorm2d))
    torch.testing.assert_close(found.running_mean.double(), sum(means) / 16, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.running_var.double(), sum(variances) / 16, rtol=1e-4, atol=1e-6)
    raw = next(m for m in run.variant.modules() if isinstance(m, nn.BatchNorm2d))
    assert not torch.allclose(raw.running_var, found.running_var, rtol=1e-2)


def test_a_snapshot_of_a_conditional_average_renews_its_statistics_with_labels():
    class Conditional(tiny.Labelled):
        ema_half_life_images = 40.0

    variant = build_variant(Conditional, CONVOLUTIONAL, DATA.spec("label"), seed=0)
    run = Trainer(variant, DATA.train, Budget.parse("80-images"), seed=0, batch=8, device=CPU)
    samples = steps(run, 2).snapshot().sample(4, torch.arange(4))
    assert samples.isfinite().all()


def test_a_snapshot_keeps_the_statistics_of_norms_that_sampling_does_not_pass():
    class Judged(Everything):
        def build(self, parts):
            super().build(parts)
            self.D = parts.discriminator(norm="batch")

        def step(self, batch, clock):
            yield Update("D", self.D(self.sample(len(batch.real))).mean() - self.D(batch.real).mean())
            yield Update("G", -self.D(self.sample(len(batch.real))).mean())

    run = steps(make(Judged, backbone=CONVOLUTIONAL), 4)
    found, kept = (dict(variant.named_buffers()) for variant in (run.snapshot(), run.ema))
    of_d, of_g = ([name for name in kept if name.startswith(player) and "running" in name] for player in ("D.", "G."))
    assert of_d and all(torch.equal(found[name], kept[name]) for name in of_d)
    assert of_g and not any(torch.equal(found[name], kept[name]) for name in of_g)
    assert not any(m._forward_pre_hooks for m in run.snapshot().modules())


@pytest.mark.parametrize("batch", [8, 32])
def test_statistics_of_a_conditional_average_are_of_labels_of_the_whole_training_split(batch):
    asked = []

    class Conditional(tiny.Labelled):
        ema_half_life_images = 40.0

        def sample(self, n, cond=None):
            if n == 256:
                asked.append(cond)
            return super().sample(n, cond)

    labels = torch.arange(256).clamp(max=100)  # of a class that is more than half of the data, and a hundred others
    data = replace(DATA, train=ImageSet(DATA.train.images, labels))
    variant = build_variant(Conditional, CONVOLUTIONAL, data.spec("label"), seed=0)
    run = Trainer(variant, data.train, Budget.parse("80-images"), seed=0, batch=batch, device=CPU)
    steps(run, 1).snapshot()
    seen = torch.cat(asked)
    assert len(seen) == 16 * 256 and len(seen.unique()) == 101 and not torch.equal(asked[0], asked[1])
    assert (seen == 100).double().mean().item() == pytest.approx(156 / 256, abs=0.03)
    run.snapshot()
    assert torch.equal(torch.cat(asked[16:]), seen)


def test_the_training_split_must_hold_a_step():
    few = ImageSet(DATA.train.images[:4])
    with pytest.raises(UserError, match="a step needs 8 real images, but the training split has 4"):
        make(data=replace(DATA, train=few))


def test_a_schedule_that_does_not_repeat_as_declared_is_refused():
    class Forgetful(tiny.Plain):
        name = "forgetful"

        def step(self, batch, clock):
            for update in super().step(batch, clock):
                if update.player == "D" or clock.step % 5 == 4:
                    yield update

    trainer = make(Forgetful)
    with pytest.raises(ValueError, match=r"forgetful updates D, G in step 4, but D 1 steps before: set `period`"):
        for _ in range(5):
            trainer.step()
