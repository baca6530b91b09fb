"""The Dirac-GAN: a generator that is a point, a discriminator that is a slope (Mescheder et al. 2018, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ganbench.contract.backbone import Backbone, Discriminator, Parts
from ganbench.contract.data import ImageSet
from ganbench.contract.experiments import Course
from ganbench.contract.types import DataSpec, Norm
from ganbench.errors import UserError

THETA, PSI = "G.theta", "D.head.weight"
"""The two parameters by their names in a variant: where the generator's point lies, and the discriminator's slope."""
EPSILON = 1e-3
"""Half the distance of a central difference: the error of its square is below those of gradients in float32."""
NEWTON_STEPS = 20
STILL = 1e-9
"""What moves by no more in a period is at rest."""


class Point(nn.Module):
    """A generator `[B, z] -> [B, 1]` that makes one point, θ, of every latent."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor) -> Tensor:
        """Return θ as often as there are latents, as values of their own: an update of θ must not move these."""
        return self.theta.expand(len(z), 1).clone()


class Slope(nn.Linear):
    """A linear map `[B, inputs] -> [B, outputs]` by the weight ψ; `normalised`: divided by its norm, as spectral norm
    does to what has one output, but without a power iteration to wait for.
    """

    def __init__(self, inputs: int, outputs: int, *, normalised: bool) -> None:
        super().__init__(inputs, outputs, bias=False)
        nn.init.ones_(self.weight)
        self.normalised = normalised

    def forward(self, x: Tensor) -> Tensor:
        """Return xψ."""
        weight = self.weight / self.weight.norm() if self.normalised else self.weight
        return x.to(weight.dtype) @ weight.T


class DiracParts(Parts):
    """θ and ψ begin at 1, whatever the seed. D has no bias and no norm but the spectral one, with which |ψ| is 1."""

    def generator(self, *, inputs: int | None = None) -> nn.Module:
        """Make a point; it knows nothing of its inputs."""
        return Point()

    def discriminator(self, *, outputs: int = 1, channels: int | None = None, norm: Norm = "batch") -> Discriminator:
        """Make D(x) = ψx, of several points together their sum times ψ."""
        return Discriminator(nn.Flatten(), Slope(channels or 1, outputs, normalised=norm == "spectral"))


class Dirac(Backbone):
    """A point and a slope, for data that are points of a line."""

    name: ClassVar[str] = "dirac"
    summary = "the Dirac-GAN: a point and a slope"
    config: Any = None

    def misfit(self, data: DataSpec) -> str | None:
        """Return why there is no Dirac-GAN for `data`, or None."""
        return None if data.shape == (1,) else f"the Dirac-GAN is of points on a line, not of shape {data.shape}"

    def __call__(self, data: DataSpec) -> Parts:
        """Bind it to points of a line."""
        if reason := self.misfit(data):
            raise UserError(reason)
        return DiracParts(data, 1)


def dirac_data(n: int) -> ImageSet:
    """Return the Dirac-GAN's data: `n` times the point 0, float32 `[n, 1]`."""
    return ImageSet(torch.zeros(n, 1))


class DiracMap:
    """What one period of a variant's steps makes of a place `[1 + n]`: θ, and the n weights of ψ.

    Raises `UserError` for a variant that has no single θ and ψ, or trains more than these.
    """

    def __init__(self, course: Course) -> None:
        trained = {name: weight for name, weight in course.variant.named_parameters() if weight.requires_grad}
        if not {THETA, PSI} <= set(trained):
            raise UserError("it has no single point θ and slope ψ")
        if more := [name for name in trained if name not in (THETA, PSI)]:
            raise UserError(f"it trains more than a point and a slope: {', '.join(more[:3])}{'…' if more[3:] else ''}")
        self.course, self.size, self._weights = course, 1 + trained[PSI].numel(), trained
        self._first = {name: value.clone() for name, value in course.variant.state_dict().items()}

    def put(self, place: np.ndarray) -> None:
        """Begin at step 0 there; all else is as it was at first."""
        theta, psi = torch.from_numpy(place[:1]), torch.from_numpy(place[1:]).view(self._weights[PSI].shape)
        self.course.restart({**self._first, THETA: theta, PSI: psi})

    def read(self) -> np.ndarray:
        """Return the place, float64."""
        return np.concatenate([self._weights[name].detach().double().cpu().numpy().ravel() for name in (THETA, PSI)])

    def __call__(self, place: np.ndarray) -> np.ndarray:
        """Return where the first period leads from a place."""
        self.put(place)
        self.course.advance(self.course.period)
        return self.read()

    def jacobian(self, place: np.ndarray) -> np.ndarray:
        """Return the Jacobian at a place, by central differences."""
        steps = EPSILON * np.eye(self.size)
        return np.stack([(self(place + step) - self(place - step)) / (2 * EPSILON) for step in steps], 1)

    def walk(self, place: np.ndarray, steps: int) -> tuple[np.ndarray, str]:
        """Return the places after each period, the first included, and what is no longer finite where it ends early."""
        self.put(place)
        path, ended = [place], ""
        for _ in range(steps // self.course.period):
            ended = self.course.advance(self.course.period)
            path.append(self.read())
            if not ended and not np.isfinite(path[-1]).all():
                ended = "θ or ψ is no longer finite"
            if ended:
                break
        return np.array(path), ended


def equilibrium(maps: Sequence[DiracMap], near: np.ndarray) -> np.ndarray | None:
    """Return where maps, which differ in their noise alone, leave a place as it is in the mean, or None.

    The paper's equilibrium θ = ψ = 0 where it is one, otherwise what Newton's method finds near a place.
    """
    place = np.zeros(maps[0].size)
    for step in range(NEWTON_STEPS):
        moves = np.array([each(place) - place for each in maps])
        noise = moves.std(0, ddof=1) / len(maps) ** 0.5 if len(maps) > 1 else 0.0
        if (abs(moves.mean(0)) <= STILL + 4 * noise).all():  # not so where it is not finite
            return place
        if not step:
            if not np.isfinite(near).all():
                return None
            place = near
            continue
        slopes = np.mean([each.jacobian(place) for each in maps], 0) - np.eye(len(place))
        if not (np.isfinite(slopes).all() and np.isfinite(moves).all()):
            return None
        place = place - np.linalg.lstsq(slopes, moves.mean(0))[0]
    return None


def damped_radius(h: float, damping: float) -> float:
    """Return the spectral radius of ψ ← ψ - h (θ/2 + damping · ψ), then θ ← θ + h ψ/2.

    That is the GAN's map in turns, at rate h, with a slope that is damped (Mescheder et al. 2018, lemmas 3.2 and 3.3,
    from memory, unchecked).
    """
    D, G = np.array([[1, 0], [-h / 2, 1 - h * damping]]), np.array([[1, h / 2], [0, 1]])
    return float(abs(np.linalg.eigvals(G @ D)).max())
