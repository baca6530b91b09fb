"""EBGAN: energy-based GAN (Zhao et al., 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu
from torch.optim import Adam, Optimizer

from ganbench import (
    Autoencoder,
    Batch,
    Clock,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    hookimpl,
    whole_batch,
)

NUMBERS_OF_MNIST = 28 * 28
"""Of one image of the data for which the paper has its margin of 10."""
EXPONENTS = {"norm": 0.5, "sum": 1.0, "mean": 0.0}
"""Of how many numbers a sample has, in the growth of its energy when every number is as far off."""


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (the paper's of MNIST, read in a transcription).
    betas: of Adam; those of DCGAN (ours).
    margin: of an image of 28×28 numbers; one of the paper's grid from 1 to 32 for MNIST (read in a transcription).
    scaled: whether the margin grows with how many numbers, pixels times channels, an image has, as its energy does when
        every number is as far off: with their root for "norm", in proportion for "sum", not for "mean". Images of 8×8
        hardly reach 10. On points, which have no range, and where False, it is taken as it is said (ours).
    energy: the error of a reconstruction as its Euclidean norm, or the "sum" or "mean" of its squares over all numbers
        of a sample, as other programs have it; the margin is on the same scale (ours).
    pull_away: weight of the repelling regulariser, that of an EBGAN-PT; 0 for an EBGAN without (the paper, read in a
        transcription).
    norm: of D, "batch", or "none" (the paper, from memory, unchecked).
    """

    lr: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    margin: Positive = 10.0
    scaled: bool = True
    energy: Literal["norm", "sum", "mean"] = "norm"
    pull_away: NonNegative = 0.1
    norm: Literal["batch", "none"] = "batch"


class EBGAN(Variant):
    """D is an autoencoder and E(x) = ‖Dec(Enc(x)) - x‖ its energy, pushed up to a margin on fakes (eq. 1 and 2).

    The margin holds sample by sample. The pull-away term is constant where a code is a single number, as it is of
    points.

    Objective: min_D E(x) + max(0, m - E(G(z))), min_G E(G(z)) + 0.1 PT, PT the mean squared cosine between the codes of
    two different fakes (eq. 4)
    Departures: a margin that grows with the size of an image, where the paper has one for each data set; the backbone's
    networks, so no batch norm in D on points.
    Budget: the paper's is not known here
    Published: no number under a protocol that can be run here
    """

    name = "ebgan"
    summary = "an autoencoder's error as energy, raised up to a margin on fakes"
    paper = "Zhao et al. 2017, arXiv:1609.03126"
    family = "energy"
    config: Config
    D: Autoencoder

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.autoencoder(norm=self.config.norm)
        scaled = self.config.scaled and parts.data.is_image
        share = math.prod(parts.data.shape) / NUMBERS_OF_MNIST if scaled else 1.0
        self.margin = self.config.margin * share ** EXPONENTS[self.config.energy]

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
        yield Update("D", real_energy.mean() + relu(self.margin - fake_energy).mean(), log)
        fake = self.sample(n)
        code = self.D.encoder(fake)
        similarity = pull_away(whole_batch(code))
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
