"""A plugin of one file for the tests of the conformance kit: sound variants, and one for every rule that it breaks."""

import random
import time
from itertools import count

import torch
from torch import nn
from torch.nn.functional import one_hot
from torch.optim import SGD, Adam

from ganbench import (
    Update,
    Variant,
    discriminator_loss,
    gradient_penalty,
    hookimpl,
    mean_over_ranks,
    nonsaturating_loss,
    whole_batch,
)


class Plain(Variant):
    """A sound non-saturating GAN; the broken ones change one thing of it."""

    name = "plain"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator()

    def optimizers(self):
        return {"G": Adam(self.G.parameters(), 1e-3), "D": Adam(self.D.parameters(), 1e-3)}

    def step(self, batch, clock):
        n = len(batch.real)
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(self.sample(n).detach())))
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))


class Busy(Plain):
    """Sound, with all that the contract offers: buffers, a period, an average, rates, a hook, two batches a step."""

    name = "busy"
    ema_half_life_images = 20.0
    period = 3

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="layer")
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("pool", torch.zeros(4, *self.data.shape))
        self.shift = self.G.register_parameter("spare", None)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def optimizers(self):
        self.critic = Adam(self.D.parameters(), 1e-3)
        self.critic.register_step_post_hook(lambda *_: [p.data.clamp_(-0.02, 0.02) for p in self.D.parameters()])
        return {"G": Adam(self.G.parameters(), 1e-3), "D": self.critic}

    def images_per_step(self, batch):
        return 2 * batch

    def schedules(self, clock):
        return {"G": {"lr_factor": 1 - clock.progress / 2}}

    def step(self, batch, clock):
        real, more = batch.real.chunk(2)
        noisy = real + (1 - clock.progress) * 0.1 * torch.randn_like(real)
        fake = self.sample(len(real)).detach()
        penalty = gradient_penalty(self.D, more, fake)
        loss = self.D(fake).mean() - self.D(noisy).mean() + penalty + self.D(self.pool).mean() * self.level
        yield Update("D", loss, {"penalty": penalty.detach(), "level": self.level.clone()})
        self.level.add_(0.1 * mean_over_ranks(penalty.detach())).clamp_(0, 1)
        self.pool.copy_(torch.where(self.level > 0.5, whole_batch(fake)[:4], self.pool))
        if (clock.step + 1) % self.period == 0:
            yield Update("G", -self.D(self.sample(len(real))).mean())


class Conditional(Plain):
    """Sound, drawn by class label."""

    name, task = "conditional", "label"

    def build(self, parts):
        self.G = parts.generator(inputs=parts.z_dim + parts.data.classes)
        self.D = parts.discriminator(outputs=parts.data.classes)

    def sample(self, n, cond=None):
        return self.G(torch.cat([self.noise(n), one_hot(cond, self.data.classes).float()], 1))

    def score(self, x, labels):
        return self.D(x).gather(1, labels[:, None])

    def step(self, batch, clock):
        n, labels = len(batch.real), batch.cond
        real, fake = self.score(batch.real, labels), self.score(self.sample(n, labels).detach(), labels)
        yield Update("D", discriminator_loss(real, fake))
        yield Update("G", nonsaturating_loss(self.score(self.sample(n, labels), labels)))


class Large(Plain):
    """Sound, its own networks, for images of 64 px alone."""

    name, own_architecture = "large", True

    @classmethod
    def misfit(cls, data):
        return None if data.shape[-1] == 64 else "it makes images of 64 px"


class PointsOnly(Plain):
    """Sound, for points alone."""

    name = "points-only"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    @classmethod
    def misfit(cls, data):
        return "it makes points" if data.is_image else None


class FitsNothing(Plain):
    name = "fits-nothing"

    @classmethod
    def misfit(cls, data):
        return "it is never content"


class Translator(Plain):
    name, task = "translator", "translate"


# samples_are_images


class OutOfRange(Plain):
    def build(self, parts):
        super().build(parts)
        self.G = nn.Sequential(*list(self.G)[:-1])  # no Tanh: at first all samples are small


class WrongShape(Plain):
    def sample(self, n, cond=None):
        return super().sample(n).flatten(1)


class OneWay(Translator):
    """It cannot translate back."""


class BackOutOfRange(Translator):
    def sample(self, n, cond=None, reverse=False):
        return super().sample(n, cond) * (2 if reverse else 1)


class WrongType(Plain):
    def sample(self, n, cond=None):
        return super().sample(n).double()


