"""InfoGAN: codes that can be read off the image (Chen et al., 2016)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    hookimpl,
    nonsaturating_loss,
)

HIDDEN = 128


@dataclass(frozen=True)
class Config:
    """Options; codes and learning rates are those of the paper's MNIST experiment (appendix C).

    generator_lr: learning rate of G, and of Q where it is G's (launchers/run_mnist_exp.py).
    discriminator_lr: learning rate of D, and of Q where it is D's (launchers/run_mnist_exp.py).
    betas: of both Adams (infogan/algos/infogan_trainer.py).
    categories: values of the categorical code (launchers/run_mnist_exp.py).
    continuous: how many codes ~ U(-1, 1) (launchers/run_mnist_exp.py).
    categorical_weight: λ of eq. 6 for the categorical code (launchers/run_mnist_exp.py).
    continuous_weight: λ for the continuous codes, smaller than the other; 1 in launchers/run_mnist_exp.py (§6).
    deviation: "learned" lets Q name the deviation of its Gaussians (§6); "fixed" makes it 1, as the authors' program
        does (launchers/run_mnist_exp.py).
    recogniser: whose update trains Q. "G" is eq. 6, where G and Q play against D; in "D", the authors' program, D's
        loss too has the information, which trains Q and the trunk that Q shares with D
        (infogan/algos/infogan_trainer.py).
    """

    generator_lr: Positive = 1e-3
    discriminator_lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    categories: Count = 10
    continuous: Annotated[int, Ge(0)] = 2
    categorical_weight: NonNegative = 1.0
    continuous_weight: NonNegative = 0.1
    deviation: Literal["learned", "fixed"] = "learned"
    recogniser: Literal["G", "D"] = "G"


class InfoGAN(Variant):
    """Q reads from G(z, c) the code c; what it knows is a lower bound on I(c; G(z, c)) (eq. 5), which G raises (eq. 6).

    Q is two layers on D's trunk. Codes and latents are drawn anew for each update. It is trained without labels, and
    samples have random codes. Incompressible noise is from U(-1, 1), as in the authors' program.

    Objective: min_D E sp(-D(x)) + E sp(D(G(z, c))), min_{G, Q} E sp(-D(G(z, c))) - λ L_I
    L_I = E log Q(c | G(z, c)) + H(c)
    recogniser=D: min_{D, Q} E sp(-D(x)) + E sp(D(G(z, c))) - λ L_I, min_G E sp(-D(G(z, c))) - λ L_I
    Departures: defaults are the paper's game, in which D knows nothing of the codes; `recogniser=D`, `deviation=fixed`
    and `continuous_weight=1` make the authors' program, which differs from it. G ends in tanh and its noise is as wide
    as the backbone has it, where the program has a sigmoid and 62 numbers.
    Budget: 5,000 updates of 128 images on MNIST, 640,000 images (launchers/run_mnist_exp.py)
    Published: no number under a protocol that can be run here
    """

    name = "infogan"
    summary = "part of the latent code is recovered from the image"
    paper = "Chen et al. 2016, arXiv:1606.03657"
    family = "conditional"
    paper_images = 640_000
    config: Config

    def build(self, parts: Parts) -> None:
        categories, continuous = self.config.categories, self.config.continuous
        self.G = parts.generator(inputs=parts.z_dim + categories + continuous)
        self.D = parts.discriminator(norm="batch")
        assert isinstance(self.D.head, nn.Linear)
        layers = [nn.Linear(self.D.head.in_features, HIDDEN, bias=False), nn.BatchNorm1d(HIDDEN), nn.LeakyReLU(0.1)]
        means_and_deviations = continuous * (2 if self.config.deviation == "learned" else 1)
        self.Q = nn.Sequential(*layers, nn.Linear(HIDDEN, categories + means_and_deviations))

    def optimizers(self) -> dict[str, Optimizer]:
        config = self.config
        players: dict[str, list[nn.Parameter]] = {"G": list(self.G.parameters()), "D": list(self.D.parameters())}
        players[config.recogniser] += self.Q.parameters()
        return {
            "G": Adam(players["G"], config.generator_lr, config.betas),
            "D": Adam(players["D"], config.discriminator_lr, config.betas),
        }

    def noise(self, n: int) -> Tensor:
        """Draw incompressible noise ~ U(-1, 1), a one-hot category and continuous codes ~ U(-1, 1), side by side."""
        category = one_hot(torch.randint(self.config.categories, (n,), device=self.device), self.config.categories)
        noise, codes = (torch.rand(n, k, device=self.device) * 2 - 1 for k in (self.z_dim, self.config.continuous))
        return torch.cat([noise, category, codes], 1)

    def information(self, features: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return L_I = E log Q(c|x) + H(c) (eq. 5) of the categorical and of the continuous codes, in nats."""
        categories, continuous = self.config.categories, self.config.continuous
        category, codes = z[:, self.z_dim :].split([categories, continuous], 1)
        found = self.Q(features).float()
        logits, means = found[:, :categories], found[:, categories : categories + continuous]
        log_deviations = found[:, categories + continuous :] if self.config.deviation == "learned" else 0 * means
        errors = (codes - means) * (-log_deviations).exp()
        log_densities = -0.5 * errors.square() - log_deviations - 0.5 * math.log(2 * math.pi)
        categorical = (category * logits.log_softmax(1)).sum(1).mean() + math.log(categories)
        return categorical, log_densities.sum(1).mean() + continuous * math.log(2)

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n, config = len(batch.real), self.config
        z = self.noise(n)
        features = self.D.trunk(self.G(z).detach())
        loss = discriminator_loss(self.D(batch.real), self.D.head(features).float())
        if config.recogniser == "D":
            categorical, continuous = self.information(features, z)
            loss = loss - config.categorical_weight * categorical - config.continuous_weight * continuous
        yield Update("D", loss)
        z = self.noise(n)
        features = self.D.trunk(self.G(z))
        categorical, continuous = self.information(features, z)
        loss = nonsaturating_loss(self.D.head(features).float())
        loss = loss - config.categorical_weight * categorical - config.continuous_weight * continuous
        log = {"categorical_information": categorical.detach(), "continuous_information": continuous.detach()}
        yield Update("G", loss, log)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [InfoGAN]
