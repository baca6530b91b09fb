"""EBGAN: energy-based GAN (Zhao et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu
from torch.optim import Adam, Optimizer

from ganbench import Autoencoder, Batch, Clock, Fraction, NonNegative, Parts, Positive, Update, Variant, hookimpl


@dataclass(frozen=True)
class Config:
    """Options; the paper searched over margins, and has 10 for MNIST, 20 for faces and 80 for bedrooms at 64 px.

    The betas are DCGAN's. `energy`: the error of a reconstruction as its Euclidean norm, or the "sum" or "mean" of its
    squares over all dimensions of a sample; the margin is on the same scale. `pull_away`: weight of the repelling
    regulariser, 0.1 in the paper's EBGAN-PT, 0 for an EBGAN without.
    """

    lr: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    margin: Positive = 10.0
    energy: Literal["norm", "sum", "mean"] = "norm"
    pull_away: NonNegative = 0.1


class EBGAN(Variant):
    """D is an autoencoder and E(x) = ‖Dec(Enc(x)) - x‖ its energy, pushed up to a margin on fakes (eq. 1 and 2).

    The margin holds sample by sample. G is the generator that all variants share, and D has no batch norm, where the
    paper's has. The pull-away term is constant where a code is a single number, as it is of points.
    """

    name = "ebgan"
    summary = "an autoencoder's error as energy, raised up to a margin on fakes"
    paper = "Zhao et al. 2017, arXiv:1609.03126"
    family = "energy"
    config: Config
    D: Autoencoder

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.autoencoder()

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def energy(self, x: Tensor, code: Tensor) -> Tensor:
        """Return E(x) of each sample, given its code."""
        squares = (self.D.decoder(code).float() - x).flatten(1).square()
        if self.config.energy == "mean":
            return squares.mean(1)
        energy = squares.sum(1)
        return energy if self.config.energy == "sum" else (energy + 1e-12).sqrt()

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, config = len(batch.real), self.config
        fake = self.sample(n).detach()
        real_energy = self.energy(batch.real, self.D.encoder(batch.real))
        fake_energy = self.energy(fake, self.D.encoder(fake))
        log = {"real_energy": real_energy.mean().detach(), "fake_energy": fake_energy.mean().detach()}
        yield Update("D", real_energy.mean() + relu(config.margin - fake_energy).mean(), log)
        fake = self.sample(n)
        code = self.D.encoder(fake)
        similarity = pull_away(code)
        loss = self.energy(fake, code).mean() + config.pull_away * similarity
        yield Update("G", loss, {"pull_away": similarity.detach()})


def pull_away(codes: Tensor) -> Tensor:
    """Return the mean squared cosine between the codes of two different samples (eq. 4)."""
    n = len(codes)
    directions = normalize(codes.float().flatten(1), dim=1)
    cosines = (directions[:, None] * directions[None]).sum(2)
    others = 1 - torch.eye(n, device=codes.device)
    return (cosines.square() * others).sum() / (n * (n - 1))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [EBGAN]
