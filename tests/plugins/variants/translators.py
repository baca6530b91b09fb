"""Networks of one number, so that every loss of a translation can be written down."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ganbench import Batch, Clock, DataSpec, Parts, Update, Variant


class Scale(nn.Module):
    """Multiply images by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Mean(nn.Module):
    """Judge an image by its mean: w·mean + b."""

    def __init__(self, weight: float, bias: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.tensor(weight)), nn.Parameter(torch.tensor(bias))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).mean(1, keepdim=True) * self.weight + self.bias).float()

    def compare(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return self(fake), (self(real).mean() - self(fake).mean()).square()


SPEC = DataSpec((1, 8, 8), "translate")
G, F, D, D_SOURCE = 0.5, -0.7, (2.0, 0.1), (-1.5, 0.3)


def simple(cls, config):
    """Build a variant and put the small networks in the place of its own."""
    torch.manual_seed(0)
    variant = cls(Parts(SPEC, 4), config)
    variant.G, variant.F = Scale(G), Scale(F)
    variant.D, variant.D_source = Mean(*D), Mean(*D_SOURCE)
    return variant


def batch_of(n: int = 6, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    y, x = (torch.rand(n, 1, 8, 8, generator=generator) * 2 - 1 for _ in range(2))
    return Batch(y, x)


def clock(step: int = 0, progress: float = 0.0) -> Clock:
    return Clock(step, torch.tensor(progress))


def judged(images: np.ndarray, judge: tuple[float, float]) -> np.ndarray:
    return images.reshape(len(images), -1).mean(1) * judge[0] + judge[1]


def arrays(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    assert batch.cond is not None
    return batch.real.double().numpy(), batch.cond.double().numpy()


def softplus(t: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(t))


def play_pairs(variant: Variant, steps: int) -> Iterator[Update]:
    """Make steps, each of other images, and hand out each update after it has been performed."""
    optimizers = variant.optimizers()
    for number in range(steps):
        for update in variant.step(batch_of(seed=number), clock(number)):
            optimizer = optimizers[update.player]
            optimizer.zero_grad()
            update.loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
            optimizer.step()
            yield update
