"""An example plugin: a GAN with the hinge loss, striped images, and the difference in brightness."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import relu
from torch.optim import Adam, Optimizer

from ganbench import (
    Batch,
    Clock,
    Dataset,
    Fraction,
    ImageSet,
    Metric,
    NonNegative,
    Parts,
    Positive,
    Scene,
    Splits,
    Update,
    UserError,
    Value,
    Variant,
    digest,
    hookimpl,
    to_uint8,
)


@dataclass(frozen=True)
class HingeConfig:
    """Options of the variant, for `--set example-hinge.lr=1e-4`."""

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)


class Hinge(Variant):
    """D pushes real above 1 and fake below -1, and no further (Lim & Ye 2017); spectral norm keeps it smooth."""

    name = "example-hinge"
    summary = "hinge loss with a spectrally normalised discriminator"
    paper = "Lim & Ye 2017, arXiv:1705.02894"
    config: HingeConfig

    def build(self, parts: Parts) -> None:
        self.G, self.D = parts.generator(), parts.discriminator(norm="spectral")

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        n = len(batch.real)
        fake = self.sample(n).detach()
        yield Update("D", relu(1 - self.D(batch.real)).mean() + relu(1 + self.D(fake)).mean())
        yield Update("G", -self.D(self.sample(n)).mean())


@dataclass(frozen=True)
class StripesConfig:
    """Options of the data set. `width` of a stripe in pixels; `noise`: its standard deviation, in [-1, 1] units."""

    width: Positive = 3.0
    noise: NonNegative = 0.05


class Stripes(Dataset):
    """Grey sine waves in four directions, their class, at any phase."""

    name, summary = "example-stripes", "made on the spot: 5,120 grey images of stripes, 16×16, 4 classes (directions)"
    size = 16
    budget = "20k-images"
    metrics = ("example-brightness", "ms-ssim")
    config: StripesConfig = StripesConfig()

    def load(self, root: Path, size: int) -> Splits:
        if not 8 <= size <= 128:
            raise UserError(f"{self.name} comes at 8 to 128 pixels a side, but {size} was asked for")
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(5120) % 4
        angle, phase = labels * (math.pi / 4), torch.rand(5120, generator=generator) * (2 * math.pi)
        x = torch.arange(size)
        across = x * angle.cos().view(-1, 1, 1, 1) + x.view(-1, 1) * angle.sin().view(-1, 1, 1, 1)
        waves = (across * (math.pi / self.config.width) + phase.view(-1, 1, 1, 1)).sin()
        noise = torch.randn(waves.shape, generator=generator) * self.config.noise
        images = to_uint8((0.9 * waves + noise).clamp(-1, 1))
        protocol = {"width": self.config.width, "noise": self.config.noise, "size": size}
        train, test = ImageSet(images[:4096], labels[:4096]), ImageSet(images[4096:], labels[4096:])
        return Splits(train, test, digest([self.name, protocol]), protocol)


def brightness(scene: Scene) -> Mapping[str, Value]:
    """Return by how much the mean brightness of generated images differs from that of real ones, of 255."""
    fake, real = (features.images.double().mean() for features in (scene.fake, scene.real))
    return {"example-brightness": Value(float((fake - real).abs()), {"unit": "grey levels of 255"})}


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [Hinge]


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [Stripes()]


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="example-brightness",
            compute=brightness,
            summary="difference in mean brightness, of 255",
            higher_is_better=False,
            needs=frozenset({"images"}),
        )
    ]
