"""Stacked-MNIST: three MNIST digits as red, green and blue, which makes 1000 modes that are known."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ganbench import MNIST_FILES, Dataset, ImageSet, Modes, Splits, derive, digest, hookimpl, load_idx, prepared

PLACES = (100, 10, 1)
RECIPE = 1
"""Version of how triples are drawn; raise it when that changes."""
KEPT = {"veegan-26k": 128_000, "unrolled-25.6k": 25_600, "test": 10_000}
"""Triples in the training split of each preset, and in the test split of both."""
SAMPLES = {"veegan-26k": 26_000, "unrolled-25.6k": 25_600}
POSITIVE = "0 to 1"
"""The range of pixels that `mnist-channels` must know of, in the protocol where it is not -1 to 1."""
CONFUSION = (
    (978, 0, 0, 0, 0, 0, 1, 1, 0, 0),
    (0, 1135, 0, 0, 0, 0, 0, 0, 0, 0),
    (1, 0, 1027, 1, 0, 0, 0, 2, 1, 0),
    (0, 0, 0, 1007, 0, 3, 0, 0, 0, 0),
    (0, 0, 0, 0, 980, 0, 0, 0, 0, 2),
    (1, 0, 0, 4, 0, 886, 1, 0, 0, 0),
    (2, 7, 0, 0, 0, 3, 945, 0, 1, 0),
    (0, 3, 2, 0, 0, 0, 0, 1021, 0, 2),
    (0, 0, 2, 1, 0, 0, 0, 0, 970, 1),
    (0, 0, 0, 0, 5, 1, 0, 1, 1, 1001),
)
"""Test images of each digit (row) that the shipped classifier takes for each (column): 99.5 % are right."""
TAKEN = {
    (60_000, False): (5922, 6749, 5953, 6130, 5830, 5414, 5922, 6283, 5851, 5946),
    (70_000, False): (6904, 7894, 6984, 7143, 6815, 6307, 6869, 7308, 6824, 6952),
    (60_000, True): (5925, 6753, 5953, 6130, 5828, 5412, 5922, 6274, 5857, 5946),
    (70_000, True): (6908, 7898, 6983, 7142, 6812, 6304, 6869, 7299, 6833, 6952),
}
"""How many of the training images, and of all, the shipped classifier takes for each digit; by `positive`."""


class Triples(Modes):
    """A mode for each triple of digits, 100·r + 10·g + b, told by a classifier of digits on each channel.

    `taken`: how many of the digits that triples are made of the classifier takes for each, where that is known.
    """

    count = 1000
    extractor = "mnist-channels"
    protocol: Mapping[str, Any] = {"mode": "the triple of digits in R, G, B; every sample counts"}

    def __init__(self, taken: tuple[int, ...] = ()) -> None:
        self.taken = taken

    def assign(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Map probabilities `[N, 30]`, ten of each channel, to the triple of the likeliest digits; all count."""
        index = _triple(samples.unflatten(1, (3, 10)).argmax(2))
        return index, torch.ones_like(index, dtype=torch.bool)

    def floors(self, n: int) -> Mapping[str, Mapping[str, float]]:
        """Return what is expected of uniform triples, and of one triple: the mean over the triples, and the best."""
        perfect, single, found = uniform_triples(n), single_triples(n), {}
        for name, best, places in (("modes", torch.max, 1), ("modes-5", torch.max, 1), ("mode-kl", torch.min, 4)):
            mean, most = float(single[name].mean()), float(best(single[name]))
            values = {"uniform_triples": perfect[name], "one_triple": mean, "one_triple_at_best": most}
            found[name] = {of: round(value, places) for of, value in values.items()}
        return found

    def exact(self, n: int) -> Mapping[str, float]:
        """Return what `n` real triples score in expectation, as they are seen: with the classifier's mistakes."""
        return drawn_triples(n, self.taken) if self.taken else {}


def uniform_triples(n: int) -> Mapping[str, float]:
    """Return what `n` samples of uniform triples score in expectation, exactly."""
    return drawn_triples(n, (1,) * 10)


@cache
def drawn_triples(n: int, digits: tuple[int, ...]) -> Mapping[str, float]:
    """Return what `n` triples of digits, each as frequent as in `digits`, score in expectation: counts are binomial."""
    drawn = torch.arange(n + 1, dtype=torch.float64)
    terms = torch.xlogy(drawn / n, drawn / n)
    found, often, kl = 0.0, 0.0, math.log(Triples.count)
    for ways, triples in Counter(math.prod(each) for each in product(digits, repeat=3)).items():
        pmf = _binomial(n, drawn, torch.tensor(ways / sum(digits) ** 3, dtype=torch.float64))
        found += triples * (1 - float(pmf[0]))
        often += triples * (1 - float(pmf[:5].sum()))
        kl += triples * float(pmf @ terms)
    return {"modes": found, "modes-5": often, "mode-kl": kl}


@cache
def single_triples(n: int) -> Mapping[str, Tensor]:
    """Return what `n` samples of each triple alone score in expectation, `[1000]`, all but one mode by mistake.

    The three digits are mistaken independently, as often as the test images. KL is that of endless samples.
    """
    mistaken = torch.tensor(CONFUSION, dtype=torch.float64)
    mistaken /= mistaken.sum(1, keepdim=True)
    p = torch.einsum("ai,bj,ck->abcijk", mistaken, mistaken, mistaken).reshape(Triples.count, Triples.count)
    fewer = torch.stack([_binomial(n, torch.tensor(float(k), dtype=torch.float64), p) for k in range(5)])
    return {
        "modes": (1 - fewer[0]).sum(1),
        "modes-5": (1 - fewer.sum(0)).sum(1),
        "mode-kl": math.log(Triples.count) + torch.xlogy(p, p).sum(1),
    }


