"""CycleGAN: unpaired translation held together by cycles (Zhu et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss
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
    Setting,
    Update,
    Variant,
    draw_normal,
    hookimpl,
    square_misfit,
)


@dataclass(frozen=True)
class Config:
    """Options.

    lr: learning rate of both players, constant for half of the budget, then falling to zero (options/train_options.py).
    betas: of both Adams (models/cycle_gan_model.py).
    cycle: λ, the weight of the way back (models/cycle_gan_model.py).
    identity: weight over λ of what a translator changes in images of its own target; 0 because the paper has it for
        paintings alone, and 0.5 in the authors' present program (models/cycle_gan_model.py).
    pool: earlier translations that D is shown in half of the cases (options/train_options.py).
    width: channels at full resolution (appendix 7.2).
    blocks: residual blocks of a translator, those of 128 px in the paper, which has 9 for 256 px (appendix 7.2).
    """

    lr: Positive = 2e-4
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    cycle: NonNegative = 10.0
    identity: NonNegative = 0.0
    pool: Count = 50
    width: Count = 64
    blocks: Count = 6


class CycleGAN(Variant):
    """G translates the source into the target, F back; D judges targets and D_source sources, by least squares (§3).

    The losses of D are halved, as in §7.1. Networks are updated in the order of the authors' program, G and F first.

    Objective: min_{G, F} E (D(G(x)) - 1)² + E (D'(F(y)) - 1)² + λ (E |F(G(x)) - x| + E |G(F(y)) - y|)
    min_{D, D'} ½ E (D(y) - 1)² + ½ E D(G(x))² + ½ E (D'(x) - 1)² + ½ E D'(F(y))²
    x of the source, y of the target, D' = D_source, |·| a mean over pixels
    Departures: batches are those of the comparison, where the paper's hold one image: `--batch 1`. Images of fewer than
    64 px get a D of fewer halvings. A batch is exchanged with places of the pool that all differ. Nothing is cropped or
    mirrored. Reflections are flips, put together: the kernel that PyTorch has for them is not deterministic on a GPU.
    Budget: 200 epochs, of whatever the data are, in batches of 1 (options/train_options.py)
    Published: no number under a protocol that can be run here
    """

    name = "cyclegan"
    summary = "two translators that undo each other, two patch discriminators, least squares"
    paper = "Zhu et al. 2017, arXiv:1703.10593"
    family = "translate"
    task = "translate"
    own_architecture = True
    one_device = "its pool of earlier translations takes up all of a batch, in an order that is drawn"
    config: Config
    pool: Tensor
    filled: Tensor

    def build(self, parts: Parts) -> None:
        (channels, side, _), c = parts.data.shape, self.config
        self.G, self.F = translator(channels, c.width, c.blocks), translator(channels, c.width, c.blocks)
        self.D, self.D_source = patches(channels, c.width, side), patches(channels, c.width, side)
        self.register_buffer("pool", torch.zeros(2, c.pool, *parts.data.shape))
        self.register_buffer("filled", torch.zeros(2, dtype=torch.int64))

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
        lr, betas = self.config.lr, self.config.betas
        translators, judges = nn.ModuleList([self.G, self.F]), nn.ModuleList([self.D, self.D_source])
        return {"G": Adam(translators.parameters(), lr, betas), "D": Adam(judges.parameters(), lr, betas)}

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Let both rates fall to zero over the second half of the budget."""
        factor = (2 * (1 - clock.progress)).clamp(max=1)
        return {"G": {"lr_factor": factor}, "D": {"lr_factor": factor}}

    def sample(self, n: int, cond: Tensor | None = None, reverse: bool = False) -> Tensor:
        """Translate source images, or target images back."""
        return cast(Tensor, (self.F if reverse else self.G)(cond))

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        y, x = batch.real, cast(Tensor, batch.cond)
        fake_y, fake_x = self.G(x), self.F(y)
        adversarial = towards(self.D(fake_y), 1) + towards(self.D_source(fake_x), 1)
        cycle = l1_loss(self.F(fake_y), x) + l1_loss(self.G(fake_x), y)
        loss = adversarial + self.config.cycle * cycle
        if self.config.identity:
            same = l1_loss(self.G(y), y) + l1_loss(self.F(x), x)
            loss = loss + self.config.cycle * self.config.identity * same
        yield Update("G", loss, {"cycle": cycle.detach(), "adversarial": adversarial.detach()})
        old_y, old_x = self.earlier(0, fake_y.detach()), self.earlier(1, fake_x.detach())
        on_y = towards(self.D(y), 1) + towards(self.D(old_y), 0)
        on_x = towards(self.D_source(x), 1) + towards(self.D_source(old_x), 0)
        yield Update("D", (on_y + on_x) / 2)

    @torch.no_grad()
    def earlier(self, side: int, fakes: Tensor) -> Tensor:
        """Return translations of which half, drawn at random, are exchanged for earlier ones (§4 of the paper).

        Until the pool is full, it takes up what it is shown, and D sees just that.
        """
        size, n = self.config.pool, min(len(fakes), self.config.pool)
        shown, pool, filled = fakes.float().clone(), self.pool[side], self.filled[side]
        free = filled + torch.arange(n, device=fakes.device)
        places = torch.where(filled < size, free % size, torch.randperm(size, device=fakes.device)[:n])
        exchanged = (filled >= size) & (torch.rand(n, device=fakes.device) < 0.5)
        kept = (free < size) | exchanged
        old, new = pool[places], shown[:n].clone()
        shown[:n] = torch.where(exchanged[:, None, None, None], old, new)
        pool[places] = torch.where(kept[:, None, None, None], new, old)
        filled.add_(n).clamp_(max=size)
        return shown


def towards(outputs: Tensor, target: float) -> Tensor:
    """Return the mean squared distance of D's outputs to a target."""
    return (outputs.float() - target).square().mean()


class Block(nn.Module):
    """Two 3×3 convolutions with instance norm, added to their input (Johnson et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*convolution(width, width, 3), nn.ReLU(), *convolution(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Return x + F(x)."""
        return cast(Tensor, x + self.layers(x))


class Reflection(nn.Module):
    """Mirror maps at their edges, as `nn.ReflectionPad2d` does, by what is deterministic on every device."""

    def __init__(self, margin: int) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, x: Tensor) -> Tensor:
        """Return maps that are larger by the margin on each side."""
        for axis in (-1, -2):
            side = x.shape[axis]
            before, after = x.narrow(axis, 1, self.margin), x.narrow(axis, side - 1 - self.margin, self.margin)
            x = torch.cat([before.flip(axis), x, after.flip(axis)], axis)
        return x


