"""RaGAN: the relativistic average GAN (Jolicoeur-Martineau, 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import relu, softplus
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Count, Fraction, Parts, Positive, Update, Variant, hookimpl


@dataclass(frozen=True)
class Config:
    """Options; rates are those of the paper's experiments with DCGAN.

    `loss`: RaSGAN (eq. 12 and 13), RaLSGAN (appendix) with "squares", or RaHingeGAN. `halved`: the average of the two
    terms, as in the author's code, in the place of the paper's sum.
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    loss: Literal["cross-entropy", "hinge", "squares"] = "cross-entropy"
    halved: bool = False
    critic_steps: Count = 1


class RaGAN(Variant):
    """D tells whether a sample is more real than the other kind is on average: D(x) - E D(G(z)) and D(G(z)) - E D(x).

    G's loss is the same with real and fake exchanged; so it draws on real samples too, those that D has just seen.
    """

    name = "ragan"
    summary = "the discriminator compares each sample with the mean of the other kind"
    paper = "Jolicoeur-Martineau 2019, arXiv:1807.00734"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="batch")
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def prefer(self, better: Tensor, worse: Tensor) -> Tensor:
        """Return the loss of not putting `better` above the mean of `worse`, and `worse` below that of `better`."""
        above, below = better - worse.mean(), worse - better.mean()
        if self.config.loss == "hinge":
            loss = relu(1 - above).mean() + relu(1 + below).mean()
        elif self.config.loss == "squares":
            loss = (above - 1).square().mean() + (below + 1).square().mean()
        else:
            loss = softplus(-above).mean() + softplus(below).mean()
        return loss / 2 if self.config.halved else loss

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        yield Update("D", self.prefer(self.D(batch.real), self.D(fake)))
        if (clock.step + 1) % self.config.critic_steps == 0:
            yield Update("G", self.prefer(self.D(self.sample(n)), self.D(batch.real).detach()))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [RaGAN]
