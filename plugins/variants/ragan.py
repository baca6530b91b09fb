"""RaGAN: the relativistic average GAN (Jolicoeur-Martineau, 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import relu, softplus
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Count, Fraction, Norm, Parts, Positive, Update, Variant, hookimpl, mean_over_ranks


@dataclass(frozen=True)
class Config:
    """Options; rates are those of the author's experiments with DCGAN and with SNGAN's CNN.

    lr: learning rate of both players (stable.sh of the author).
    betas: of Adam (stable.sh of the author).
    loss: "cross-entropy" is RaSGAN (eq. 12 and 13), "squares" RaLSGAN (appendix), "hinge" RaHingeGAN
        (GAN_losses_iter.py of the author).
    halved: take the average of the two terms in the place of the paper's sum (GAN_losses_iter.py of the author).
    norm: of D; "batch" is that of the author's runs on pictures of cats, "spectral" that of the stable ones on CIFAR-10
        (unstable.sh and stable.sh of the author).
    critic_steps: updates of D before each of G (stable.sh of the author, whose second setting has five).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    loss: Literal["cross-entropy", "hinge", "squares"] = "cross-entropy"
    halved: bool = False
    norm: Norm = "batch"
    critic_steps: Count = 1


class RaGAN(Variant):
    """D tells whether a sample is more real than the other kind is on average.

    G's loss is the same with real and fake exchanged; so it draws on real samples too, those that D has just seen.

    Objective: min_D -E log σ(D(x) - E D(G(z))) - E log(1 - σ(D(G(z)) - E D(x))), min_G the same with x and G(z)
    exchanged (eq. 12 and 13)
    Departures: the author's program draws other real images for G's update, has batches of 32, halves the
    loss, and leaves D's last layer without the spectral norm.
    Budget: 100,000 updates of 32 images, 3.2M images; G sees as many others there (stable.sh of the author)
    Published: no number that was read under a protocol that can be run here
    """

    name = "ragan"
    summary = "the discriminator compares each sample with the mean of the other kind"
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
        """Return the loss of not putting `better` above the mean of `worse`, and `worse` below that of `better`."""
        above, below = better - mean_over_ranks(worse.mean()), worse - mean_over_ranks(better.mean())
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
