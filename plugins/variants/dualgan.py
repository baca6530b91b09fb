"""DualGAN: unpaired translation by two Wasserstein critics and dual reconstruction (Yi et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, l1_loss
from torch.optim import Optimizer, RMSprop

from ganbench import (
    Batch,
    Clock,
    Count,
    DataSpec,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    draw_truncated,
    gradient_penalty,
    hookimpl,
    square_misfit,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players' RMSprop (main.py).
    decay: of RMSprop's running mean of squared gradients (model.py).
    reconstruction: λ of both domains, the weight of the way back; 1000 in README.md's examples (main.py).
    critic_steps: updates of the critics for each of the translators; 1 in main.py (Algorithm 1).
    lipschitz: "clip" holds the critics' weights within `clip`, as the paper does; "penalty" is the choice of the
        authors' present program, which goes with `critic_steps=1` (model.py and main.py).
    clip: bound of the critics' weights (main.py).
    penalty: weight of the gradient penalty (model.py).
    width: channels at half the resolution, doubled at every halving, in a translator up to eightfold (main.py).
    """

    lr: Positive = 5e-5
    decay: Positive = 0.9
    reconstruction: NonNegative = 500.0
    critic_steps: Count = 3
    lipschitz: Literal["clip", "penalty"] = "clip"
    clip: Positive = 0.01
    penalty: NonNegative = 10.0
    width: Count = 64


class DualGAN(Variant):
    """G translates the source into the target and F back, each against a critic (eq. 1 to 3); dropout is their noise.

    The critics are updated `critic_steps` times for each update of G and F, each time on other images (Algorithm 1).
    All norms are of single images: the program's "batch norm" takes its moments over pixels alone (ops.py).

    Objective: max_{D, D'} E D(y) - E D(G(x)) + E D'(x) - E D'(F(y)), weights clipped, or gradients penalised
    min_{G, F} λ (E |F(G(x)) - x| + E |G(F(y)) - y|) - E D(G(x)) - E D'(F(y))
    x of the source, y of the target, D' = D_source, |·| a mean over pixels
    Departures: kernels are 4×4 of stride 2 and critics judge patches, of halvings as many as the size allows, where the
    program has 3×3 kernels, 5×5 in first and last layers, eight halvings of 256 px and, by default, critics of whole
    images. The program's default is no dropout, and it mirrors images at random; here half of the first two doublings
    is dropped (the paper's noise), also when sampling, and nothing is mirrored.
    Budget: the program's default is 50 epochs, of whatever its data are, in batches of 1; its README has 100 (main.py)
    Published: no number under a protocol that can be run here
    """

    name = "dualgan"
    summary = "two translators with links and dropout, two Wasserstein critics, absolute error of the way back"
    paper = "Yi et al. 2017, arXiv:1704.02510"
    family = "translate"
    task = "translate"
    own_architecture = True
    config: Config

    def build(self, parts: Parts) -> None:
        (channels, side, _), width = parts.data.shape, self.config.width
        self.G, self.F = UNet(channels, width, side), UNet(channels, width, side)
        self.D, self.D_source = critic(channels, width, side), critic(channels, width, side)
        self.period = self.config.critic_steps

    @classmethod
    def misfit(cls, data: DataSpec) -> str | None:
        """Return why this variant cannot be trained on `data`, or None."""
        return super().misfit(data) or square_misfit(
            cls.name,
            data,
            sides="8 px or more with a side divisible by 4",
            fits=lambda side: side >= 8 and side % 4 == 0,
        )

    def optimizers(self) -> dict[str, Optimizer]:
        c = self.config
        translators, critics = nn.ModuleList([self.G, self.F]), nn.ModuleList([self.D, self.D_source])
        judging = RMSprop(critics.parameters(), c.lr, alpha=c.decay)
        if c.lipschitz == "clip":
            judging.register_step_post_hook(self.clip_critics)
        return {"G": RMSprop(translators.parameters(), c.lr, alpha=c.decay), "D": judging}

    @torch.no_grad()
    def clip_critics(self, *_: Any) -> None:
        """Clip the critics' parameters."""
        for parameter in (*self.D.parameters(), *self.D_source.parameters()):
            parameter.clamp_(-self.config.clip, self.config.clip)

    def sample(self, n: int, cond: Tensor | None = None, reverse: bool = False) -> Tensor:
        """Translate source images, or target images back; dropout stays on."""
        return cast(Tensor, (self.F if reverse else self.G)(cond))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        y, x, c = batch.real, cast(Tensor, batch.cond), self.config
        fake_y, fake_x = self.G(x).detach(), self.F(y).detach()
        gap = mean(self.D(y)) - mean(self.D(fake_y)) + mean(self.D_source(x)) - mean(self.D_source(fake_x))
        loss, log = -gap, {"wasserstein": gap.detach()}
        if c.lipschitz == "penalty":
            penalty = gradient_penalty(per_image(self.D), y, fake_y) + gradient_penalty(
                per_image(self.D_source), x, fake_x
            )
            loss, log = loss + c.penalty * penalty, {**log, "penalty": penalty.detach()}
        yield Update("D", loss, log)
        if (clock.step + 1) % c.critic_steps == 0:
            fake_y, fake_x = self.G(x), self.F(y)
            back = l1_loss(self.F(fake_y), x) + l1_loss(self.G(fake_x), y)
            fooled = mean(self.D(fake_y)) + mean(self.D_source(fake_x))
            yield Update("G", c.reconstruction * back - fooled, {"reconstruction": back.detach()})


