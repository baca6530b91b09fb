"""The Dirac-GAN of a variant, stepped by the harness: how its parameters move, and how they should by a linear map."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import SGD

from ganbench import PSI, THETA, DataSpec, Dirac, Variant, dirac_data
from ganbench.runs.course import HarnessCourse
from ganbench.training.networks import build_variant


def dirac_course(
    cls: type[Variant], config: Any, theta: float, psi: float, *, lr: float = 0.2, batch: int = 1
) -> HarnessCourse:
    """Begin at (θ, ψ), in float64 and by gradient descent; D(x) = ψx, the data are at 0 and the fakes at θ."""
    course = HarnessCourse(
        partial(build_variant, cls, Dirac(), DataSpec((1,)), seed=0, config=config),
        dirac_data(batch),
        seed=0,
        batch=batch,
        device=torch.device("cpu"),
        optimizers=lambda player, weights: SGD(weights, lr),
        double=True,
    )
    start = {THETA: torch.full((1,), theta), PSI: torch.full((1, 1), psi)}
    course.restart({name: value.double() for name, value in start.items()})
    return course


def place(course: HarnessCourse) -> NDArray[np.float64]:
    """Return (θ, ψ)."""
    state = course.variant.state_dict()
    return np.array([state[THETA].item(), state[PSI].item()])


def slopes(course: HarnessCourse) -> NDArray[np.float64]:
    """Return the gradients by θ and ψ of the losses of G and D, both taken here."""
    found = course.gradients()
    return np.array([found[player][0][0].item() for player in ("G", "D")])


def path(course: HarnessCourse, steps: int) -> NDArray[np.float64]:
    """Return (θ, ψ) before each of so many steps and after the last."""
    found = [place(course)]
    for _ in range(steps):
        assert course.advance() == ""
        found.append(place(course))
    return np.array(found)


def differences(of: Callable[[NDArray[np.float64]], float], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slope of a function by central differences."""
    return np.array([(of(at + step) - of(at - step)) / 2e-6 for step in 1e-6 * np.eye(len(at))])
