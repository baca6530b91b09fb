"""Data sets: what a plugin returns, and the stream that serves batch t as a function of (seed, t)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ganbench.errors import UserError
from ganbench.seeds import derive
from ganbench.types import Batch, DataSpec, Task


class ImageSet(NamedTuple):
    """Images, uint8 `[N, C, H, W]`, in memory or memory-mapped; or points, float32 `[N, 2]`. `cond`: int64 labels.

    `source`: where steps are served fresh samples, made on the fly; the images are then a fixed sample of the same.
    """

    images: Tensor
    cond: Tensor | None = None
    source: Source | None = None


class Source(Protocol):
    """More samples than can be held, each made when its number comes up (all triples of digits, for one)."""

    @property
    def nbytes(self) -> int:
        """Bytes of what samples are made from, which `to` moves."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor) -> ImageSet:
        """Make the samples of these numbers, int64 `[n]` from 0 to below `len`, on the device where they lie."""

    def to(self, device: torch.device) -> Source:
        """Return the same source with what it is made from on `device`."""


class Modes(ABC):
    """The known modes of a distribution, so that generated samples can be counted over them.

    `extractor`: None where samples show their mode themselves, else the one whose probabilities tell it; then every
    sample counts, of whatever quality.
    """

    count: int
    protocol: Mapping[str, Any]
    extractor: str | None = None

    @abstractmethod
    def assign(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each sample its nearest mode (int64 `[N]`) and whether it is of high quality (bool `[N]`).

        `samples`: as generated, or where there is an extractor its probabilities.
        """

    def floors(self, n: int) -> Mapping[str, Mapping[str, float]]:
        """Return by name of value what `n` samples of known generators score in expectation: the scale of a table."""
        return {}


class Domain(NamedTuple):
    """The source domain of data with the task `translate`, whose images are otherwise those of the target.

    `names`: of source and target. `paired`: test images of source and target correspond, row by row.
    """

    train: Tensor
    test: Tensor
    names: tuple[str, str]
    paired: bool


@dataclass(frozen=True)
class Splits:
    """A loaded data set. `test` is the reference of every metric; `train` is what variants are served.

    `fingerprint`: SHA-256 of content and preprocessing (hexadecimal). `protocol`: what a reader must know of how the
    images were made (crop, resize, subset, grey rule). `modes`: where the true modes are known. `samples`: generated
    images an evaluation where the field's protocol fixes it (0: as many as the reference, at most 10,000). `domain`:
    what there is to translate from.
    """

    train: ImageSet
    test: ImageSet
    fingerprint: str
    protocol: Mapping[str, Any] = field(default_factory=dict)
    modes: Modes | None = None
    samples: int = 0
    domain: Domain | None = None

    def spec(self, task: Task = "generate") -> DataSpec:
        """Describe the samples for networks."""
        labels = self.train.cond if task != "translate" else None
        classes = int(labels.max()) + 1 if labels is not None and len(labels) else 0
        return DataSpec(tuple(self.train.images.shape[1:]), task, classes)


class Dataset(ABC):
    """A data set. Loading happens in `load`, not when the plugin is found.

    `size`: default side in pixels (0: the data have their own). `backbone`, `budget`, `metrics`: what `ganbench run`
    uses when nothing is said. `config`: a frozen dataclass of options for `--set NAME.field=value`. `arguments`: how
    many, parted by commas, `NAME:argument` takes.
    """

    name: str
    summary: ClassVar[str] = ""
    task: ClassVar[Task] = "generate"
    size: int = 0
    backbone: str = "dcgan"
    budget: str = "200k-images"
    metrics: tuple[str, ...] = ("fd-classifier", "ms-ssim", "grad-norm-g", "grad-norm-d")
    config: Any = None
    arguments: ClassVar[int] = 1

    def of(self, argument: str) -> Dataset:
        """Return the data set `NAME:argument`; those that take no argument say so."""
        raise UserError(f"data set {self.name!r} takes no argument, but was given {argument!r}: write {self.name!r}")

    @abstractmethod
    def load(self, root: Path, size: int) -> Splits:
        """Load both splits at `size` pixels. `root` is the data root, never written to.

        Raises `UserError` that names the file and what would be right where something is missing, damaged or wrong.
        """


def control_order(total: int) -> Tensor:
    """Return the order in which images of a training split are taken to stand for generated ones."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(derive(0, "control")))


def control_rows(total: int, samples: int) -> tuple[Tensor, Tensor]:
    """Divide the rows of a training split, the same for all runs: those that controls learn by heart, and those that
    stand for real images that nobody has seen, twice as many as `samples` but at most half.

    Trained variants are served all of them.
    """
    order = control_order(total)
    unseen = min(2 * samples, total // 2)
    return order[unseen:], order[:unseen]


def divide(labels: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, str]:
    """Hold out a share of each class, evenly spread in the order given; at least one, and never all of a class.

    Returns the rows of train and of test, and the rule in words.
    """
    held_out = np.zeros(len(labels), dtype=bool)
    for rows in np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1]):
        n = len(rows)
        if count := min(max(1, round(n * share)), n - 1):
            held_out[rows[(2 * np.arange(count) + 1) * n // (2 * count)]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out), f"{share:g} of each class, evenly spread by name"


BLOCK = 65_536
"""Numbers of samples are drawn so many at a time from a source, whatever the batch size."""


class Stream:
    """The batches of one run: batch t is a function of (seed, t), so that nothing needs saving to resume.

    Images are drawn without replacement, one seeded permutation an epoch, the same for every variant; of a source
    with replacement, in seeded blocks that take the place of epochs. `stream[t]` copies; what a variant does to its
    batch reaches nobody else.
    """

    def __init__(self, data: ImageSet, batch: int, seed: int, device: torch.device) -> None:
        if batch > len(data.images):
            raise UserError(f"a step needs {batch} real images, but the training split has {len(data.images)}")
        self.batch, self._seed, self._device = batch, seed, device
        self._fresh = data.source is not None
        self._source: Source = _Held(data) if data.source is None else data.source
        self._home = device if self._fits(device) else torch.device("cpu")
        self._source = self._source.to(self._home)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def _fits(self, device: torch.device) -> bool:
        size = self._source.nbytes
        if device.type != "cuda":
            return size < 2**31
        free, _ = torch.cuda.mem_get_info(device)
        return size < free // 4

    def __getitem__(self, step: int) -> Batch:
        """Return batch number `step`."""
        start, count = step * self.batch, BLOCK if self._fresh else len(self._source)
        stop, pieces = start + self.batch, list[Tensor]()
        while start < stop:
            epoch, offset = divmod(start, count)
            pieces.append(self._order_of(epoch)[offset : offset + stop - start])
            start += len(pieces[-1])
        rows = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        real, cond, _ = self._source[rows]
        if cond is None:
            return Batch(to_float(real.to(self._device)))
        cond = cond.to(self._device)
        return Batch(to_float(real.to(self._device)), to_float(cond) if cond.dtype == torch.uint8 else cond)

    def _order_of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator, count = torch.Generator().manual_seed(derive(self._seed, "epoch", epoch)), len(self._source)
            if self._fresh:
                order = torch.randint(count, (BLOCK,), generator=generator)
            else:
                order = torch.randperm(count, generator=generator)
            self._epoch, self._order = epoch, order.to(self._home)
        return self._order


class _Held:
    """A set that is held whole, as a source."""

    def __init__(self, data: ImageSet) -> None:
        self.data, self.nbytes = data, data.images.nbytes

    def __len__(self) -> int:
        return len(self.data.images)

    def __getitem__(self, rows: Tensor) -> ImageSet:
        images, cond, _ = self.data
        return ImageSet(images[rows], None if cond is None else cond[rows])

    def to(self, device: torch.device) -> Source:
        images, cond, _ = self.data
        return _Held(ImageSet(images.to(device), None if cond is None else cond.to(device)))


def to_float(samples: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [-1, 1]; points stay as they are."""
    return samples.float().div_(127.5).sub_(1) if samples.dtype == torch.uint8 else samples.float()


def to_uint8(samples: Tensor) -> Tensor:
    """Quantise images in [-1, 1] to the nearest of 256 levels, the inverse of `to_float`; points stay float32."""
    if samples.ndim == 2:
        return samples.float()
    return samples.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
