"""How a variant moves on the Dirac-GAN: its paths, the eigenvalues of its map where it rests, and what these tell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.optim import SGD

from ganbench.contract.experiments import Lab
from ganbench.errors import UserError
from ganbench.toolbox.dirac import Dirac, DiracMap, dirac_data, equilibrium

GRADIENT_DESCENT, OWN_OPTIMIZERS = "gradient descent", "own optimizers"
THERE = 1e-9
"""What is no further from the equilibrium has come to it."""
RESTING = 1e-6
"""What moves by no larger a share of its distance from the equilibrium, in the last period of a path, rests."""
CHANGED = 0.1
"""By a larger share a distance must change to be told to grow or to shrink."""
THINNED = 100
"""So many places of a path are rows, or up to twice as many."""
VERDICTS = (
    "converges: |λ| < 1 and the distance shrinks; cycles: |λ| = 1; diverges: |λ| > 1, so that it leaves the "
    "equilibrium, or the distance grows; rests: it stands still elsewhere."
)
"""What the words mean in which a path is judged."""
NOTHING: Mapping[str, Any] = dict.fromkeys(
    ("optimizers", "seed", "step", "theta", "psi", "real", "imaginary", "verdict", "radius", "left", "factor", "ended")
)


@dataclass(frozen=True)
class Dynamics:
    """How a variant moves.

    `settings`: of the variant, `penalty=1`; `updates`: how many there are in a `period` of steps, and whether at once
    or in turns. `paths`: by optimizers and seed, the places `[1 + periods, 1 + n]` of θ and the n weights of ψ, with
    what is no longer finite where one ended early. `place`: the equilibrium; `values`: the eigenvalues there of the map
    of a period under gradient descent, none where no equilibrium was found; `spread`: the standard error of |λ| by
    noise; `tolerance`: what is so near to 1 is 1, for what repels moves |λ| by the square of the rate.
    """

    variant: str
    settings: tuple[str, ...]
    period: int
    updates: str
    paths: Mapping[tuple[str, int], tuple[np.ndarray, str]]
    place: np.ndarray | None
    values: np.ndarray
    spread: float
    tolerance: float

    @property
    def name(self) -> str:
        """The variant with its settings."""
        return " ".join([self.variant, *self.settings])

    @property
    def radius(self) -> float:
        """|λ|, the spectral radius; NaN where no equilibrium was found."""
        return float(abs(self.values).max()) if self.values.size else math.nan

    def of(self, optimizers: str) -> list[tuple[str, int]]:
        """Return the keys of the paths under gradient descent, or under own optimizers."""
        return [key for key in self.paths if key[0] == optimizers]

    def far(self, key: tuple[str, int]) -> np.ndarray:
        """Return the distances along a path from the equilibrium, or from 0 where there is none."""
        distances: np.ndarray = np.linalg.norm(self.paths[key][0] - (0 if self.place is None else self.place), axis=1)
        return distances

    def quarters(self, key: tuple[str, int]) -> list[float]:
        """Return the largest distance in each quarter of a path, NaN where it ended early."""
        return [math.nan if self.paths[key][1] else float(part.max()) for part in np.array_split(self.far(key), 4)]

    def left(self, key: tuple[str, int]) -> float:
        """Return the last quarter's distance as a share of the first's."""
        first, *_, last = self.quarters(key)
        return float(np.divide(last, first))

    def factor(self, key: tuple[str, int]) -> float:
        """Return by what a step multiplies the distance, from the third quarter to the last."""
        *_, before, last = self.quarters(key)
        return (last / before) ** (4 / (self.period * len(self.paths[key][0]))) if before else 0.0

    def verdict(self, key: tuple[str, int]) -> str:
        """Judge by |λ| and the path, by the path alone under own optimizers and where there is no equilibrium.

        See `VERDICTS`; else it is undecided.
        """
        (path, ended), left = self.paths[key], self.left(key)
        radius, far = self.radius if key[0] == GRADIENT_DESCENT else math.nan, self.far(key)[-1]
        if not ended and far > THERE and np.linalg.norm(path[-1] - path[-2]) <= RESTING * far:
            return "rests"
        if ended or left > 1 + CHANGED or radius > 1 + self.tolerance:
            return "diverges"
        shrinks = left < 1 - CHANGED
        if math.isnan(radius):
            return ("converges" if key[0] == OWN_OPTIMIZERS else "undecided") if shrinks else "cycles"
        return "cycles" if radius >= 1 - self.tolerance else "converges" if shrinks else "undecided"

    def verdicts(self, optimizers: str) -> str:
        """Return the verdict of all seeds, or how many have which; how many are no longer finite."""
        counts = Counter(self.verdict(key) for key in self.of(optimizers))
        ended = sum(bool(self.paths[key][1]) for key in self.of(optimizers))
        told = "/".join(counts) if len(counts) == 1 else ", ".join(f"{word} {n}" for word, n in counts.items())
        return told + (f" ({ended} of {counts.total()} not finite)" if ended else "")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every number: eigenvalues, and of each path some hundred places and what it comes to."""
        known = {"variant": self.variant, "settings": " ".join(self.settings), "updates": self.updates, **NOTHING}
        for value in self.values:
            yield {"kind": "eigenvalue", **known, "real": float(value.real), "imaginary": float(value.imag)}
        for key, (path, ended) in self.paths.items():
            of_path = {**known, "optimizers": key[0], "seed": key[1]}
            ends = {"left": self.left(key), "factor": self.factor(key), "ended": ended}
            yield {"kind": "verdict", **of_path, "verdict": self.verdict(key), "radius": self.radius, **ends}
            for number in range(0, len(path), max(1, len(path) // THINNED)):
                theta, psi = float(path[number, 0]), float(path[number, 1:].mean())
                yield {"kind": "place", **of_path, "step": number * self.period, "theta": theta, "psi": psi}


def dynamics_of(
    lab: Lab,
    variant: str,
    settings: Sequence[str],
    *,
    rate: float,
    steps: int,
    start: float,
    times: float,
    batch: int,
    draws: int,
) -> Dynamics:
    """Walk from θ = ψ = `start`, and differentiate at the equilibrium, in float64.

    `rate`: of gradient descent; `times`: the rates of own optimizers are multiplied by it; `steps`: of each path;
    `batch`: real samples; `draws`: seeds over whose mean a map that draws noise is differentiated. Raises `UserError`
    where a variant has no part.
    """
    shared: dict[str, Any] = {"batch": batch, "settings": settings, "double": True}

    def mapped(seed: int, **chosen: Any) -> DiracMap:
        return DiracMap(lab.course(variant, dirac_data(16 * batch), Dirac(), seed=seed, **shared, **chosen))

    plain = {"optimizers": lambda player, weights: SGD(weights, rate)}
    maps = [mapped(seed, **plain) for seed in range(2)]
    first, period = np.full(maps[0].size, start), maps[0].course.period
    if steps < 8 * period:
        raise UserError(f"its updates repeat after {period} steps, so it needs {8 * period} of them or more")
    updates = order_of_updates(maps[0], first, rate)
    is_random = not np.array_equal(maps[0](first), maps[1](first), equal_nan=True)
    maps = maps + [mapped(seed, **plain) for seed in range(2, draws)] if is_random else maps[:1]
    paths = {(GRADIENT_DESCENT, seed): mapped(seed, **plain).walk(first, steps) for seed in lab.seeds}
    if not any(ended or np.ptp(path[:, 1:], 0).any() for path, ended in paths.values()):
        raise UserError("its slope ψ never moves, as where a norm leaves nothing but its sign")
    paths |= {(OWN_OPTIMIZERS, seed): mapped(seed, times=times).walk(first, steps) for seed in lab.seeds}
    path, _ = paths[GRADIENT_DESCENT, lab.seeds[0]]
    place = equilibrium(maps, path[-len(path) // 4 :].mean(0))
    values, spread = _eigenvalues([] if place is None else [each.jacobian(place) for each in maps])
    return Dynamics(variant, tuple(settings), period, updates, paths, place, values, spread, max(1e-9, 1e-3 * rate**2))


def order_of_updates(plane: DiracMap, start: np.ndarray, rate: float) -> str:
    """Say how many updates a period has under gradient descent, and whether all are of gradients at its beginning."""
    plane.put(start)
    found = plane.course.gradients()
    counts = ", ".join(f"{len(found[player])} {player}" for player in sorted(found))
    if set(found) != {"G", "D"}:
        return counts
    pulls = [sum(one[0].cpu().numpy().ravel() for one in found[player]) for player in ("G", "D")]
    at_once = np.allclose(plane(start), start - rate * np.concatenate(pulls), rtol=0, atol=1e-12, equal_nan=True)
    return f"{counts}, {'at once' if at_once else 'in turns'}"


def _eigenvalues(jacobians: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return the eigenvalues of their mean, and the standard error of |λ|; none where one is not finite."""
    if not jacobians or not np.isfinite(jacobians).all():
        return np.array([]), 0.0
    spread = np.std([abs(np.linalg.eigvals(each)).max() for each in jacobians]) / len(jacobians) ** 0.5
    return np.linalg.eigvals(np.mean(jacobians, 0)), float(spread)
