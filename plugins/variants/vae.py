"""VAE: variational autoencoder (Kingma & Welling, 2014), to compare with: it is no GAN."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from ganbench import Batch, Clock, Fraction, Parts, Positive, Update, Variant, hookimpl


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of Adam, that of most VAEs since; the paper has Adagrad (ours).
    betas: of Adam (ours).
    deviation: of the Gaussian p(x|z) in every dimension, a tenth of the range of pixels; a small one weighs the
        reconstruction more against the divergence. The paper learns it (ours).
    """

    lr: Positive = 1e-3
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    deviation: Positive = 0.2


class VAE(Variant):
    """No GAN: encoder and decoder maximise the evidence lower bound, in nats, together. The decoder is the generator
    that all variants share. A sample is the mean of p(x|z), without the noise around it.

    Objective: min -E log p(x|z) + KL(q(z|x) ‖ N(0, I)), z = μ(x) + σ(x) ε (eq. 10, one z an image)
    Departures: a Gaussian p(x|z) of a fixed deviation, where the paper learns it for images of grey levels; Adam for
    Adagrad; convolutional networks where the backbone's are.
    Budget: the paper's is not known here
    Published: FID 23.8 ± 0.6 on MNIST, 58.7 ± 1.2 on Fashion-MNIST, 155.7 ± 11.6 on CIFAR-10 and 85.7 ± 3.8 on CelebA
    by Lucic et al. 2018, from memory, unchecked; their decoder is Bernoulli's.
    """

    name = "vae"
    summary = "no GAN: the same generator trained as a decoder by maximum likelihood"
    paper = "Kingma & Welling 2014, arXiv:1312.6114"
    family = "autoencoder"
    config: Config

    def build(self, parts: Parts) -> None:
        self.G, self.encoder = parts.generator(), parts.encoder(outputs=2 * parts.z_dim)

    def optimizers(self) -> dict[str, Optimizer]:
        return {"G": Adam([*self.G.parameters(), *self.encoder.parameters()], self.config.lr, self.config.betas)}

    def divergence(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Return E KL(q(z|x) || N(0, I)) of a diagonal Gaussian (appendix B)."""
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()

    def reconstruction(self, x: Tensor, decoded: Tensor) -> Tensor:
        """Return -E log p(x|z)."""
        errors = ((x - decoded.float()) / self.config.deviation).flatten(1)
        constant = errors.shape[1] * math.log(self.config.deviation * math.sqrt(2 * math.pi))
        return 0.5 * errors.square().sum(1).mean() + constant

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        mean, log_variance = self.encoder(batch.real).float().chunk(2, 1)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        reconstruction = self.reconstruction(batch.real, self.G(z))
        divergence = self.divergence(mean, log_variance)
        log = {"reconstruction": reconstruction.detach(), "divergence": divergence.detach()}
        yield Update("G", reconstruction + divergence, log)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [VAE]
