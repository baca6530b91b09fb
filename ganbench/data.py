"""Data sets: what a plugin returns, and the stream that serves batch t as a function of (seed, t)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ganbench.errors import UserError
from ganbench.seeds import derive
from ganbench.types import Batch, DataSpec, Task


class ImageSet(NamedTuple):
    """Images, uint8 `[N, C, H, W]`, in memory or memory-mapped; or points, float32 `[N, 2]`. `cond`: int64 labels."""

    images: Tensor
    cond: Tensor | None = None


class Modes(Protocol):
    """The known modes of a distribution, so that generated samples can be counted over them."""

    count: int
    protocol: Mapping[str, Any]

    def assign(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each sample its nearest mode (int64 `[N]`) and whether it is of high quality (bool `[N]`)."""


@dataclass(frozen=True)
class Splits:
    """A loaded data set. `test` is the reference of every metric; `train` is what variants are served.

    `fingerprint`: SHA-256 of content and preprocessing (hexadecimal). `protocol`: what a reader must know of how the
    images were made (crop, resize, subset, grey rule). `modes`: where the true modes are known.
    """

    train: ImageSet
    test: ImageSet
    fingerprint: str
    protocol: Mapping[str, Any] = field(default_factory=dict)
    modes: Modes | None = None

    def spec(self, task: Task = "generate") -> DataSpec:
        """Describe the samples for networks."""
        labels = self.train.cond if task != "translate" else None
        classes = int(labels.max()) + 1 if labels is not None and len(labels) else 0
        return DataSpec(tuple(self.train.images.shape[1:]), task, classes)


class Dataset(ABC):
    """A data set. Loading happens in `load`, not when the plugin is found.

    `size`: default side in pixels (0: the data have their own). `backbone`, `budget`, `metrics`: what `ganbench run`
    uses when nothing is said. `config`: a frozen dataclass of options for `--set NAME.field=value`.
    """

    name: str
    summary: ClassVar[str] = ""
    task: ClassVar[Task] = "generate"
    size: int = 0
    backbone: str = "dcgan"
    budget: str = "200k-images"
    metrics: tuple[str, ...] = ("fd-classifier", "ms-ssim", "grad-norm-g", "grad-norm-d")
    config: Any = None

    def of(self, argument: str) -> Dataset:
        """Return the data set `NAME:argument`; those that take no argument say so."""
        raise UserError(f"data set {self.name!r} takes no argument, but was given {argument!r}: write {self.name!r}")

    @abstractmethod
    def load(self, root: Path, size: int) -> Splits:
        """Load both splits at `size` pixels. `root` is the data root, never written to.

        Raises `UserError` that names the file and what would be right where something is missing, damaged or wrong.
        """


class Stream:
    """The batches of one run: batch t is a function of (seed, t), so that nothing needs saving to resume.

    Images are drawn without replacement, one seeded permutation an epoch, the same for every variant. `stream[t]`
    copies; what a variant does to its batch reaches nobody else.
    """

    def __init__(self, data: ImageSet, batch: int, seed: int, device: torch.device) -> None:
        if batch > len(data.images):
            raise UserError(f"a step needs {batch} real images, but the training split has {len(data.images)}")
        self.batch, self._seed, self._device = batch, seed, device
        self._images, self._cond = data.images, data.cond
        if self._fits(device):
            self._images = self._images.to(device)
            self._cond = None if self._cond is None else self._cond.to(device)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def _fits(self, device: torch.device) -> bool:
        size = self._images.nbytes
        if device.type != "cuda":
            return size < 2**31
        free, _ = torch.cuda.mem_get_info(device)
        return size < free // 4

    def __getitem__(self, step: int) -> Batch:
        """Return batch number `step`."""
        start, count = step * self.batch, len(self._images)
        stop, pieces = start + self.batch, list[Tensor]()
        while start < stop:
            epoch, offset = divmod(start, count)
            pieces.append(self._permutation(epoch)[offset : offset + stop - start])
            start += len(pieces[-1])
        rows = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        real = self._images[rows].to(self._device)
        cond = None if self._cond is None else self._cond[rows].to(self._device)
        return Batch(to_float(real), cond)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(derive(self._seed, "epoch", epoch))
            order = torch.randperm(len(self._images), generator=generator)
            self._epoch, self._order = epoch, order.to(self._images.device)
        return self._order


def to_float(samples: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [-1, 1]; points stay as they are."""
    return samples.float().div_(127.5).sub_(1) if samples.dtype == torch.uint8 else samples.float()


def to_uint8(samples: Tensor) -> Tensor:
    """Quantise images in [-1, 1] to the nearest of 256 levels, the inverse of `to_float`; points stay float32."""
    if samples.ndim == 2:
        return samples.float()
    return samples.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
