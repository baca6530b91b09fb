"""cGAN with a projection discriminator (Miyato & Koyama, 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import embedding
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    Discriminator,
    Fraction,
    Parts,
    Positive,
    Setting,
    Update,
    UserError,
    Variant,
    hinge_discriminator_loss,
    hookimpl,
)


@dataclass(frozen=True)
class Config:
    """Options; the defaults are those of the paper's ImageNet experiment.

    lr: learning rate of both players (configs/sn_projection.yml).
    betas: of both Adams (configs/sn_projection.yml).
    critic_steps: updates of D for each of G (configs/sn_projection.yml).
    decay_from: the share of the budget after which learning rates fall linearly to 0; 400,000 of 450,000 updates there,
        and 0 for CIFAR-10 (configs/sn_projection.yml, configs/sn_cifar10.yml).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    critic_steps: Count = 5
    decay_from: Fraction = 8 / 9


class ConditionalNorm(nn.Module):
    """Batch norm with a scale and a shift for each class (Dumoulin et al. 2017), all equal at first.

    `labels` never changes: `functional_call` puts the labels of a batch in its place for one pass.
    """

    labels: Tensor

    def __init__(self, norm: _BatchNorm, classes: int) -> None:
        super().__init__()
        self.norm = type(norm)(norm.num_features, norm.eps, norm.momentum, affine=False)
        self.scale = nn.Parameter(norm.weight.detach().repeat(classes, 1))
        self.shift = nn.Parameter(norm.bias.detach().repeat(classes, 1))
        self.register_buffer("labels", torch.zeros(1, dtype=torch.int64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        per_channel = (-1, x.shape[1], *[1] * (x.ndim - 2))
        scale, shift = (embedding(self.labels, table).view(per_channel) for table in (self.scale, self.shift))
        output: Tensor = self.norm(x) * scale + shift
        return output


class Projection(nn.Module):
    """D(x, y) = v_yᵀ φ(x) + ψ(φ(x)) (§3 of the paper), the embedding v spectrally normalised like all weights."""

    def __init__(self, network: Discriminator, classes: int) -> None:
        super().__init__()
        assert isinstance(network.head, nn.Linear)
        self.network = network
        self.classes = nn.Embedding(classes, network.head.in_features)
        nn.init.xavier_uniform_(self.classes.weight)
        spectral_norm(self.classes)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        features = self.network.trunk(x)
        output: Tensor = self.network.head(features).float().squeeze(1) + (self.classes(labels) * features).sum(1)
        return output


class ProjectionGAN(Variant):
    """D projects its features on an embedding of the label; G is told the label in its batch norms. The loss is hinge.

    All of D's weights, the embedding's among them, are spectrally normalised. Fakes bear the labels of the batch.

    Objective: min_D E max(0, 1 - D(x, y)) + E max(0, 1 + D(G(z, y), y)), min_G -E D(G(z, y), y)
    D(x, y) = v_yᵀ φ(x) + ψ(φ(x))
    Departures: the authors' program draws labels of fakes uniformly; here D need not learn the prior of the classes. It
    gives G twice D's batch, here both have one size. G moves after D's five updates, there before them. Networks are
    those of the backbone.
    Budget: 450,000 updates of G, five of D for each, of 64 images: 144M images (configs/sn_projection.yml on four GPUs)
    Published: IS 29.7 on ImageNet at 128 px, after that budget (README_paper.md)
    IS 36.8 on the same, after 850,000 updates of G (README_paper.md)
    FID 10.84 ± 0.03, IS 8.25 ± 0.13 on CIFAR-10, 50,000 against 50,000 training images (kwotsin/mimicry, README.md)
    """

    name = "projection"
    summary = "projection discriminator and class-conditional batch norm, hinge loss"
    paper = "Miyato & Koyama 2018, arXiv:1802.05637"
    family = "conditional"
    task = "label"
    paper_images = 144_000_000
    config: Config

    def build(self, parts: Parts) -> None:
        self.G = parts.generator()
        if not condition(self.G, parts.data.classes):
            raise UserError("projection tells G the label in its batch norms, and this backbone's generator has none")
        self.D = Projection(parts.discriminator(norm="spectral"), parts.data.classes)
        self.period = self.config.critic_steps

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Fall linearly to 0 from `decay_from` on."""
        factor = ((1 - clock.progress) / (1 - self.config.decay_from)).clamp(max=1)
        return {"G": {"lr_factor": factor}, "D": {"lr_factor": factor}}

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        """Draw one sample of each label in `cond`, of labels drawn uniformly where there is none."""
        if cond is None:
            cond = torch.randint(self.data.classes, (n,), device=self.device)
        labels = {name: cond for name, _ in self.G.named_buffers() if name.endswith("labels")}
        samples: Tensor = functional_call(self.G, labels, (self.noise(n),))
        return samples

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        real, labels = batch
        assert labels is not None
        fake = self.sample(len(real), labels).detach()
        on_real, on_fake = self.D(real, labels), self.D(fake, labels)
        yield Update("D", hinge_discriminator_loss(on_real, on_fake))
        if (clock.step + 1) % self.config.critic_steps == 0:
            yield Update("G", -self.D(self.sample(len(real), labels), labels).mean())


def condition(network: nn.Module, classes: int) -> int:
    """Replace every batch norm of a network by a conditional one, and return how many there were."""
    found = 0
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            setattr(network, name, ConditionalNorm(child, classes))
            found += 1
        else:
            found += condition(child, classes)
    return found


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [ProjectionGAN]
