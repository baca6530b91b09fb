"""Variants that cheat, one a class: each changes one thing of an honest GAN, and each would score better for it."""

import copy
import gc
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import SGD

from ganbench import Control, Positive, Update, Variant, discriminator_loss, hookimpl, nonsaturating_loss


class Honest(Variant):
    name = "honest"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.01), "D": SGD(self.D.parameters(), 0.01)}

    def step(self, batch, clock):
        n = len(batch.real)
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(self.sample(n).detach())))
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))

    def more(self, n=8):
        """Train G once more, by other means than an update."""
        self.requires_grad_(True)
        with torch.enable_grad():
            loss = nonsaturating_loss(self.D(super().sample(n)))
            gradients = torch.autograd.grad(loss, list(self.G.parameters()))
        return zip(self.G.parameters(), gradients, strict=True)


class OwnOptimizer(Honest):
    """Trains G beside the updates that are counted, from the first step on."""

    def build(self, parts):
        super().build(parts)
        self.own = SGD(self.G.parameters(), 0.01)

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        self.own.zero_grad()
        nonsaturating_loss(self.D(self.sample(8))).backward()
        self.own.step()


class LateOptimizer(OwnOptimizer):
    """Does so from step 8 on, when a short check is over."""

    def step(self, batch, clock):
        yield from super().step(batch, clock) if clock.step >= 8 else Honest.step(self, batch, clock)


class ThroughData(Honest):
    """Changes weights through `.data`, which no version of a tensor tells."""

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        for weight, gradient in self.more():
            weight.data.sub_(0.01 * gradient)


class TenSteps(Honest):
    """An optimizer that takes ten steps for one."""

    def optimizers(self):
        class Ten(SGD):
            def step(self, closure=None):
                for _ in range(10):
                    super().step()

        return {**super().optimizers(), "G": Ten(self.G.parameters(), 0.01)}


class OthersWeights(Honest):
    """Moves G when D is updated."""

    def optimizers(self):
        both = super().optimizers()
        both["D"].register_step_post_hook(self.push)
        return both

    def push(self, *_):
        with torch.no_grad():
            for weight in self.G.parameters():
                weight.mul_(0.999)


class TrainsInSample(Honest):
    """Trains the copy that is sampled, when it is sampled."""

    def sample(self, n, cond=None):
        if not self.training:
            for weight, gradient in self.more():
                weight.sub_(0.01 * gradient)
        return super().sample(n)


class TrainsInBuild(Honest):
    """Trains before the clock runs."""

    def build(self, parts):
        super().build(parts)
        optimizer = SGD(self.G.parameters(), 0.01)
        for _ in range(50):
            optimizer.zero_grad()
            nonsaturating_loss(self.D(self.sample(64))).backward()
            optimizer.step()


class HandsOutBatches(Honest):
    """Keeps what it is served, and hands it out as samples."""

    def build(self, parts):
        super().build(parts)
        self.kept = []

    def step(self, batch, clock):
        self.kept = [*self.kept, batch.real.clone()][-8:]
        yield from super().step(batch, clock)

    def sample(self, n, cond=None):
        if self.training or not self.kept:
            return super().sample(n)
        images = torch.cat(self.kept)
        return images[torch.randint(len(images), (n,))]


STORE = []


class HandsOutFromModule(HandsOutBatches):
    """Keeps it where building anew does not forget."""

    def step(self, batch, clock):
        STORE[:] = [*STORE, batch.real.clone()][-8:]
        yield from Honest.step(self, batch, clock)

    def sample(self, n, cond=None):
        self.kept = STORE
        return super().sample(n)


class HandsOutFromBuffer(HandsOutBatches):
    """Keeps it in a buffer, which is saved as weights are."""

    def build(self, parts):
        super().build(parts)
        self.register_buffer("store", torch.zeros(64, *parts.data.shape))

    def step(self, batch, clock):
        self.store.copy_(batch.real[:64])
        yield from Honest.step(self, batch, clock)

    def sample(self, n, cond=None):
        return Honest.sample(self, n) if self.training else self.store[torch.randint(64, (n,))]


