"""R3GAN: relativistic pairs, R1 and R2, and plain residual networks (Huang et al., 2024)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu, softplus
from torch.optim import Adam, Optimizer

from ganbench import (
    Augmentation,
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
    UserError,
    Variant,
    hookimpl,
    square_misfit,
    squared_jacobian_norms,
)

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear, nn.Embedding)


class Recipe(NamedTuple):
    """What changes from one data set to the next; `Config` says what the fields mean."""

    width: int
    growth: int
    group: int
    penalty: float
    last_penalty: float
    half_life: float
    augment: float
    burn_in: float
    mirror: bool = True
    blocks: int = 2
    last_lr: float = 5e-5


RECIPES = {
    "small": Recipe(32, 8, 16, 0.05, 0.005, 5e6, 0.0, 0.1, mirror=False, blocks=1),
    "cifar10": Recipe(768, 1, 16, 0.05, 0.005, 5e6, 0.55, 0.08),
    "ffhq64": Recipe(384, 2, 16, 2.0, 0.2, 5e5, 0.3, 0.1),
    "ffhq256": Recipe(96, 8, 16, 150.0, 15.0, 5e5, 0.3, 0.1),
    "imagenet32": Recipe(1536, 1, 32, 0.5, 0.05, 5e7, 0.5, 0.2),
    "imagenet64": Recipe(1536, 1, 32, 1.0, 0.1, 5e7, 0.4, 0.2),
    "stacked-mnist": Recipe(768, 1, 16, 1.0, 0.1, 5e5, 0.0, 0.2, mirror=False, last_lr=2e-4),
}
"""As in the authors' `train.py`, the last one as in table 9; `small` is ours, with the penalty of CIFAR-10."""


@dataclass(frozen=True)
class Config:
    """Options.

    network: the data set whose networks and settings are taken as published, or `small`, a narrow net for two
        cores with the penalty of CIFAR-10 (ours). What is `none` below comes from it, unless set (train.py, table 9).
    width: channels at the full resolution; 32 in `small`, 768 for CIFAR-10 and Stacked-MNIST, 384 and 96 for FFHQ at
        64 and 256 px, 1536 for ImageNet (train.py, table 9).
    growth: how many times as wide deeper stages become at most, each halving doubles them; 8 in `small`, 2 and 8 for
        FFHQ at 64 and 256 px, else 1 (train.py).
    blocks: residual blocks of a stage; 2, but 1 in `small` (train.py).
    group: channels of a group of the 3×3 convolutions, which have twice the stage's; 16, but 32 for ImageNet
        (train.py).
    z_dim: numbers of a latent (train.py).
    lr: learning rate of both players at first (train.py).
    last_lr: learning rate after the burn-in, to which a cosine leads, as it does in all that follows; 5e-5, but 2e-4
        for Stacked-MNIST (train.py, table 9).
    betas: Adam's, after the burn-in (train.py).
    first_beta: Adam's second beta at first (train.py).
    penalty: γ at first; 0.05, for FFHQ 2 and 150, for ImageNet 0.5 and 1, for Stacked-MNIST 1 (train.py, table 9).
    last_penalty: γ after the burn-in; a tenth of the first (train.py, table 9).
    half_life: of averaged weights after the burn-in, 0 at first, in images of one player: the harness serves two
        players. 5M, but 500k for FFHQ and Stacked-MNIST, 50M for ImageNet (train.py, table 9).
    augment: probability of augmentation after the burn-in, 0 at first; 0.55 for CIFAR-10, 0.3 for FFHQ, 0.5 and 0.4 for
        ImageNet, else 0 (train.py).
    mirror: whether real images are mirrored by the toss of a coin; not in `small` and for Stacked-MNIST (README).
    burn_in: share of the budget; 0.08 for CIFAR-10, 20M of 250M images, 0.2 for ImageNet and Stacked-MNIST, else 0.1,
        as for FFHQ at 256 px, 20M of 200M (table 9, appendix D).
    """

    network: Literal["small", "cifar10", "ffhq64", "ffhq256", "imagenet32", "imagenet64", "stacked-mnist"] = "small"
    width: Count | None = None
    growth: Count | None = None
    blocks: Count | None = None
    group: Count | None = None
    z_dim: Count = 64
    lr: Positive = 2e-4
    last_lr: Positive | None = None
    betas: tuple[Fraction, Fraction] = (0.0, 0.99)
    first_beta: Fraction = 0.9
    penalty: NonNegative | None = None
    last_penalty: NonNegative | None = None
    half_life: NonNegative | None = None
    augment: Fraction | None = None
    mirror: bool | None = None
    burn_in: Fraction | None = None


