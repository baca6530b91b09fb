"""What pulls a generator: the slope of its loss by D's output for its samples, measured on the Dirac-GAN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ganbench.contract.experiments import Course
from ganbench.errors import UserError
from ganbench.toolbox.dirac import PSI, THETA

VANISHES, STAYS, GROWS, ODD = "vanishes", "stays", "grows", "is not finite"
"""What becomes of a gradient where D rejects the samples."""
COINCIDE = 1e-6
"""Curves so close coincide, relative to 1 and their size: some variants take D's output in float32 whatever it is."""


class Pull(NamedTuple):
    """dL/dD and the loss L less its value at D = 0, at outputs of D from low to high, of rows that coincide."""

    rows: list[str]
    slopes: np.ndarray
    losses: np.ndarray


def measure_pull(row: str, course: Course, outputs: np.ndarray) -> Pull:
    """Measure where all samples have D's `outputs` and all real data D = 0; `course`: on `Dirac` and `dirac_data`.

    A D that judges several samples at once sees as many equal ones and weighs them alike; one of several outputs puts
    samples as far from real data as the D of one output. Raises `UserError` where G is not the point alone.
    """
    course.restart({THETA: torch.zeros(1), PSI: torch.ones(1, 1)})
    weight = course.variant.state_dict()[PSI]
    features, samples = weight.shape
    course.restart({PSI: torch.full_like(weight, 1 / (samples * features**0.5))})
    head: Any = course.variant.get_submodule(PSI.rpartition(".")[0])
    scale = float(head(weight.new_ones(1, samples)).detach().norm())  # 1, but where the weight is normalised
    slopes, losses = [], []
    for theta in [*(outputs / scale), 0.0]:
        course.restart({THETA: torch.tensor([theta], dtype=torch.float64)})
        gradients = course.gradients().get("G", [[]])
        if len(gradients[0]) != 1:
            raise UserError("its G is no player that moves the sample and nothing else")
        slopes.append(gradients[0][0].item() / scale)
        losses.append(course.losses()["G"][0].item())
    with np.errstate(invalid="ignore"):  # what is infinite at 0 leaves nothing to be told of the others
        return Pull([row], np.array(slopes[:-1]), np.array(losses[:-1]) - losses[-1])


def pull_where_rejected(outputs: np.ndarray, slopes: np.ndarray) -> str:
    """Say what becomes of a gradient where D rejects: its size at the lowest output, beside others.

    It vanishes below a tenth of the largest, and grows where it is 1.5 times that at half the output.
    """
    if not np.isfinite(slopes).all():
        return ODD
    size = np.abs(slopes)
    if size[0] < 0.1 * size.max():
        return VANISHES
    return GROWS if size[0] > 1.5 * np.interp(outputs[0] / 2, outputs, size) else STAYS


def join_pulls(pulls: Sequence[Pull]) -> list[Pull]:
    """Return pulls whose gradients coincide as one, the shortest name first."""
    found: list[Pull] = []
    for pull in pulls:
        same = (each for each in found if np.allclose(each.slopes, pull.slopes, COINCIDE, COINCIDE, equal_nan=True))
        if known := next(same, None):
            known.rows.extend(pull.rows)
        else:
            found.append(pull._replace(rows=[*pull.rows]))
    return [pull._replace(rows=sorted(pull.rows, key=lambda row: (len(row), row))) for pull in found]
