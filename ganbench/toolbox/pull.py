"""What pulls a generator: the slope of its loss by D's output for its samples, measured on the Dirac-GAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.special import expit

from ganbench.contract.experiments import Course
from ganbench.errors import UserError
from ganbench.toolbox.dirac import PSI, THETA
from ganbench.toolbox.drawn import BEHIND, describe_axes, list_beside, panels, strokes

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure

Form: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Of D's outputs."""


def _bell(v: np.ndarray) -> np.ndarray:
    return 0.5 / np.cosh(v) ** 2


F_PULLS: Mapping[str, tuple[Form, Form]] = {
    "kl": (np.ones_like, lambda v: np.exp(v - 1)),
    "reverse-kl": (lambda v: np.exp(-v), np.ones_like),
    "pearson": (np.ones_like, lambda v: v / 2 + 1),
    "hellinger": (lambda v: np.exp(-v), np.exp),
    "total-variation": (_bell, _bell),
    "jensen-shannon": (lambda v: expit(-v), expit),
    "gan": (lambda v: expit(-v), expit),
}
"""What pulls the generator of an f-GAN, -dL/dD, by the names of `F_DIVERGENCES`: the slope of g_f where G raises E T,
and of f* ∘ g_f where it lowers the bound (Nowozin et al. 2016, tables 2 and 6, from memory, unchecked).
"""
VANISHES, STAYS, GROWS, ODD = "vanishes", "stays", "grows", "is not finite"
"""What becomes of a gradient where D rejects the samples."""
REACH = {VANISHES: 1, STAYS: 1, GROWS: 3, ODD: 3}
"""How far a panel goes up and down, in units of its width: beside exponentials nothing else would be seen."""
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
    samples as far from real data as the D of one output. Raises `UserError` where G is not the point alone, or D
    is more than the slope.
    """
    weights = [name for name, _ in course.variant.named_parameters()]
    if not {THETA, PSI} <= set(weights):
        raise UserError("it has no single point θ and slope ψ")
    if more := [name for name in weights if name.startswith("D.") and name != PSI]:
        raise UserError(f"its D is more than a slope, it has {', '.join(more[:3])}{'…' if more[3:] else ''}")
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


def draw_pulls(pulls: Sequence[Pull], outputs: np.ndarray, behind: Sequence[Form]) -> Figure:
    """Draw gradients and losses, a line of panels for each behaviour where D rejects, its legend beside them.

    `behind`: gradients that stand behind the others in every line of panels.
    """
    of = [pull_where_rejected(outputs, pull.slopes) for pull in pulls]
    kinds = sorted(set(of), reverse=True)
    figure, places = panels(3 * len(kinds), 3, height=3.0, more=0.0, width_ratios=(3, 3, 2.6))
    for kind, left, right, aside in zip(kinds, places[::3], places[1::3], places[2::3], strict=True):
        for form in behind:
            left.plot(outputs, form(outputs), **BEHIND)
        members = [pull for pull, its in zip(pulls, of, strict=True) if its == kind]
        for pull, stroke in zip(members, strokes(len(members)), strict=True):
            left.plot(outputs, pull.slopes, label=", ".join(pull.rows), **stroke)
            right.plot(outputs, pull.losses, **stroke)
        describe_axes(left, f"gradient that {kind} where D rejects", "D(G(z))", "dL / dD(G(z))")
        describe_axes(right, "the loss L itself", "D(G(z))", "L less its value at D = 0")
        for axes, most in ((left, outputs[-1] / 2), (right, outputs[-1])):
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, -REACH[kind] * most), min(high, REACH[kind] * most))
        list_beside(aside, left, 30)
    return figure
