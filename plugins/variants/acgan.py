"""AC-GAN: GAN with an auxiliary classifier (Odena et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
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


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (appendix A).
    betas: of both Adams (appendix A).
    class_weight: of the class loss in D's loss; 1 in the code of WGAN-GP as well (eq. 3).
    generator_class_weight: of the class loss in G's loss; 0.1 in the code of WGAN-GP (eq. 3).
    classify_fakes: whether fakes are in D's class loss; false is what many ports do (eq. 3).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    class_weight: NonNegative = 1.0
    generator_class_weight: NonNegative = 1.0
    classify_fakes: bool = True


class ACGAN(Variant):
    """D tells real from fake (L_S, eq. 2) and names the class (L_C, eq. 3): 1 + K outputs on one trunk.

    The label stands one-hot beside z. Fakes bear the labels of the batch.

    Objective: min_D E sp(-D(x)) + E sp(D(G(z, y))) + E CE(C(x), y) + E CE(C(G(z, y)), y)
    min_G E sp(-D(G(z, y))) + E CE(C(G(z, y)), y)
    Departures: networks are those of the backbone, without the paper's dropout and noise on D's activations; batches
    are those of the comparison, where the paper's hold 100 images.
    Budget: 50,000 updates of 100 images, 5M images, for each ten classes of ImageNet (appendix A)
    Published: IS 8.25 ± 0.07 on CIFAR-10: 50,000 samples in ten splits, networks that no backbone here has (its text)
    """

    name = "acgan"
    summary = "D also classifies, and G is rewarded for images of the class asked for"
    paper = "Odena et al. 2017, arXiv:1610.09585"
    family = "conditional"
    task = "label"
    paper_images = 5_000_000
    config: Config

    def build(self, parts: Parts) -> None:
        classes = parts.data.classes
        self.G = parts.generator(inputs=parts.z_dim + classes)
        self.D = parts.discriminator(outputs=1 + classes, norm="batch")

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        """Draw one sample of each label in `cond`, of labels drawn uniformly where there is none."""
        if cond is None:
            cond = torch.randint(self.data.classes, (n,), device=self.device)
        z = self.noise(n)
        samples: Tensor = self.G(torch.cat([z, one_hot(cond, self.data.classes).to(z.dtype)], 1))
        return samples

    def judge(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the source, `[B]`, and of the classes, `[B, K]`."""
        output: Tensor = self.D(x)
        return output[:, 0], output[:, 1:]

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        real, labels = batch
        assert labels is not None
        config = self.config
        real_source, real_class = self.judge(real)
        fake_source, fake_class = self.judge(self.sample(len(real), labels).detach())
        class_loss = cross_entropy(real_class, labels)
        if config.classify_fakes:
            class_loss = class_loss + cross_entropy(fake_class, labels)
        loss = discriminator_loss(real_source, fake_source) + config.class_weight * class_loss
        accuracies = {"real_accuracy": accuracy(real_class, labels), "fake_accuracy": accuracy(fake_class, labels)}
        yield Update("D", loss, accuracies)
        source, classes = self.judge(self.sample(len(real), labels))
        yield Update("G", nonsaturating_loss(source) + config.generator_class_weight * cross_entropy(classes, labels))


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.detach().argmax(1) == labels).float().mean()


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [ACGAN]
