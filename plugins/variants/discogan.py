"""DiscoGAN: relations between domains found by reconstruction (Kim et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Count,
    DataSpec,
    Fraction,
    NonNegative,
    Parts,
    Positive,
    Update,
    Variant,
    discriminator_loss,
    draw_normal,
    hookimpl,
    mean_over_ranks,
    nonsaturating_loss,
    square_misfit,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players (discogan/image_translation.py).
    betas: of both Adams (discogan/image_translation.py).
    weight_decay: of both Adams, added to the gradients (discogan/image_translation.py).
    form: "paper" adds the two losses of eq. 4 and 5 and updates both players in each step; "code" is the authors'
        program: its losses, its schedule, its pixels and its networks, as told above (discogan/image_translation.py
        and discogan/model.py).
    start: steps of "code", of either player, after which reconstruction weighs 0.5 and no longer 0.01
        (`gan_curriculum` in discogan/image_translation.py).
    width: channels at half the resolution, doubled at every halving (discogan/model.py).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    weight_decay: NonNegative = 1e-5
    form: Literal["paper", "code"] = "paper"
    start: Count = 10_000
    width: Count = 64


class DiscoGAN(Variant):
    """G translates the source into the target and F back; each is judged, and each way back has to lead home.

    In the form "code" both players' networks have no biases and PyTorch's initial weights. Their pixels are in [0, 1]:
    images are mapped by (x + 1) / 2 before networks and losses see them, translators end in a sigmoid, and samples are
    mapped back. One step of three is D's, the other two are G's.

    Objective: min_{D, D'} E sp(-D(y)) + E sp(D(G(x))) + E sp(-D'(x)) + E sp(D'(F(y)))
    min_{G, F} a + h, a = E sp(-D(G(x))) + E sp(-D'(F(y))), h = E |F(G(x)) - x|² + E |G(F(y)) - y|²
    form=code: min_{D, D'} half of that, min_{G, F} (1 - r) (0.1 a + 0.9 m) + r h, r = 0.01, later 0.5
    m = Σ |E φ(y) - E φ(G(x))|² + Σ |E φ'(x) - E φ'(F(y))|² over the stages φ of D and φ' of D' but the first
    x of the source, y of the target, D' = D_source, |·|² a mean over pixels or features
    Departures: networks are the program's for 64 px; other sizes get two to four halvings. "paper" draws weights from
    N(0, 0.02), as most GANs do, has biases where no norm follows, and ends in tanh, for images in [-1, 1] (ours).
    Budget: the program stops after 5,000 epochs, of whatever its data are, in batches of 64
    (discogan/image_translation.py)
    Published: no number under a protocol that can be run here
    """

    name = "discogan"
    summary = "two translators, each undoing the other up to squared error, two discriminators"
    paper = "Kim et al. 2017, arXiv:1703.05192"
    family = "translate"
    task = "translate"
    own_architecture = True
    config: Config
    steps: Tensor

    def build(self, parts: Parts) -> None:
        (channels, side, _), width, code = parts.data.shape, self.config.width, self.config.form == "code"
        self.G, self.F = translator(channels, width, side, code), translator(channels, width, side, code)
        self.D, self.D_source = Judge(channels, width, side, code), Judge(channels, width, side, code)
        self.period = 3 if code else 1
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

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
        sides = {"G": nn.ModuleList([self.G, self.F]), "D": nn.ModuleList([self.D, self.D_source])}
        return {
            player: Adam(of.parameters(), c.lr, c.betas, weight_decay=c.weight_decay) for player, of in sides.items()
        }

    def sample(self, n: int, cond: Tensor | None = None, reverse: bool = False) -> Tensor:
        """Translate source images, or target images back."""
        translated = cast(Tensor, (self.F if reverse else self.G)(self.pixels(cast(Tensor, cond))))
        return 2 * translated - 1 if self.config.form == "code" else translated

    def pixels(self, images: Tensor) -> Tensor:
        """Return images as the networks see and make them: in [0, 1] in the form "code", else as they are."""
        return (images + 1) / 2 if self.config.form == "code" else images

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        code = self.config.form == "code"
        y, x = self.pixels(batch.real), self.pixels(cast(Tensor, batch.cond))
        if not code or clock.step % 3 == 0:
            fake_y, fake_x = self.G(x).detach(), self.F(y).detach()
            loss = discriminator_loss(self.D(y), self.D(fake_y))
            loss = loss + discriminator_loss(self.D_source(x), self.D_source(fake_x))
            yield Update("D", loss / 2 if code else loss)
        if not code or clock.step % 3 != 0:
            fake_y, fake_x = self.G(x), self.F(y)
            home = mse_loss(self.F(fake_y), x) + mse_loss(self.G(fake_x), y)
            if code:
                (on_y, gap_y), (on_x, gap_x) = self.D.compare(y, fake_y), self.D_source.compare(x, fake_x)
                adversarial = nonsaturating_loss(on_y) + nonsaturating_loss(on_x)
                share = torch.where(self.steps < self.config.start, 0.01, 0.5)
                loss = (1 - share) * (0.1 * adversarial + 0.9 * (gap_y + gap_x)) + share * home
            else:
                adversarial = nonsaturating_loss(self.D(fake_y)) + nonsaturating_loss(self.D_source(fake_x))
                loss = adversarial + home
            yield Update("G", loss, {"adversarial": adversarial.detach(), "reconstruction": home.detach()})
        self.steps.add_(1)


class Judge(nn.Module):
    """A discriminator of whole images; what its hidden layers show on average can be matched."""

    def __init__(self, channels: int, width: int, side: int, code: bool) -> None:
        super().__init__()
        widths = widths_of(width, side)
        first = nn.Conv2d(channels, widths[0], 4, 2, 1, bias=not code)
        self.stages = nn.ModuleList([nn.Sequential(first, nn.LeakyReLU(0.2))])
        for below, above in pairwise(widths):
            conv = nn.Conv2d(below, above, 4, 2, 1, bias=False)
            self.stages.append(nn.Sequential(conv, nn.BatchNorm2d(above), nn.LeakyReLU(0.2)))
        self.head = nn.Conv2d(widths[-1], 1, side // 2 ** len(widths), bias=not code)
        if not code:
            self.apply(draw_normal)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return what each stage makes of images."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[B, 1]`."""
        return self.logits(self.features(x))

    def compare(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of `fake`, and the squared distance of mean features from those of `real`.

        It is averaged over each stage after the first, and summed.
        """
        of_real, of_fake = self.features(real), self.features(fake)
        pairs = zip(of_real[1:], of_fake[1:], strict=True)
        distance = sum(mean_over_ranks(r.mean(0) - f.mean(0)).float().square().mean() for r, f in pairs)
        return self.logits(of_fake), cast(Tensor, distance)

    def logits(self, features: list[Tensor]) -> Tensor:
        return cast(Tensor, self.head(features[-1]).flatten(1).float())


def widths_of(width: int, side: int) -> list[int]:
    """Channels of each halving of the size, down to 2 to 7 px a side but not more than four halvings."""
    halvings = 2
    while halvings < 4 and side % 2 ** (halvings + 1) == 0 and side // 2**halvings > 4:
        halvings += 1
    return [width * 2**level for level in range(halvings)]


def translator(channels: int, width: int, side: int, code: bool) -> nn.Module:
    """Make an encoder and a decoder of 4×4 convolutions with batch norm, without links between them (§3.1)."""
    widths = widths_of(width, side)
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1, bias=not code), nn.LeakyReLU(0.2)]
    for below, above in pairwise(widths):
        layers += [nn.Conv2d(below, above, 4, 2, 1, bias=False), nn.BatchNorm2d(above), nn.LeakyReLU(0.2)]
    for above, below in zip(widths[:0:-1], widths[-2::-1], strict=True):
        layers += [nn.ConvTranspose2d(above, below, 4, 2, 1, bias=False), nn.BatchNorm2d(below), nn.ReLU()]
    layers.append(nn.ConvTranspose2d(widths[0], channels, 4, 2, 1, bias=not code))
    if code:
        return nn.Sequential(*layers, nn.Sigmoid())
    return nn.Sequential(*layers, nn.Tanh()).apply(draw_normal)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [DiscoGAN]
