"""CGAN: conditional GAN (Mirza & Osindero, 2014)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Fraction,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of DCGAN: the paper's SGD belongs to its maxout networks.

    lr: learning rate of both players (Radford et al. 2016, §4).
    betas: of both Adams (Radford et al. 2016, §4).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)


class CGAN(Variant):
    """G(z, y) against D(x, y), both told the label y (eq. 2 of the paper).

    The label stands one-hot beside z, and as constant maps beside the channels of x. Fakes bear the labels of the
    batch, so that both halves of what D sees have the same share of each class, and no pair of an image and a wrong
    label is shown.

    Objective: min_D E sp(-D(x, y)) + E sp(D(G(z, y), y)), min_G E sp(-D(G(z, y), y))
    Departures: the paper's fully connected networks join hidden layers of image and label; G's loss is the
    non-saturating one; optimizer and rates are DCGAN's, since the backbones here are of its kind or younger.
    Budget: none was read
    Published: no number under a protocol that can be run here
    """

    name = "cgan"
    summary = "the label is an input of both networks"
    paper = "Mirza & Osindero 2014, arXiv:1411.1784"
    family = "conditional"
    task = "label"
    config: Config

    def build(self, parts: Parts) -> None:
        classes = parts.data.classes
        self.G = parts.generator(inputs=parts.z_dim + classes)
        self.D = parts.discriminator(channels=parts.data.shape[0] + classes, norm="batch")

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def judge(self, x: Tensor, labels: Tensor) -> Tensor:
        """Return D(x, y)."""
        code = one_hot(labels, self.data.classes).to(x.dtype)
        maps = code.view(*code.shape, *[1] * (x.ndim - 2)).expand(*code.shape, *x.shape[2:])
        output: Tensor = self.D(torch.cat([x, maps], 1))
        return output

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        """Draw one sample of each label in `cond`, of labels drawn uniformly where there is none."""
        if cond is None:
            cond = torch.randint(self.data.classes, (n,), device=self.device)
        z = self.noise(n)
        samples: Tensor = self.G(torch.cat([z, one_hot(cond, self.data.classes).to(z.dtype)], 1))
        return samples

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        real, labels = batch
        assert labels is not None
        fake = self.sample(len(real), labels).detach()
        yield Update("D", discriminator_loss(self.judge(real, labels), self.judge(fake, labels)))
        yield Update("G", nonsaturating_loss(self.judge(self.sample(len(real), labels), labels)))


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [CGAN]
