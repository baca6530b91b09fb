"""SNGAN: spectral normalisation (Miyato et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    Parts,
    Positive,
    Setting,
    Update,
    Variant,
    discriminator_loss,
    hinge_discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the paper's ResNets (appendix B.2), with the hinge loss (eq. 16, 17).

    Its standard CNNs have betas (0.5, 0.999), one critic step and the non-saturating loss of eq. 15, whose setting C
    they are best with. `decay`: rates fall linearly to 0 over the whole budget.
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    critic_steps: Count = 5
    loss: Literal["hinge", "nonsaturating"] = "hinge"
    decay: bool = True


class SNGAN(Variant):
    """Every weight of D is divided by its largest singular value, so that D has a Lipschitz constant of 1 at most.

    One power iteration goes into each forward pass in training (algorithm 1). G has no spectral norm. G's batch is as
    large as D's, where the authors' code doubles it.
    """

    name = "sngan"
    summary = "spectral norm on the discriminator's weights, hinge loss"
    paper = "Miyato et al. 2018, arXiv:1802.05957"
    family = "regulariser"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="spectral")
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Let both rates fall linearly to zero."""
        if not self.config.decay:
            return {}
        factor = 1 - clock.progress
        return {"G": {"lr_factor": factor}, "D": {"lr_factor": factor}}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, hinge = len(batch.real), self.config.loss == "hinge"
        real, fake = self.D(batch.real), self.D(self.sample(n).detach())
        yield Update("D", hinge_discriminator_loss(real, fake) if hinge else discriminator_loss(real, fake))
        if (clock.step + 1) % self.config.critic_steps == 0:
            fake = self.D(self.sample(n))
            yield Update("G", -fake.mean() if hinge else nonsaturating_loss(fake))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [SNGAN]
