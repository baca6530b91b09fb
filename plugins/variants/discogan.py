"""DiscoGAN: relations between domains found by reconstruction (Kim et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast

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
    nonsaturating_loss,
    square_misfit,
)


@dataclass(frozen=True)
class Config:
    """Options. `form`: "paper" adds the two losses of eq. 4 and 5, and updates both players in each step.

    "code" is the authors' program: (1 - r)(0.1 adversarial + 0.9 feature matching) + r reconstruction, where r is 0.01
    for `start` updates of G and 0.5 afterwards; of three steps two are G's and one is D's.
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    weight_decay: NonNegative = 1e-5
    form: Literal["paper", "code"] = "paper"
    start: Count = 10_000
    width: Count = 64


class DiscoGAN(Variant):
    """G translates the source into the target and F back; each is judged, and each way back has to lead home."""

    name = "discogan"
    summary = "two translators, each undoing the other up to squared error, two discriminators"
    paper = "Kim et al. 2017, arXiv:1703.05192"
    family = "translate"
    task = "translate"
    own_architecture = True
    config: Config

    def build(self, parts: Parts) -> None:
        (channels, side, _), width = parts.data.shape, self.config.width
        self.G, self.F = translator(channels, width, side), translator(channels, width, side)
        self.D, self.D_source = Judge(channels, width, side), Judge(channels, width, side)
        self.period = 3 if self.config.form == "code" else 1

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
        return cast(Tensor, (self.F if reverse else self.G)(cond))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        y, x, code = batch.real, cast(Tensor, batch.cond), self.config.form == "code"
        if not code or clock.step % 3 == 0:
            fake_y, fake_x = self.G(x).detach(), self.F(y).detach()
            loss = discriminator_loss(self.D(y), self.D(fake_y))
            loss = loss + discriminator_loss(self.D_source(x), self.D_source(fake_x))
            yield Update("D", loss / 2 if code else loss)
        if not code or clock.step % 3 != 0:
            fake_y, fake_x = self.G(x), self.F(y)
            adversarial = nonsaturating_loss(self.D(fake_y)) + nonsaturating_loss(self.D_source(fake_x))
            home = mse_loss(self.F(fake_y), x) + mse_loss(self.G(fake_x), y)
            log = {"adversarial": adversarial.detach(), "reconstruction": home.detach()}
            if not code:
                yield Update("G", adversarial + home, log)
            else:
                matching = self.D.matching(y, fake_y) + self.D_source.matching(x, fake_x)
                share = 0.01 if clock.step - clock.step // 3 - 1 < self.config.start else 0.5
                yield Update("G", (1 - share) * (0.1 * adversarial + 0.9 * matching) + share * home, log)


class Judge(nn.Module):
    """A discriminator of whole images; what its hidden layers show on average can be matched."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        widths = widths_of(width, side)
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2))])
        for below, above in pairwise(widths):
            conv = nn.Conv2d(below, above, 4, 2, 1, bias=False)
            self.stages.append(nn.Sequential(conv, nn.BatchNorm2d(above), nn.LeakyReLU(0.2)))
        self.head = nn.Conv2d(widths[-1], 1, side // 2 ** len(widths))
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
        return cast(Tensor, self.head(self.features(x)[-1]).flatten(1).float())

    def matching(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the squared distance of mean features, averaged over each stage after the first, and summed."""
        pairs = zip(self.features(real)[1:], self.features(fake)[1:], strict=True)
        return cast(Tensor, sum((r.mean(0) - f.mean(0)).float().square().mean() for r, f in pairs))


def widths_of(width: int, side: int) -> list[int]:
    """Channels of each halving of the size, down to 2 to 7 px a side but not more than four halvings."""
    halvings = 2
    while halvings < 4 and side % 2 ** (halvings + 1) == 0 and side // 2**halvings > 4:
        halvings += 1
    return [width * 2**level for level in range(halvings)]


def translator(channels: int, width: int, side: int) -> nn.Module:
    """Make an encoder and a decoder of 4×4 convolutions with batch norm, without links between them (§3.1)."""
    widths = widths_of(width, side)
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
    for below, above in pairwise(widths):
        layers += [nn.Conv2d(below, above, 4, 2, 1, bias=False), nn.BatchNorm2d(above), nn.LeakyReLU(0.2)]
    for above, below in zip(widths[:0:-1], widths[-2::-1], strict=True):
        layers += [nn.ConvTranspose2d(above, below, 4, 2, 1, bias=False), nn.BatchNorm2d(below), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[0], channels, 4, 2, 1), nn.Tanh()).apply(draw_normal)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [DiscoGAN]
