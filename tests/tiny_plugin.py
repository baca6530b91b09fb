"""A plugin of one file for the tests: a tiny data set, a cheap metric, and variants that misbehave in every way."""

import os
import signal
import time
from pathlib import Path

import torch
from torch import nn
from torch.optim import SGD

from ganbench import (
    Dataset,
    ImageSet,
    Metric,
    Splits,
    Update,
    Value,
    Variant,
    discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)


class Tiny(Dataset):
    name = "tiny"
    summary = "random blobs, 8×8"
    size = 8
    backbone = "mlp"
    budget = "1280-images"
    metrics = ("tiny-mean", "grad-norm-g")

    def load(self, root: Path, size: int) -> Splits:
        generator = torch.Generator().manual_seed(7)
        images = torch.randint(0, 256, (320, 1, size, size), generator=generator, dtype=torch.uint8)
        labels = torch.arange(320) % 4
        return Splits(
            ImageSet(images[:256], labels[:256]), ImageSet(images[256:], labels[256:]), "7" * 64, {"kind": "noise"}
        )


class Plain(Variant):
    name = "plain"
    summary = "a non-saturating GAN"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.01), "D": SGD(self.D.parameters(), 0.01)}

    def step(self, batch, clock):
        fake = self.sample(len(batch.real))
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(fake.detach())))
        yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real)))))


class Slow(Plain):
    name = "slow"

    def step(self, batch, clock):
        time.sleep(0.05)
        yield from super().step(batch, clock)


class Raises(Plain):
    name = "raises"

    def step(self, batch, clock):
        if clock.step == 3:
            raise RuntimeError("the plugin broke")
        yield from super().step(batch, clock)


class MakesNaN(Plain):
    name = "makes-nan"

    def step(self, batch, clock):
        fake = self.sample(len(batch.real))
        loss = discriminator_loss(self.D(batch.real), self.D(fake.detach()))
        yield Update("D", loss * float("nan") if clock.step == 4 else loss)
        yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real)))))


class EndsItself(Plain):
    name = "ends-itself"

    def step(self, batch, clock):
        if clock.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().step(batch, clock)


class Labelled(Plain):
    name = "labelled"
    task = "label"

    def build(self, parts):
        self.embed = nn.Embedding(parts.data.classes, parts.z_dim)
        super().build(parts)

    def optimizers(self):
        return {
            "G": SGD([*self.G.parameters(), *self.embed.parameters()], 0.01),
            "D": SGD(self.D.parameters(), 0.01),
        }

    def step(self, batch, clock):
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(self.sample(len(batch.real), batch.cond))))
        yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real), batch.cond))))

    def sample(self, n, cond=None):
        return self.G(self.noise(n) * self.embed(cond))


def mean_difference(scene):
    fake, real = (features.images.double().mean().item() for features in (scene.fake, scene.real))
    return {"tiny-mean": Value(abs(fake - real), {"of": "grey levels"})}


@hookimpl
def ganbench_variants():
    return [Plain, Slow, Raises, MakesNaN, EndsItself, Labelled]


@hookimpl
def ganbench_datasets():
    return [Tiny()]


@hookimpl
def ganbench_metrics():
    return [
        Metric("tiny-mean", mean_difference, "difference of mean grey", higher_is_better=False),
        Metric("tiny-late", mean_difference_late, "asked for later", higher_is_better=False),
    ]


def mean_difference_late(scene):
    return {"tiny-late": Value(mean_difference(scene)["tiny-mean"].value)}
