"""RGAN: the relativistic GAN (Jolicoeur-Martineau, 2019)."""

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
    """Options; rates are those of the paper's experiments with DCGAN. `loss`: RSGAN of eq. 9, or its like.

    "hinge" and "squares" put other losses in the place of the cross entropy (eq. 7, with f₁ that of the loss on real
    samples): max(0, 1 - d) and (d - 1)² of the difference d.
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    loss: Literal["cross-entropy", "hinge", "squares"] = "cross-entropy"
    critic_steps: Count = 1


class RGAN(Variant):
    """D tells which of a real and a fake sample is the real one: it sees D(x) - D(G(z)), and G the reverse (eq. 9, 10).

    Pairs are drawn at random. G's update meets the real batch that D has just seen, with fresh latents.
    """

    name = "rgan"
    summary = "the discriminator compares a real sample with a fake one"
    paper = "Jolicoeur-Martineau 2019, arXiv:1807.00734"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="batch")
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def prefer(self, better: Tensor, worse: Tensor) -> Tensor:
        """Return the loss of giving `better` no more than `worse`."""
        difference = better - worse
        if self.config.loss == "hinge":
            return relu(1 - difference).mean()
        if self.config.loss == "squares":
            return (difference - 1).square().mean()
        return softplus(-difference).mean()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        yield Update("D", self.prefer(self.D(batch.real), self.D(fake)))
        if (clock.step + 1) % self.config.critic_steps == 0:
            yield Update("G", self.prefer(self.D(self.sample(n)), self.D(batch.real).detach()))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [RGAN]