def mean(outputs: Tensor) -> Tensor:
    """Return the mean over images and patches, in float32."""
    return outputs.float().mean()


def per_image(network: nn.Module) -> Any:
    """Return a critic whose output is one number an image, the mean over its patches."""
    return lambda x: network(x).flatten(1).mean(1)


def norm_of_images(channels: int) -> nn.Module:
    """Make the norm of each map of each image over its pixels, whatever the batch, as the program does (ops.py)."""
    norm = nn.InstanceNorm2d(channels, eps=1e-6, affine=True)
    nn.init.normal_(norm.weight, 1, 0.02)
    return norm


class UNet(nn.Module):
    """Halvings and doublings of the size with links between equals; dropout in the first doublings is the noise."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        levels = 2
        while levels < 5 and side % 2 ** (levels + 1) == 0 and side // 2**levels > 2:
            levels += 1
        widths = [channels, *(width * min(8, 2**level) for level in range(levels))]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level in range(levels):
            normalised = [norm_of_images(widths[level + 1])] if level else []
            activation = [nn.LeakyReLU(0.2)] if level else []
            conv = nn.Conv2d(widths[level], widths[level + 1], 4, 2, 1)
            self.down.append(nn.Sequential(*activation, conv, *normalised))
        for level in reversed(range(levels)):
            inputs = widths[level + 1] * (1 if level == levels - 1 else 2)
            normalised = [norm_of_images(widths[level])] if level else []
            self.up.append(nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(inputs, widths[level], 4, 2, 1), *normalised))
        self.apply(draw_truncated)

    def forward(self, x: Tensor) -> Tensor:
        """Map images to images in [-1, 1]."""
        links = []
        for layer in self.down:
            x = layer(x)
            links.append(x)
        x = links.pop()
        for number, layer in enumerate(self.up):
            x = layer(x)
            if links:
                x = dropout(x, 0.5, training=True) if number < 2 else x
                x = torch.cat([x, links.pop()], 1)
        return x.tanh()


def critic(channels: int, width: int, side: int) -> nn.Module:
    """Make a critic of patches."""
    halvings = 3 if side >= 64 else 2 if side >= 16 else 1
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for level in range(1, halvings):
        below, above = width * 2 ** (level - 1), width * 2**level
        layers += [nn.Conv2d(below, above, 4, 2, 1), norm_of_images(above), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(width * 2 ** (halvings - 1), 1, 3, 1, 1)).apply(draw_truncated)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [DualGAN]
