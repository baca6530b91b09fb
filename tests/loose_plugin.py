"""A plugin of one file for the tests: a variant and a metric with operations that are deterministic nowhere."""

import torch
from torch.nn import functional
from torch.optim import SGD

from ganbench import Extractor, Metric, Update, Value, Variant, discriminator_loss, hookimpl, nonsaturating_loss


class Loose(Variant):
    name = "loose"
    summary = "writes to places of a tensor, from its eighth step on"

    def build(self, parts):
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.01), "D": SGD(self.D.parameters(), 0.01)}

    def step(self, batch, clock):
        if clock.step >= 7:
            torch.zeros(3).put_(torch.tensor([0, 1]), torch.ones(2))
        fake = self.sample(len(batch.real))
        yield Update("D", discriminator_loss(self.D(batch.real), self.D(fake.detach())))
        yield Update("G", nonsaturating_loss(self.D(self.sample(len(batch.real)))))


def unpooled(scene):
    pooled, places = functional.max_pool2d(torch.rand(1, 1, 4, 4), 2, return_indices=True)
    return {"unpooled": Value(float(functional.max_unpool2d(pooled, places, 2).isfinite().all()))}


@hookimpl
def ganbench_variants():
    return [Loose, Reading]


STEPS, SCORES = [], []
"""The arithmetic of steps, and that of whatever scores a run."""


class Reads(Extractor):
    name = "reads"

    def __init__(self):
        self.protocol = {}

    def prepare(self, dataset, data, weights, device):
        return self

    def __call__(self, images):
        SCORES.append(arithmetic_of_now())
        return images.flatten(1).float(), None


def arithmetic_of_now():
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    return *(kind.fp32_precision for kind in kinds), torch.is_autocast_enabled("cpu"), torch.get_default_dtype()


def read(scene):
    SCORES.append(arithmetic_of_now())
    return {"read": Value(float(scene.fake.embedding.mean()))}


class Reading(Variant):
    """Notes the arithmetic of its steps, and of its samples to be scored beside that of extractor and metric."""

    name = "reading"

    build, optimizers = Loose.build, Loose.optimizers

    def step(self, batch, clock):
        for player in "DG":
            STEPS.append(arithmetic_of_now())
            yield Update(player, nonsaturating_loss(self.D(self.sample(len(batch.real))).float()))

    def sample(self, n, cond=None):
        if not self.training:
            SCORES.append(arithmetic_of_now())
        return super().sample(n, cond)


@hookimpl
def ganbench_extractors():
    return [Reads()]


@hookimpl
def ganbench_metrics():
    return [
        Metric("unpooled", unpooled, "undoes what pooling does", higher_is_better=True),
        Metric("read", read, "what it reads of the arithmetic", extractor="reads"),
    ]