def reflected(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """A convolution that keeps the size by reflection."""
    return [Reflection(kernel // 2), nn.Conv2d(inputs, outputs, kernel)]


def convolution(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """A convolution that keeps the size by reflection, and instance norm."""
    return [*reflected(inputs, outputs, kernel), nn.InstanceNorm2d(outputs)]


def translator(channels: int, width: int, blocks: int) -> nn.Module:
    """Make the network of the paper's appendix 7.2: down to a quarter of the size, residual blocks, up again."""
    w = width
    layers = [*convolution(channels, w, 7), nn.ReLU()]
    for below in (w, 2 * w):
        layers += [nn.Conv2d(below, 2 * below, 3, 2, 1), nn.InstanceNorm2d(2 * below), nn.ReLU()]
    layers += [Block(4 * w) for _ in range(blocks)]
    for above in (4 * w, 2 * w):
        layers += [nn.ConvTranspose2d(above, above // 2, 3, 2, 1, output_padding=1)]
        layers += [nn.InstanceNorm2d(above // 2), nn.ReLU()]
    return nn.Sequential(*layers, *reflected(w, channels, 7), nn.Tanh()).apply(draw_normal)


def patches(channels: int, width: int, side: int) -> nn.Module:
    """Make the paper's discriminator of overlapping patches; of small images it halves the size less than three times.

    Its patches are of 70 px where images are of 64 px or more. Batches of one image are why norms are by instance.
    """
    halvings = 3 if side >= 64 else 2 if side >= 16 else 1
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for level in range(1, halvings + 1):
        stride = 2 if level < halvings else 1
        below, above = width * 2 ** (level - 1), width * 2**level
        layers += [nn.Conv2d(below, above, 4, stride, 1), nn.InstanceNorm2d(above), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(width * 2**halvings, 1, 4, 1, 1)).apply(draw_normal)


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [CycleGAN]
