"""Geometric GAN: the hinge loss (Lim & Ye, 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from torch import Tensor
from torch.optim import Adam, Optimizer, RMSprop

from ganbench import (
    Batch,
    Clock,
    Count,
    Discriminator,
    Fraction,
    Norm,
    Parts,
    Positive,
    Update,
    Variant,
    hinge_discriminator_loss,
    hookimpl,
    whole_size,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are DCGAN's, so that the row differs from `gan` in nothing but the loss.

    The paper's own setting is `optimizer=rmsprop`, `generator_steps=10` and `slack=1`.

    lr: learning rate of both players (the authors' scripts for images, exp2.mnist.sh to exp4.lsun.sh).
    betas: of Adam (main.py of the authors, where --adam is given).
    optimizer: of both players; Adam, so that only the loss tells the row from others (ours; main.py of the authors has
        RMSprop unless --adam is given, and no script for images gives it).
    norm: of D (models/dcgan.py of the authors).
    critic_steps: updates of D before G's turn (main.py of the authors).
    generator_steps: updates of G in its turn; as many as of D, as elsewhere (ours; ten in the authors' scripts for
        images).
    slack: C of the support vector machine, ½‖w‖² + C Σ hinge, with w the weights of D's last layer; None leaves the
        norm out, as later uses of the hinge do (ours; 1 in main.py of the authors, as weight decay of 1 / (C batch)).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    optimizer: Literal["adam", "rmsprop"] = "adam"
    norm: Norm = "batch"
    critic_steps: Count = 1
    generator_steps: Count = 1
    slack: Positive | None = None


class Hinge(Variant):
    """D keeps real and fake a margin apart, as a support vector machine does; G crosses the hyperplane.

    Objective: min_D E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))) (eq. 9), min_G -E D(G(z)) (eq. 10)
    Departures: the defaults are those of later comparisons, where the hinge stands beside other losses: Adam, one
    update of G for one of D, and no penalty on w, which the authors' program has. The options bring theirs.
    Budget: 50 epochs of CelebA, 10.1M images, and 1.6M updates of G (scripts/exp3.celeba.sh of the authors)
    Published: no number under a protocol that can be run here
    """

    name = "hinge"
    summary = "a margin between real and fake, beyond which nothing is learnt"
    paper = "Lim & Ye 2017, arXiv:1705.02894"
    paper_images = 10_129_950
    config: Config
    D: Discriminator

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm=self.config.norm)
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        config, players = self.config, {"G": self.G.parameters(), "D": self.D.parameters()}
        if config.optimizer == "rmsprop":
            return {player: RMSprop(weights, config.lr) for player, weights in players.items()}
        return {player: Adam(weights, config.lr, config.betas) for player, weights in players.items()}

    def machine(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the loss of D: the hinge, and with a `slack` ½‖w‖² / (C n), as the hinge is a mean over n samples."""
        loss = hinge_discriminator_loss(self.D(real), self.D(fake))
        if self.config.slack is None:
            return loss
        weights = cast(Tensor, self.D.head.weight)
        return loss + weights.square().sum() / (2 * self.config.slack * whole_size(len(real)))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        yield Update("D", self.machine(batch.real, self.sample(n).detach()))
        if (clock.step + 1) % self.config.critic_steps == 0:
            for _ in range(self.config.generator_steps):
                yield Update("G", -self.D(self.sample(n)).mean())


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [Hinge]