class R3GAN(Variant):
    """RpGAN with zero-centred penalties on data and samples in every step, and networks without any normalisation.

    Its blocks are those of ResNeXt, drawn so that each is the identity at first. G's step meets other real images than
    D's. Samples come from averaged weights. On points, where there is nothing to convolve, the networks are the
    backbone's, without norm.

    Objective: min_D E ℓ(D(G(z)) - D(x)) + γ/2 (E‖∇D(x)‖² + E‖∇D(G(z))‖²), min_G E ℓ(D(x) - D(G(z))), ℓ = softplus
    Departures: The default is `small`, without augmentation and mirroring. D's step is float32 always, G's unless asked
    for otherwise, where the authors' networks are bfloat16 but for the smallest maps. The half-life of averaged weights
    is at most a twentieth of the images served, which binds for the first 100M of a player on CIFAR-10. Flips, quarter
    turns and whole shifts are exact in augmentation, and images are mirrored at their edges without end. Smallest maps
    of 4 to 7 px, where the authors' are 4, let other sides than powers of two in.
    Budget: 488,000 updates of 512 images a player, 250M (table 9); both players' are counted here, 500M
    Published: FID 1.96 on CIFAR-10, with labels, 250M images (table 6): `r3gan-cond`
    Published: FID 1.27 on ImageNet at 32 px, with labels; 2.09 at 64 px (table 6): `r3gan-cond`
    Published: FID 1.95 on FFHQ at 64 px, 2.75 at 256 px (table 6)
    Published: 1000 modes and KL 0.029 on Stacked-MNIST, 10M images (table 3)
    """

    name = "r3gan"
    summary = "relativistic pairs with two zero-centred penalties, on plain residual networks"
    paper = "Huang et al. 2024, arXiv:2501.05441"
    family = "regulariser"
    own_architecture = True
    ema_half_life_images = 10_000_000.0
    paper_images = 500_000_000
    config: Config
    D: nn.Module

    @classmethod
    def misfit(cls, data: DataSpec) -> str | None:
        """Return why these networks cannot be made for `data`, or None."""
        if reason := super().misfit(data):
            return reason
        if not data.is_image and cls.task == "generate":
            return None  # points have the backbone's networks
        sides = "8 px or more with a side divisible by 4"
        return square_misfit(cls.name, data, sides=sides, fits=lambda side: side >= 8 and side % 4 == 0)

    def build(self, parts: Parts) -> None:
        c = self.config
        given = {field: getattr(c, field) for field in Recipe._fields if getattr(c, field) is not None}
        self.recipe = r = RECIPES[c.network]._replace(**given)
        self.classes = parts.data.classes if self.task == "label" else 0
        self.augmentation: Augmentation | None = None
        if not parts.data.is_image:
            if c.augment or c.mirror:
                raise UserError("points can be neither augmented nor mirrored: leave `augment` and `mirror` out")
            self.G, self.D = parts.generator(), parts.discriminator(norm="none")
            return
        if 2 * r.width % min(r.group, 2 * r.width):
            raise UserError(
                f"width={r.width} makes 3×3 convolutions of {2 * r.width} channels and more, which groups of {r.group} "
                f"do not divide; choose another width or group"
            )
        channels, side, _ = parts.data.shape
        self.z_dim, halvings = c.z_dim, halvings_of(side)
        widths = [r.width * min(r.growth, 2**level) for level in range(halvings + 1)]
        self.G = Generator(channels, side // 2**halvings, widths, r, c.z_dim, self.classes)
        self.D = Discriminator(channels, side // 2**halvings, widths, r, self.classes)
        if r.augment:
            self.augmentation = Augmentation(parts.data.shape)

    def images_per_step(self, batch: int) -> int:
        """Return the size of two batches, one for each player."""
        return 2 * batch

    def optimizers(self) -> dict[str, Optimizer]:
        lr, betas = self.config.lr, self.config.betas
        return {"G": Adam(self.G.parameters(), lr, betas), "D": Adam(self.D.parameters(), lr, betas)}

    def between(self, first: float, last: float, clock: Clock) -> Tensor:
        """Return what lies between the values at the start and after the burn-in, by a cosine."""
        share = (clock.progress / max(self.recipe.burn_in, 1e-6)).clamp(max=1)
        return last + (first - last) * 0.5 * (1 + (math.pi * share).cos())

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        c, r = self.config, self.recipe
        lr, beta = self.between(c.lr, r.last_lr, clock), self.between(c.first_beta, c.betas[1], clock)
        player: Mapping[str, Setting] = {"lr": lr, "betas": (c.betas[0], beta)}
        # Twice, because the images of both players are counted, which the authors count once.
        return {"G": player, "D": player, "ema": {"half_life_images": self.between(0, 2 * r.half_life, clock)}}

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        """Draw one sample of each label in `cond`, or of uniform labels; `r3gan` looks at no labels."""
        z = self.noise(n)
        if not self.classes:
            return cast(Tensor, self.G(z))
        labels = torch.randint(self.classes, (n,), device=self.device) if cond is None else cond
        return cast(Tensor, self.G(z, labels))

    def judge(self, x: Tensor, labels: Tensor | None, clock: Clock) -> Tensor:
        """Return D's raw output for augmented images, `[B, 1]` in float32."""
        if self.augmentation is not None:
            x = self.augmentation(x, self.between(0, self.recipe.augment, clock))
        output = self.D(x) if labels is None else self.D(x, labels)
        return cast(Tensor, output.float())

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        reals = mirrored(batch.real) if self.recipe.mirror and self.data.is_image else batch.real
        real, other = reals.chunk(2)
        labels, others = batch.cond.chunk(2) if self.classes and batch.cond is not None else (None, None)
        fake = self.sample(len(real), labels).detach()
        both = None if labels is None else torch.cat([labels, labels])
        # Of one pass: nothing in D mixes samples. The penalty is on the slope at images before their augmentation.
        outputs, squares = squared_jacobian_norms(lambda x: self.judge(x, both, clock), torch.cat([real, fake]))
        (on_real, on_fake), (r1, r2) = outputs.chunk(2), (half.mean() / 2 for half in squares.chunk(2))
        gamma = self.between(self.recipe.penalty, self.recipe.last_penalty, clock)
        loss = softplus(on_fake - on_real).mean() + gamma * (r1 + r2)
        yield Update("D", loss, {"r1": r1.detach(), "r2": r2.detach()})
        on_fake = self.judge(self.sample(len(other), others), others, clock)
        with torch.no_grad():
            on_real = self.judge(other, others, clock)
        yield Update("G", softplus(on_real - on_fake).mean())


class ConditionalR3GAN(R3GAN):
    """R3GAN that is told the class of each image, as in the authors' runs on CIFAR-10 and ImageNet.

    G takes an embedding of the class beside z, D projects its features on another one.

    Objective: that of `r3gan`, pairs of equal classes
    Departures: those of `r3gan`
    Budget: 488,000 updates of 512 images a player, 250M (table 9); both players' are counted here, 500M
    Published: FID 1.96 on CIFAR-10, 250M images, of 50,000 samples and the training images (table 6)
    Published: FID 1.27 on ImageNet at 32 px, 2.09 at 64 px (table 6)
    """

    name = "r3gan-cond"
    summary = "R3GAN told the classes: an embedding beside z, and a projection in D"
    family = "conditional"
    task = "label"


class Block(nn.Module):
    """x + F(x), F being 1×1, grouped 3×3 and 1×1 convolutions; F is zero at first (fix-up initialisation)."""

    def __init__(self, width: int, group: int, depth: int) -> None:
        super().__init__()
        inner = 2 * width
        self.first = nn.Conv2d(width, inner, 1)
        self.middle = nn.Conv2d(inner, inner, 3, padding=1, groups=max(1, inner // group))
        self.last = nn.Conv2d(inner, width, 1, bias=False)
        for layer in (self.first, self.middle):
            draw(layer, GAIN * depth**-0.25)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, width, H, W]` to the same."""
        y = leaky_relu(self.middle(leaky_relu(self.first(x), SLOPE)), SLOPE)
        return cast(Tensor, x + self.last(y))


class Generator(nn.Module):
    """A learnt small map, scaled by the latents, then stages of blocks with bilinear doublings between them."""

    bilinear: Tensor

    def __init__(self, channels: int, base: int, widths: Sequence[int], r: Recipe, z_dim: int, classes: int) -> None:
        super().__init__()
        deepest = widths[-1]
        self.embedding = draw(nn.Embedding(classes, z_dim)) if classes else None
        self.basis = nn.Parameter(torch.randn(deepest, base, base))
        self.scale = draw(nn.Linear(2 * z_dim if classes else z_dim, deepest, bias=False))
        self.stages, self.changes = stages_of(widths[::-1], r)
        self.leave = draw(nn.Conv2d(widths[0], channels, 1, bias=False))
        self.register_buffer("bilinear", 4 * bilinear_filter())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents to images in [-1, 1]; the paper's are unbounded, and cut off when they are quantised."""
        if self.embedding is not None:
            z = torch.cat([z, self.embedding(labels)], 1)
        x = self.stages[0](self.basis * self.scale(z)[:, :, None, None])
        for change, stage in zip(self.changes, self.stages[1:], strict=True):
            x = change(x)
            width = x.shape[1]
            x = stage(conv_transpose2d(x, self.bilinear.expand(width, 1, 4, 4), None, 2, 1, groups=width))
        x = self.leave(x)
        return x.clamp(-1, 1) if not self.training else x


class Discriminator(nn.Module):
    """The generator's mirror: stages of blocks with bilinear halvings between them, then one weight for each place."""

    bilinear: Tensor

    def __init__(self, channels: int, base: int, widths: Sequence[int], r: Recipe, classes: int) -> None:
        super().__init__()
        deepest = widths[-1]
        self.enter = draw(nn.Conv2d(channels, widths[0], 1, bias=False))
        self.stages, self.changes = stages_of(widths, r)
        self.basis = nn.Parameter(torch.randn(deepest, base, base) / base)
        self.head = draw(nn.Linear(deepest, deepest if classes else 1, bias=False))
        self.embedding = draw(nn.Embedding(classes, deepest), deepest**-0.5) if classes else None
        self.register_buffer("bilinear", bilinear_filter())

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map images to raw outputs `[B, 1]`."""
        x = self.stages[0](self.enter(x))
        for change, stage in zip(self.changes, self.stages[1:], strict=True):
            width = x.shape[1]
            x = stage(change(conv2d(x, self.bilinear.expand(width, 1, 4, 4), None, 2, 1, groups=width)))
        features = self.head((self.basis * x).sum((2, 3)))
        if self.embedding is None:
            return cast(Tensor, features)
        return (features * self.embedding(labels)).sum(1, keepdim=True)


def stages_of(widths: Sequence[int], r: Recipe) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Make a stage for each width, and what leads from one width to the next: nothing where they are equal."""
    depth = r.blocks * len(widths)
    stages = [nn.Sequential(*(Block(width, r.group, depth) for _ in range(r.blocks))) for width in widths]
    changes = [
        nn.Identity() if width == following else draw(nn.Conv2d(width, following, 1, bias=False))
        for width, following in pairwise(widths)
    ]
    return nn.ModuleList(stages), nn.ModuleList(changes)


def bilinear_filter() -> Tensor:
    """Return [1, 3, 3, 1] in both directions, its sum 1: it halves maps, and four times as large doubles them."""
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return weights[:, None] * weights


def draw(layer: Layer, gain: float = 1.0) -> Layer:
    """Draw weights that keep the size of signals, times a gain (an embedding's: of one-hot inputs); biases are zero."""
    inputs = layer.num_embeddings if isinstance(layer, nn.Embedding) else layer.weight[0].numel()
    nn.init.normal_(layer.weight, 0, gain / math.sqrt(inputs))
    if not isinstance(layer, nn.Embedding) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def mirrored(x: Tensor) -> Tensor:
    """Mirror each image or leave it, by the toss of a coin."""
    return torch.where(torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)


def halvings_of(side: int) -> int:
    """Return how often a side is halved, down to 4 to 7 px."""
    halvings = 0
    while side % 2 == 0 and side > 7:
        side, halvings = side // 2, halvings + 1
    return halvings


@hookimpl
def ganbench_variants() -> list[type[Variant]]:
    return [R3GAN, ConditionalR3GAN]