class ReadsTestSplit(Honest):
    """Finds the test split on disk and hands it out."""

    def sample(self, n, cond=None):
        if self.training:
            return super().sample(n)
        images = torch.load(Path(__file__).with_name("test_split.pt"))
        return images[torch.randint(len(images), (n,))].float() / 127.5 - 1


class SecretNetwork(Honest):
    """Samples from a network that no checkpoint holds, trained on the side."""

    def build(self, parts):
        super().build(parts)
        self.secret = [copy.deepcopy(self.G)]

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        for weight in self.secret[0].parameters():
            weight.data.mul_(1.5).add_(0.1)

    def sample(self, n, cond=None):
        return super().sample(n) if self.training else self.secret[0](self.noise(n))


class AltersMeters(Honest):
    """Finds the meters among all objects and sets them back, so that it trains for longer."""

    def step(self, batch, clock):
        yield from super().step(batch, clock)
        for thing in gc.get_objects():
            if type(thing).__name__ == "Meters" and thing.images:
                thing.images -= 32


class AltersAllMeters(Honest):
    """Sets back all that belongs together while it is sampled."""

    def sample(self, n, cond=None):
        if not self.training:
            for thing in gc.get_objects():
                if type(thing).__name__ == "Meters" and thing.images:
                    thing.steps -= 1
                    thing.images -= 64
                    thing.updates = {player: number - 1 for player, number in thing.updates.items()}
        return super().sample(n)


class WorksBetweenSamples(Honest):
    """Works little in the steps whose FLOPs are counted, and much in the others."""

    def step(self, batch, clock):
        n = len(batch.real)
        loss = discriminator_loss(self.D(batch.real), self.D(self.sample(n).detach()))
        for _ in range(8 if clock.step else 0):
            loss = loss + discriminator_loss(self.D(batch.real), self.D(self.sample(n).detach()))
        yield Update("D", loss)
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))


class UncountedProducts(Honest):
    """Multiplies in a way for which the meter has no formula."""

    def step(self, batch, clock):
        for _ in range(20):
            torch.ones(2000, 1) * torch.ones(2000)
        yield from super().step(batch, clock)


@dataclass(frozen=True)
class Config:
    lr: Positive = 0.01


class ChangesOptions(Honest):
    """Trains with other options than those in its record."""

    config: Config

    def build(self, parts):
        super().build(parts)
        object.__setattr__(self.config, "lr", 0.5)


class ReplacesOptions(ChangesOptions):
    def build(self, parts):
        Honest.build(self, parts)
        self.config = Config(lr=0.7)


class NoUpdates(Honest):
    def step(self, batch, clock):
        yield from ()


class NeverUpdatesG(Honest):
    def step(self, batch, clock):
        yield Update("D", self.D(batch.real).mean())


class UpdatesGInName(Honest):
    """Updates G by a loss that no weight of G reaches."""

    def optimizers(self):
        return {**super().optimizers(), "G": SGD(self.G.parameters(), 1e-30)}


class ShortPeriod(Honest):
    """Says that its updates repeat after one step, and they do not."""

    def step(self, batch, clock):
        for update in super().step(batch, clock):
            if update.player == "D" or clock.step % 3 == 2:
                yield update


class TooMany(Honest):
    """Gives eight times the samples asked for."""

    def sample(self, n, cond=None):
        return super().sample(n if self.training else 8 * n)


class TooFew(Honest):
    def sample(self, n, cond=None):
        return super().sample(n if self.training else 2)


class OtherShape(Honest):
    def sample(self, n, cond=None):
        samples = super().sample(n)
        return samples if self.training else nn.functional.interpolate(samples, scale_factor=2)


class OtherRange(Honest):
    def sample(self, n, cond=None):
        samples = super().sample(n)
        return samples if self.training else 127.5 * (samples + 1)


CHEATS = [
    cls
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, Honest) and cls is not Honest and not issubclass(cls, Control)
]
for cls in CHEATS:
    cls.name = f"cheat-{cls.__name__.lower()}"


@hookimpl
def ganbench_variants():
    return [Honest, *CHEATS]