def _binomial(n: int, k: Tensor, p: Tensor) -> Tensor:
    ways = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return torch.exp(ways + torch.xlogy(k, p) + torch.special.xlog1py(n - k, -p))


def _triple(digits: Tensor) -> Tensor:
    return (digits * digits.new_tensor(PLACES)).sum(1)


def stack(digits: ImageSet, table: Tensor) -> tuple[Tensor, Tensor]:
    """Put the digits of each row of `table`, int64 `[n, 3]`, into the channels of one image; return its label too."""
    assert digits.cond is not None
    images = digits.images[table.flatten()].reshape(len(table), 3, *digits.images.shape[2:])
    return images, _triple(digits.cond[table])


def fixed_triples(split: str, n: int, pool: int) -> Tensor:
    """Draw `n` rows of three of `pool` digits, int64 `[n, 3]`, the same in every run and on every machine."""
    generator = np.random.Generator(np.random.PCG64(derive(0, "stacked-mnist", split)))
    return torch.from_numpy(generator.integers(pool, size=(n, 3)))


def upper_half(images: Tensor) -> Tensor:
    """Squeeze levels 0 to 255 into 128 to 255, which are 0 to 1 to a network; two levels become one."""
    return images // 2 + 128


class OnTheFly:
    """All triples of M digits as a source: number r·M² + g·M + b is that of the digits r, g and b."""

    def __init__(self, digits: ImageSet) -> None:
        self.digits, self.nbytes = digits, digits.images.nbytes

    def __len__(self) -> int:
        return len(self.digits.images) ** 3

    def __getitem__(self, rows: Tensor) -> ImageSet:
        many = len(self.digits.images)
        return ImageSet(*stack(self.digits, torch.stack([rows // many**2, rows // many % many, rows % many], 1)))

    def to(self, device: torch.device) -> "OnTheFly":
        images, cond, _ = self.digits
        assert cond is not None
        return OnTheFly(ImageSet(images.to(device), cond.to(device)))


@dataclass(frozen=True)
class Config:
    """Options.

    preset: which protocol, "veegan-26k" or "unrolled-25.6k", each of them with its data and its number of samples
        (PacGAN's stacked_MNIST_experiments).
    positive: black is 0 rather than -1 to the networks, of which G ends in tanh all the same; half of the levels remain
        (VEEGAN_experiment/model.py there).
    """

    preset: Literal["veegan-26k", "unrolled-25.6k"] = "veegan-26k"
    positive: bool = False


class StackedMNIST(Dataset):
    """Two protocols of the field, which differ in data and in samples an evaluation.

    `veegan-26k` (Srivastava et al. 2017, as PacGAN's code has it): a fixed set of 128,000 triples of all 70,000
    images, scored on 26,000 samples; published runs see 100,000 batches of 64. `unrolled-25.6k` (Metz et al. 2017):
    triples of the 60,000 training images drawn on the fly, scored on 25,600; published runs see 500,000 batches of 128.
    """

    name, summary = "stacked-mnist", "three MNIST digits as R, G, B: 1000 modes, 28×28 (32 by padding)"
    size = 28
    backbone = "veegan"
    metrics = ("modes", "mode-kl", "grad-norm-g", "grad-norm-d")
    config: Config = Config()
    files = MNIST_FILES
    places = ("MNIST/raw",)

    def load(self, root: Path, size: int) -> Splits:
        digits, preset = load_idx(self.name, root, size, self.files), self.config.preset
        fixed, counts = preset == "veegan-26k", {"train": KEPT[preset], "test": KEPT["test"]}
        pools = _both(digits) if fixed else (digits.train, digits.test)
        many = len(pools[0].images)
        protocol = {
            "preset": preset,
            "train": f"{counts['train']} fixed triples of {many} digits"
            if fixed
            else f"triples of {many} digits, drawn on the fly",
            "test": f"{counts['test']} fixed triples of {len(pools[1].images)} digits",
            "resize": digits.protocol["resize"],
        }
        if self.config.positive:
            protocol["range"] = POSITIVE
            first, second = (pool._replace(images=upper_half(pool.images)) for pool in pools)
            pools = first, second
        key = {"triples": RECIPE, "digits": digits.fingerprint, "kept": counts, "protocol": protocol}

        def build(folder: Path) -> None:
            for (split, n), pool in zip(counts.items(), pools, strict=True):
                images, labels = stack(pool, fixed_triples(split, n, len(pool.images)))
                np.save(folder / f"{split}.npy", images.numpy())
                np.save(folder / f"{split}_labels.npy", labels.numpy())

        arrays = prepared(key, build).arrays
        train, test = (ImageSet(arrays[split], arrays[f"{split}_labels"]) for split in counts)
        train = train if fixed else train._replace(source=OnTheFly(pools[0]))
        modes = Triples(TAKEN.get((many, self.config.positive), ()))
        return Splits(train, test, digest(key), protocol, modes, SAMPLES[preset])


def _both(digits: Splits) -> tuple[ImageSet, ImageSet]:
    images, labels = ([getattr(split, name) for split in (digits.train, digits.test)] for name in ("images", "cond"))
    pool = ImageSet(torch.cat(images), torch.cat(labels))
    return pool, pool


@hookimpl
def ganbench_datasets() -> list[Dataset]:
    return [StackedMNIST()]
