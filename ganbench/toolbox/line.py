"""Two Gaussians on a line: data, and a generator that stays where it is put, for discriminators with known optima."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganbench.contract.backbone import Autoencoder, Backbone, Discriminator, Parts
from ganbench.contract.data import ImageSet
from ganbench.contract.experiments import Lab
from ganbench.contract.types import DataSpec, Norm
from ganbench.contract.variant import Variant
from ganbench.errors import UserError, brief, named
from ganbench.seeds import derive
from ganbench.toolbox.layers import normalise_weights

SHIFT, SCALE = "G.shift", "G.scale"
"""Mean and deviation of the generator's Gaussian by their names in a variant."""
Outputs: TypeAlias = dict[str, dict[int, dict[float, Tensor]]]
"""Of D at points, by row, seed and distance."""
MOST_SECONDS = 0.2
"""Of a processor, that a step may take: a thousand are made of each variant."""
TRIES = 3
"""A step that takes longer each time is slow, and not the machine."""


class Gaussian(nn.Module):
    """A generator `[B, z] -> [B, 1]` of samples of N(shift, scale²), whatever prior a variant draws its latents from.

    So it draws noise of its own, and what it makes does not depend on a latent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.scale = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor) -> Tensor:
        """Draw as many samples as there are latents."""
        return self.shift + self.scale * torch.randn(len(z), 1, device=self.shift.device, dtype=self.shift.dtype)


class LineParts(Parts):
    """D, encoder and autoencoder are perceptrons of two hidden layers; D has no norm but the spectral one."""

    def __init__(self, data: DataSpec, width: int) -> None:
        super().__init__(data, 1)
        self.width = width

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        """Make a Gaussian; it knows nothing of its inputs."""
        return Gaussian()

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        """Make a perceptron of a point, or of several side by side."""
        network = Discriminator(self._trunk(channels or 1), nn.Linear(self.width, outputs))
        if norm == "spectral":
            normalise_weights(network)
        return network

    def encoder(self, *, outputs: int, channels: int | None = None) -> nn.Module:
        """Make a perceptron."""
        return self.discriminator(outputs=outputs, channels=channels)

    def autoencoder(self, *, norm: Norm = "none") -> Autoencoder:
        """Make one whose code is a single number."""
        return Autoencoder(self.discriminator(), self.discriminator())

    def _trunk(self, inputs: int) -> nn.Module:
        first, second = nn.Linear(inputs, self.width), nn.Linear(self.width, self.width)
        return nn.Sequential(nn.Flatten(), first, nn.Tanh(), second, nn.Tanh())


class Line(Backbone):
    """Networks for points of a line; `width`: of their hidden layers."""

    name: ClassVar[str] = "line"
    summary = "a Gaussian that stays, and perceptrons"
    config: Any = None

    def __init__(self, width: int = 32) -> None:
        self.width = width

    def misfit(self, data: DataSpec) -> str | None:
        """Return why there are no networks for `data`, or None."""
        return None if data.shape == (1,) else f"the Gaussian is of points on a line, not of shape {data.shape}"

    def __call__(self, data: DataSpec) -> Parts:
        """Bind it to points of a line."""
        if reason := self.misfit(data):
            raise UserError(reason)
        return LineParts(data, self.width)


def line_data(n: int, seed: int = 0) -> ImageSet:
    """Draw `n` points of N(0, 1), float32 `[n, 1]`."""
    return ImageSet(torch.randn(n, 1, generator=torch.Generator().manual_seed(derive(seed, "line"))))


@torch.no_grad()
def judged(variant: Variant, x: Tensor) -> Tensor:
    """Return D's output at points `[n]`, float64 `[n]`; where D judges several together, its output for so many equal
    points, divided by their number.

    Raises `UserError` where D is no function of points with one output.
    """
    D = getattr(variant, "D", None)
    first = next((m for m in D.modules() if isinstance(m, nn.Linear)), None) if isinstance(D, nn.Module) else None
    if first is None:
        raise UserError("it has no D that judges points")
    if isinstance(D, Autoencoder):
        raise UserError("its D rebuilds points, and its error is the judgement")
    several = first.in_features
    was = variant.training
    variant.eval()
    try:
        output = cast(Tensor, D(x.to(first.weight.dtype)[:, None].expand(-1, several)))  # type: ignore[misc]
    except Exception as error:  # a D of a stranger's may want anything besides
        raise UserError(f"its D judges more than points: {brief(named(error), 100)}") from error
    finally:
        variant.train(was)
    if output.shape != (len(x), 1):
        raise UserError(f"its D has no single output, but {list(output.shape[1:])}")
    return output[:, 0].double() / several


class TrainedOnLine:
    """A variant whose D is trained against G's Gaussian at one distance after the other.

    Half of `steps` at `rate` of Adam, the others at a tenth of that. G stays,
    since its player has the rate 0; all other players have D's. Raises `UserError` where D is no function of points,
    does not stay finite or takes more than `MOST_SECONDS` of a processor for a step.
    """

    def __init__(self, lab: Lab, row: str, *, seed: int, batch: int, steps: int, rate: float) -> None:
        name, *settings = row.split()
        self.steps, self.rate, self._now = steps, rate, rate
        self.course = lab.course(
            name, line_data(16384, seed), Line(), seed=seed, batch=batch, settings=settings, optimizers=self._adam
        )
        judged(self.course.variant, torch.zeros(1))
        first = {name: value.clone() for name, value in self.course.variant.state_dict().items()}
        for _ in range(TRIES):
            self.course.restart({**first, SHIFT: torch.ones(1)})
            begun = time.process_time()
            self._advance(self.course.period)
            if (time.process_time() - begun) / self.course.period <= MOST_SECONDS:
                break
        else:
            raise UserError(f"one of its steps takes more than {MOST_SECONDS:g} s of a processor here")
        self.course.restart()

    def at(self, distance: float, points: Tensor) -> Tensor:
        """Train on from where D is, and return its outputs at points, `[n]` in float64."""
        for rate in (self.rate, self.rate / 10):
            self._now = rate
            self.course.restart({SHIFT: torch.full((1,), distance)})
            self._advance(self.steps // 2)
        return judged(self.course.variant, points)

    def _advance(self, steps: int) -> None:
        if fault := self.course.advance(steps):
            raise UserError(f"it diverges: {fault}")

    def _adam(self, player: str, weights: Sequence[Tensor]) -> Optimizer:
        return torch.optim.Adam(weights, 0.0 if player == "G" else self._now, (0.5, 0.99))


def outputs_on_line(
    lab: Lab, rows: Mapping[str, Sequence[float]], points: Tensor, *, batch: int, steps: int, rate: float
) -> tuple[Outputs, dict[str, dict[int, str]]]:
    """Train the D of each row with each seed of the lab, as `TrainedOnLine`; `rows`: with the distances of each.

    Returns D's outputs at points, and why there are none, by row and seed. The lab keeps what was trained.
    """
    outputs: Outputs = {}
    failed: dict[str, dict[int, str]] = {}
    for row, distances in rows.items():
        for seed in lab.seeds:
            lab.tell(f"D of {row}, seed {seed}")
            try:
                found = _kept(lab, row, distances, points, seed=seed, batch=batch, steps=steps, rate=rate)
            except UserError as error:
                failed.setdefault(row, {})[seed] = str(error)
            else:
                outputs.setdefault(row, {})[seed] = dict(zip(distances, found, strict=True))
    return outputs, failed


def _kept(lab: Lab, row: str, distances: Sequence[float], points: Tensor, **how: Any) -> list[Tensor]:
    def compute() -> list[Tensor]:
        course = TrainedOnLine(lab, row, **how)
        return [course.at(distance, points) for distance in distances]

    variant, *settings = row.split()
    key = {"variant": variant, "settings": settings, "distances": distances, "points": points, **how}
    return [points.new_tensor(v) for v in lab.once(key, compute, by_options=False)]
