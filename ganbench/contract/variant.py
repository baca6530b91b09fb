"""The contract of a GAN variant: networks, optimizers, and a step that yields updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganbench.contract.backbone import Parts
from ganbench.contract.types import CONTROL, Batch, Clock, DataSpec, Setting, Task, Update


class Variant(nn.Module, ABC):
    """A GAN variant. All its state is parameters and buffers; only the harness performs updates.

    `config` is narrowed by a plugin to its own frozen dataclass of options: `config: Config`.
    `period`: the control flow of `step` repeats every so many steps (n_critic, lazy penalties); set it in `build`.
    `one_device`: why it cannot be trained on several devices, where that is so; may be set in `build`.
    `paper_images`: how many real images the runs of the variant's paper are served, or those of a public program of it.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    family: ClassVar[str] = "loss"
    task: ClassVar[Task] = "generate"
    own_architecture: ClassVar[bool] = False
    ema_half_life_images: ClassVar[float | None] = None
    paper_images: ClassVar[int | None] = None
    config: Any
    G: nn.Module
    period: int = 1
    one_device: str = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "rates" in vars(cls):  # it would be passed over, and the run would train at other rates than it means to
            raise TypeError(
                f"{cls.__name__} defines `rates`, which is `schedules` now: return "
                f'{{"G": {{"lr_factor": factor}}}} from that'
            )

    @final
    def __init__(self, parts: Parts, config: Any = None) -> None:
        super().__init__()
        self.config = config
        self.z_dim = parts.z_dim
        self.data = parts.data
        self.build(parts)

    @classmethod
    def misfit(cls, data: DataSpec) -> str | None:
        """Return why this variant cannot be trained on `data`, or None."""
        if (cls.task == "translate") != (data.task == "translate"):
            return "it translates between two domains" if cls.task == "translate" else "the data are a pair of domains"
        if cls.task == "label" and data.classes < 2:
            return "it needs labels of at least two classes"
        return None

    @abstractmethod
    def build(self, parts: Parts) -> None:
        """Make networks and buffers as attributes; `G` and `D` where the paper has them."""

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """Return one optimizer a player, `G` and `D` where the paper has them. Called once, after `build`.

        Updates of `G`, and of `G_…` where G is trained in stages, are what a budget of updates counts.
        """

    @abstractmethod
    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Yield the updates of one step; what follows a `yield` runs when that update has been made.

        Never yield inside a `with`, never read a tensor's value on the host: a step must not wait for the device.
        """

    def images_per_step(self, batch: int) -> int:
        """Return how many real images a step must be served, given the batch size of the comparison."""
        return batch

    def schedules(self, clock: Clock) -> Mapping[str, Mapping[str, Setting]]:
        """Return what is set before a step; called with a clock on the host.

        By player, what its parameter groups are set to: `{"G": {"lr": 1e-4, "betas": (0.0, 0.95)}}`, numbers or tensors
        on the host; `lr_factor` scales the rate that each group had at first. A tensor on the device is set as it is.
        `{"ema": {"half_life_images": ...}}` sets the half-life of the moving average.
        """
        return {}

    def noise(self, n: int) -> Tensor:
        """Draw `n` latents from the prior, N(0, I) unless a plugin says otherwise."""
        return torch.randn(n, self.z_dim, device=self.device)

    def sample(self, n: int, cond: Tensor | None = None) -> Tensor:
        """Draw `n` samples: images in [-1, 1], or points. `cond`: labels or source images, one each."""
        samples: Tensor = self.G(self.noise(n))
        return samples

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device


class Control(Variant):
    """What stands in a table beside the variants and is no GAN: it is not trained, it hands out training images."""

    family = CONTROL
    place: Tensor

    def build(self, parts: Parts) -> None:
        """Make no networks."""
        self.register_buffer("place", torch.zeros(()))

    def optimizers(self) -> dict[str, Optimizer]:
        """Return no players."""
        return {}

    def step(self, batch: Batch, clock: Clock) -> Iterator[Update]:
        """Yield nothing."""
        return iter(())

    @abstractmethod
    def rows(self, seen: Tensor, unseen: Tensor) -> Tensor:
        """Choose the rows to draw from: of those that stand for the training data, or for images nobody has seen."""

    @property
    def device(self) -> torch.device:
        """Where the harness has put it."""
        return self.place.device
