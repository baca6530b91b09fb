"""Data sets: what a plugin returns, and how images cross the border."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ganbench.contract.types import DataSpec, Task
from ganbench.errors import UserError


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

    def exact(self, n: int) -> Mapping[str, float]:
        """Return by name of value what `n` real samples score in expectation, where that is known."""
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
    what there is to translate from. `notes`: what the user is told before training, for instance which folders were
    taken for classes and splits and which files were left out; no part of any protocol.
    """

    train: ImageSet
    test: ImageSet
    fingerprint: str
    protocol: Mapping[str, Any] = field(default_factory=dict)
    modes: Modes | None = None
    samples: int = 0
    domain: Domain | None = None
    notes: tuple[str, ...] = ()

    def spec(self, task: Task = "generate") -> DataSpec:
        """Describe the samples for networks."""
        labels = self.train.cond if task != "translate" else None
        classes = int(labels.max()) + 1 if labels is not None and len(labels) else 0
        return DataSpec(tuple(self.train.images.shape[1:]), task, classes)


class Dataset(ABC):
    """A data set. Loading happens in `load`, not when the plugin is found.

    `size`: default side in pixels (0: the data have their own). `backbone`, `budget`, `metrics`: what `ganbench run`
    uses when nothing is said. `config`: a frozen dataclass of options for `--set NAME.field=value`. `arguments`: how
    many, parted by commas, `NAME:argument` takes. `places`: files or folders below the data root of which `load` needs
    one; none where the data come with the package or lie where the argument says.
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
    places: ClassVar[tuple[str, ...]] = ()

    def of(self, argument: str) -> Dataset:
        """Return the data set `NAME:argument`; those that take no argument say so."""
        raise UserError(f"data set {self.name!r} takes no argument, but was given {argument!r}: write {self.name!r}")

    @abstractmethod
    def load(self, root: Path, size: int) -> Splits:
        """Load both splits at `size` pixels. `root` is the data root, never written to.

        Raises `UserError` that names the file and what would be right where something is missing, damaged or wrong.
        """


def to_float(samples: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [-1, 1]; points stay as they are."""
    return samples.float().div_(127.5).sub_(1) if samples.dtype == torch.uint8 else samples.float()


def exact(values: Tensor) -> Tensor:
    """Return values in float32, where a loss of bfloat16 ones would be coarse; what is float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def to_uint8(samples: Tensor) -> Tensor:
    """Quantise images in [-1, 1] to the nearest of 256 levels, the inverse of `to_float`; points stay float32."""
    if samples.ndim == 2:
        return samples.float()
    return samples.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
