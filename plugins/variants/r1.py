"""R1 and R2: zero-centred gradient penalties (Mescheder et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer, RMSprop

from ganbench import (
    Batch,
    Clock,
    Count,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    nonsaturating_loss,
    squared_gradient_norms,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (§6.2; configs/default.yaml of the authors).
    decay: of RMSprop's mean of squares (§6.2).
    penalty: γ; the authors' program weighs the mean square itself by 10, so γ is 20 there (§6.2 has 10).
    on: "real" samples (R1, eq. 9), "fake" ones (R2, eq. 10) or "both" (§4.1).
    every: the penalty is taken in one of so many steps, and weighed so many times as much (ours; to save time, and it
        may fail to converge).
    """

    lr: Positive = 1e-4
    decay: Positive = 0.99
    penalty: NonNegative = 10.0
    on: Literal["real", "fake", "both"] = "real"
    every: Count = 1


class R1(Variant):
    """The non-saturating GAN with small gradients of D where the samples are, which makes it converge locally (§4.1).

    Samples are drawn from a moving average of the weights that keeps 0.999 an update of 64 images, as in the authors'
    program: it forgets half in 693 updates. D has no batch norm.

    Objective: min_D -E log σ(D(x)) - E log(1 - σ(D(G(z)))) + γ/2 E‖∇D(x)‖², min_G -E log σ(D(G(z)))
    Departures: the authors' program has twice the γ, flips images at random, and adds noise of about a level to them.
    Budget: unknown: the authors' configurations name no end
    Published: no number; the paper and its program give no table for CelebA or LSUN
    """

    name = "r1"
    summary = "the discriminator's squared gradient norm on the data kept small"
    paper = "Mescheder et al. 2018, arXiv:1801.04406"
    family = "regulariser"
    ema_half_life_images = 44_000.0
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="none")
        self.period = self.config.every

    def optimizers(self) -> dict[str, Optimizer]:
        lr, decay = self.config.lr, self.config.decay
        return {"G": RMSprop(self.G.parameters(), lr, decay), "D": RMSprop(self.D.parameters(), lr, decay)}

    def slope(self, x: Tensor) -> Tensor:
        """Return ½ E‖∇D(x)‖²."""
        return 0.5 * squared_gradient_norms(self.D, x).mean()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, config = len(batch.real), self.config
        fake = self.sample(n).detach()
        loss, log = discriminator_loss(self.D(batch.real), self.D(fake)), dict[str, Tensor]()
        if clock.step % config.every == 0:
            where = {"real": [batch.real], "fake": [fake], "both": [batch.real, fake]}[config.on]
            penalty = torch.stack([self.slope(x) for x in where]).sum()
            loss, log = loss + config.penalty * config.every * penalty, {"penalty": penalty.detach()}
        yield Update("D", loss, log)
        yield Update("G", nonsaturating_loss(self.D(self.sample(n))))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [R1]