class NotFinite(Plain):
    def sample(self, n, cond=None):
        return super().sample(n) / 0 if not self.training else super().sample(n)


class FixedBatch(Plain):
    def noise(self, n):
        return super().noise(8)


# updates_name_a_player_and_carry_a_scalar_loss


class WrongPlayer(Plain):
    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield Update(update.player.lower(), update.loss)


class InContext(Plain):
    def step(self, batch, clock):
        with torch.autocast("cpu", enabled=False):
            yield Update("D", self.D(batch.real).mean())


class InHiddenContext(Plain):
    def step(self, batch, clock):
        block = torch.no_grad()
        fake = self.sample(8)
        block.__enter__()
        yield Update("D", self.D(fake).mean())
        block.__exit__(None, None, None)


class NotScalar(Plain):
    def step(self, batch, clock):
        yield Update("D", self.D(batch.real))


class NotANumber(Plain):
    def step(self, batch, clock):
        yield Update("D", (self.D(batch.real) - 1e6).log().mean())


class Unconnected(Plain):
    def step(self, batch, clock):
        yield Update("D", self.D(batch.real).mean().detach())


class LogsNumbers(Plain):
    def step(self, batch, clock):
        yield Update("D", self.D(batch.real).mean(), {"step": clock.step})


class ReturnsList(Plain):
    def step(self, batch, clock):
        return list(super().step(batch, clock))


class YieldsTuples(Plain):
    def step(self, batch, clock):
        yield "D", self.D(batch.real).mean()


class YieldsNothing(Plain):
    def step(self, batch, clock):
        yield from ()


# parameters_move_only_inside_updates


class HiddenOptimizer(Plain):
    def optimizers(self):
        self.hidden = [Adam(self.G.parameters(), 1e-2)]
        return super().optimizers()

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        self.hidden[0].zero_grad()
        nonsaturating_loss(self.D(self.sample(8))).backward()
        self.hidden[0].step()


class ClipsInStep(Plain):
    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield update
            for parameter in self.D.parameters():
                parameter.data.clamp_(-0.01, 0.01)


# every_parameter_is_reached


class Forgotten(Plain):
    def build(self, parts):
        super().build(parts)
        self.Q = nn.Linear(3, 3)


class Unreached(Forgotten):
    def optimizers(self):
        return {**super().optimizers(), "Q": SGD(self.Q.parameters(), 1e-2)}


class HiddenModule(Plain):
    def build(self, parts):
        super().build(parts)
        self.more = [nn.Linear(3, 3)]

    def optimizers(self):
        return {**super().optimizers(), "Q": SGD(self.more[0].parameters(), 1e-2)}


# same_seed_same_run


class TimeSeeded(Plain):
    def noise(self, n):
        torch.manual_seed(time.perf_counter_ns())
        return super().noise(n)


class FixedNoise(Plain):
    def noise(self, n):
        return torch.randn(n, self.z_dim, generator=torch.Generator().manual_seed(0))


class SeedsInStep(Plain):
    def step(self, batch, clock):
        torch.manual_seed(0)
        yield from super().step(batch, clock)


CALLS = count(1)


class GlobalState(Plain):
    """Keeps a number in its module, which outlives every instance."""

    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield Update(update.player, update.loss / next(CALLS))


# resume_is_exact and state_lives_in_buffers


class Counts(Plain):
    def build(self, parts):
        super().build(parts)
        self.count = 0

    def step(self, batch, clock):
        self.count += 1
        for update in super().step(batch, clock):
            yield Update(update.player, update.loss * self.count)


class PlainTensor(Plain):
    def build(self, parts):
        super().build(parts)
        self.average = [torch.zeros(())]

    def step(self, batch, clock):
        for update in super().step(batch, clock):
            self.average[0].lerp_(update.loss.detach(), 0.1)
            yield Update(update.player, update.loss - self.average[0] * update.loss)


class NotSaved(Plain):
    def build(self, parts):
        super().build(parts)
        self.register_buffer("average", torch.zeros(()), persistent=False)

    def step(self, batch, clock):
        for update in super().step(batch, clock):
            self.average.lerp_(update.loss.detach(), 0.1)
            yield Update(update.player, update.loss - self.average * update.loss)


class MeansOfItsPart(Plain):
    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield Update(update.player, update.loss + self.D(batch.real).mean() ** 2)


class StateOfItsPart(Plain):
    def build(self, parts):
        super().build(parts)
        self.register_buffer("level", torch.zeros(()))

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        self.level.lerp_(self.D(batch.real).mean().detach(), 0.1)


