"""A plugin of one file for the tests: a variant and a metric with operations that are deterministic nowhere."""

import torch
from torch.nn import functional
from torch.optim import SGD

from ganbench import Metric, Update, Value, Variant, discriminator_loss, hookimpl, nonsaturating_loss


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
    return [Loose]


@hookimpl
def ganbench_metrics():
    return [Metric("unpooled", unpooled, "undoes what pooling does", higher_is_better=True)]
