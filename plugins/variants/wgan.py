"""WGAN: Wasserstein GAN with weight clipping (Arjovsky et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer, RMSprop

from ganbench import Batch, Clock, Count, Parts, Positive, Update, Variant, hookimpl


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the paper's Algorithm 1.

    lr: learning rate of both players, of RMSprop (Algorithm 1).
    clip: box of the critic's weights (Algorithm 1).
    critic_steps: updates of D before each of G (Algorithm 1).
    """

    lr: Positive = 5e-5
    clip: Positive = 0.01
    critic_steps: Count = 5


class WGAN(Variant):
    """The critic's weights are clipped to a box after each of its updates.

    Every update of G is preceded by `critic_steps` updates of the critic.

    Objective: min_D E D(G(z)) - E D(x) with D's weights in [-c, c], min_G -E D(G(z))
    Departures: none from Algorithm 1. The authors' program clips before an update, so that G meets weights outside the
    box, and trains the critic a hundred times for each of the first 25 updates of G and every 500.
    Budget: unknown: Algorithm 1 runs until G has converged
    Published: FID 6.7 ± 0.4 on MNIST, 21.5 ± 1.6 on Fashion-MNIST, 55.2 ± 2.3 on CIFAR-10, 41.3 ± 2.0 on CelebA,
    with Adam, best of a search
    on `infogan`, 10,000 samples against test images (Lucic et al. 2018, read in its copy by Dai & Wipf 2019)
    """

    name = "wgan"
    summary = "Wasserstein distance, the critic's weights clipped to a box"
    paper = "Arjovsky et al. 2017, arXiv:1701.07875"
    family = "wasserstein"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="batch")
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        critic = RMSprop(self.D.parameters(), self.config.lr)
        critic.register_step_post_hook(self.clip_critic)
        return {"G": RMSprop(self.G.parameters(), self.config.lr), "D": critic}

    @torch.no_grad()
    def clip_critic(self, *_: Any) -> None:
        """Clip the critic's parameters, those of its normalisation included; its buffers are no weights."""
        for parameter in self.D.parameters():
            parameter.clamp_(-self.config.clip, self.config.clip)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        gap = self.D(batch.real).mean() - self.D(fake).mean()
        yield Update("D", -gap, {"wasserstein": gap.detach()})
        if (clock.step + 1) % self.config.critic_steps == 0:
            yield Update("G", -self.D(self.sample(n)).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [WGAN]
