"""Points in the plane drawn from a known mixture of Gaussians, so that lost modes can be counted."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganbench import Count, Dataset, ImageSet, Modes, Positive, Splits, UserError, derive, digest, hookimpl

TRAIN, TEST = 100_000, 10_000
THRESHOLD = 3.0  # standard deviations within which a point is of high quality
APART = 12.0  # standard deviations between modes from which on no point passes for one of another mode
TAIL = 1e-15  # counts that are rarer are left out of an expectation


class Mixture(Modes):
    """Equally likely isotropic Gaussians; a sample belongs to the nearest centre."""

    def __init__(self, centres: Sequence[tuple[float, float]], sigma: float) -> None:
        self.centres, self.sigma, self.count = torch.tensor(centres, dtype=torch.float64), sigma, len(centres)
        self.protocol: Mapping[str, Any] = {"high_quality": f"nearer than {THRESHOLD:g} sigma to a mode"}

    def assign(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest mode and whether it is nearer than three sigma; a point that is not finite is not."""
        points = samples.detach().cpu().double()
        distance, nearest = torch.cdist(points, self.centres, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
        return nearest.to(samples.device), (distance < THRESHOLD * self.sigma).to(samples.device)

    def exact(self, n: int) -> Mapping[str, float]:
        """Return what `n` points of the mixture score in expectation; nothing where its modes overlap.

        That of mode-kl is taken over the draws with a point of high quality: without one it is not defined.
        """
        if self.count > 1 and float(torch.pdist(self.centres).min()) < APART * self.sigma:
            return {}
        quality = -math.expm1(-(THRESHOLD**2) / 2)  # the distance from the centre has a Rayleigh distribution
        return {
            "modes": -self.count * math.expm1(n * math.log1p(-quality / self.count)),
            "high-quality": quality,
            "mode-kl": expected_kl(n, quality, self.count),
        }

    def draw(self, n: int, seed: int) -> Tensor:
        """Draw `n` points, the same on every machine."""
        generator = np.random.Generator(np.random.PCG64(seed))
        chosen = generator.integers(self.count, size=n)
        points = self.centres.numpy()[chosen] + self.sigma * generator.standard_normal((n, 2))
        return torch.from_numpy(points.astype(np.float32))


@cache
def expected_kl(n: int, quality: float, modes: int) -> float:
    """Return the mean of KL(histogram || uniform), in nats, of those of `n` samples that are of high quality.

    These are a binomial number, at least one, and so is the number in each mode, as every mode is equally likely.
    """
    total = weight = 0.0
    for good, often in zip(*_binomial(n, quality), strict=True):
        if good:
            count, share = _binomial(int(good), 1 / modes)
            total += often * (math.log(modes) + modes * float(share @ _times_log(count / good)))
            weight += often
    return total / weight


def _binomial(n: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of successes that are not all too rare, and their probabilities."""
    from scipy.stats import binom  # takes a second, and is needed for reports of real samples alone

    successes = np.arange(binom.ppf(TAIL, n, p), binom.isf(TAIL, n, p) + 1)
    return successes, binom.pmf(successes, n, p)


def _times_log(x: np.ndarray) -> np.ndarray:
    return x * np.log(np.where(x > 0, x, 1))


class Points(Dataset):
    """A fixed sample of a mixture, for training and as reference; what is drawn does not depend on the run's seed."""

    backbone = "mlp"
    budget = "500k-images"
    metrics = ("modes", "high-quality", "mode-kl", "grad-norm-g", "grad-norm-d")

    @abstractmethod
    def mixture(self) -> Mixture:
        """Return what the points are drawn from."""

    def load(self, root: Path, size: int) -> Splits:
        if size:
            raise UserError(f"{self.name} is a set of points and has no side in pixels, but {size} was asked for")
        mixture = self.mixture()
        train, test = (mixture.draw(n, derive(0, self.name, split)) for split, n in (("train", TRAIN), ("test", TEST)))
        content = hashlib.sha256(train.numpy().tobytes() + test.numpy().tobytes()).hexdigest()
        protocol = {**asdict(self.config), "train": TRAIN, "test": TEST}
        return Splits(ImageSet(train), ImageSet(test), digest([content, protocol]), protocol, mixture)


@dataclass(frozen=True)
class RingConfig:
    """Options.

    modes: how many Gaussians lie on the ring, evenly spread.
    radius: of the ring.
    sigma: deviation of each Gaussian (0.01 in PacGAN's program, 0.02 in other papers).
    """

    modes: Count = 8
    radius: Positive = 1.0
    sigma: Positive = 0.01


class Ring(Points):
    name, summary = "ring", "2-D: 8 Gaussians on a circle (as in PacGAN, arXiv:1712.04086)"
    config: RingConfig = RingConfig()

    def mixture(self) -> Mixture:
        c = self.config
        angles = [2 * math.pi * k / c.modes for k in range(c.modes)]
        return Mixture([(c.radius * math.cos(a), c.radius * math.sin(a)) for a in angles], c.sigma)


@dataclass(frozen=True)
class GridConfig:
    """Options.

    side: how many Gaussians lie on a side of the square.
    spacing: distance of neighbours.
    sigma: deviation of each Gaussian (PacGAN's program).
    """

    side: Count = 5
    spacing: Positive = 2.0
    sigma: Positive = 0.05


class Grid(Points):
    name, summary = "grid", "2-D: 25 Gaussians on a square grid (as in PacGAN, arXiv:1712.04086)"
    config: GridConfig = GridConfig()

    def mixture(self) -> Mixture:
        c = self.config
        axis = [c.spacing * (k - (c.side - 1) / 2) for k in range(c.side)]
        return Mixture([(x, y) for x in axis for y in axis], c.sigma)


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [Ring(), Grid()]
