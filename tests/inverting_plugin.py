"""A plugin of one file for the tests: it translates images into their negatives, and back at half the contrast."""

from torch import nn
from torch.optim import SGD

from ganbench import Update, Variant, hookimpl


class Inverts(Variant):
    name = "inverts"
    task = "translate"
    own_architecture = True

    def build(self, parts):
        self.G, self.D = nn.Linear(1, 1), nn.Linear(1, 1)

    def optimizers(self):
        return {"G": SGD(self.G.parameters(), 0.1), "D": SGD(self.D.parameters(), 0.1)}

    def step(self, batch, clock):
        yield Update("D", self.D(batch.real.mean((1, 2, 3), keepdim=True)[:, 0, 0]).mean())
        yield Update("G", self.G(batch.cond.mean((1, 2, 3), keepdim=True)[:, 0, 0]).mean())

    def sample(self, n, cond=None, reverse=False):
        return -cond * (0.5 if reverse else 1)


@hookimpl
def ganbench_variants():
    return [Inverts]