class OneDrawForAll(Plain):
    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield Update(update.player, update.loss * torch.rand(()))


class MeetsUnevenly(Plain):
    def step(self, batch, clock):
        for update in super().step(batch, clock):
            if float(torch.rand(())) < 0.5:
                mean_over_ranks(update.loss.detach())
            yield update


class Rebinds(Plain):
    def build(self, parts):
        super().build(parts)
        self.register_buffer("level", torch.zeros(()))

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        self.level = self.level + 1


class OwnGenerator(Plain):
    def build(self, parts):
        super().build(parts)
        self.source = torch.Generator().manual_seed(0)

    def noise(self, n):
        return torch.randn(n, self.z_dim, generator=self.source)


class ClassCounter(Plain):
    steps = 0

    def step(self, batch, clock):
        type(self).steps += 1
        yield from super().step(batch, clock)


class SavesObjects(Plain):
    def get_extra_state(self):
        return time.localtime()

    def set_extra_state(self, state):
        pass


# evaluation_does_not_disturb_training


class MovesWhenSampled(Plain):
    def sample(self, n, cond=None):
        samples = super().sample(n)
        self.G[0].weight.data.mul_(0.999)
        return samples


class SharesWithItsCopies(Plain):
    """Counts in a list that a copy of the variant does not copy."""

    def build(self, parts):
        super().build(parts)
        drawn = []
        self.draw = lambda: drawn.append(None) or len(drawn)

    def noise(self, n):
        return super().noise(n) / self.draw()


# data_is_used_and_not_written


class IgnoresData(Plain):
    def step(self, batch, clock):
        self.D(batch.real)  # moves the statistics of batch norm, and nothing else
        yield Update("D", self.D(self.sample(8).detach()).mean())
        yield Update("G", nonsaturating_loss(self.D(self.sample(8))))


class WritesBatch(Plain):
    def step(self, batch, clock):
        batch.real.add_(0.1 * torch.randn_like(batch.real))
        yield from super().step(batch, clock)


# bf16_stays_finite


class FragileInBf16(Plain):
    """Keeps a logarithm from zero by a number that bf16 rounds away."""

    def step(self, batch, clock):
        real = self.D.head(self.D.trunk(batch.real))
        certain = torch.ones_like(real) - 1e-4
        yield Update("D", (real * (1 - certain).log()).mean())
        yield Update("G", nonsaturating_loss(self.D(self.sample(8))))


class MixesTypesInBf16(Plain):
    def step(self, batch, clock):
        scores = torch.zeros(8, 1).scatter(0, torch.arange(8)[:, None], self.D.head(self.D.trunk(batch.real)))
        yield Update("D", scores.mean())
        yield Update("G", nonsaturating_loss(self.D(self.sample(8))))


# other_data_fit


class OneChannel(Plain):
    def step(self, batch, clock):
        grey = batch.real.view(-1, 1, *batch.real.shape[-2:])
        yield from super().step(batch._replace(real=grey), clock)


class NeedsLabels(Plain):
    def step(self, batch, clock):
        yield Update("D", (self.D(batch.real) * batch.cond.float()).mean())
        yield Update("G", nonsaturating_loss(self.D(self.sample(8))))


# steps_do_not_wait_for_the_device


class ReadsItem(Plain):
    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield Update(update.player, update.loss / (1 + abs(update.loss.item())))


class Branches(Plain):
    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield update if update.loss > 0 else Update(update.player, -update.loss)


class PythonRandom(Plain):
    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield Update(update.player, update.loss * random.random())


class LateBranch(Plain):
    def step(self, batch, clock):
        for update in super().step(batch, clock):
            yield Update(update.player, update.loss * (2 if clock.step > 10_000 else 1))


class Masks(Plain):
    def step(self, batch, clock):
        score = self.D(batch.real)
        yield Update("D", score[score > -1e6].mean())


# condition_matters


class IgnoresLabel(Conditional):
    def sample(self, n, cond=None):
        return super().sample(n, torch.zeros(n, dtype=torch.int64))


class IgnoresLabelsOfData(Conditional):
    def step(self, batch, clock):
        yield from super().step(batch._replace(cond=torch.arange(len(batch.real)) % self.data.classes), clock)


BROKEN = [
    value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, Plain) and "name" not in vars(value)
]
for broken in BROKEN:
    broken.name = f"broken-{broken.__name__.lower()}"


@hookimpl
def ganbench_variants():
    return [Plain, Busy, Conditional, Large, PointsOnly, FitsNothing, Translator, *BROKEN]
