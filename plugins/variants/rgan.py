"""RGAN: the relativistic GAN (Jolicoeur-Martineau, 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import relu, softplus
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Count, Fraction, Norm, Parts, Positive, Update, Variant, hookimpl


@dataclass(frozen=True)
class Config:
    """Options; rates are those of the author's experiments with DCGAN and with SNGAN's CNN.

    lr: learning rate of both players (stable.sh of the author).
    betas: of Adam (stable.sh of the author).
    loss: of the difference d = D(x) - D(G(z)): "cross-entropy" is RSGAN (eq. 9), "hinge" max(0, 1 - d) and "squares"
        (d - 1)² put other losses in its place (eq. 7).
    norm: of D; "batch" is that of the author's runs on pictures of cats, "spectral" that of the stable ones on CIFAR-10
        (unstable.sh and stable.sh of the author).
    critic_steps: updates of D before each of G (stable.sh of the author, whose second setting has five).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    loss: Literal["cross-entropy", "hinge", "squares"] = "cross-entropy"
    norm: Norm = "batch"
    critic_steps: Count = 1


class RGAN(Variant):
    """D tells which of a real and a fake sample is the real one: it sees the difference of the two, and G the reverse.

    Pairs are drawn at random. G's update meets the real batch that D has just seen, with fresh latents.

    Objective: min_D -E log σ(D(x) - D(G(z))) (eq. 9), min_G -E log σ(D(G(z)) - D(x)) (eq. 10)
    Departures: the author's program draws other real images for G's update, has batches of 32, and leaves
    D's last layer without the spectral norm.
    Budget: 100,000 updates of 32 images, 3.2M images; G sees as many others there (stable.sh of the author)
    Published: no number of this form under a protocol that can be run here; FID 25.60 on CIFAR-10 is of RSGAN-GP, which
    adds a gradient penalty
    """

    name = "rgan"
    summary = "the discriminator compares a real sample with a fake one"
    paper = "Jolicoeur-Martineau 2019, arXiv:1807.00734"
    paper_images = 3_200_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm=self.config.norm)
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
