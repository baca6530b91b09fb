"""Pictures of how variants move on the Dirac-GAN: the plane of their paths, and that of their eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from ganbench.toolbox.drawn import COLOURS, GREY, describe_axes, legend_below, panels
from ganbench.toolbox.dynamics import GRADIENT_DESCENT, OWN_OPTIMIZERS, Dynamics

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, RED, GREEN, PURPLE, ORANGE, *_ = COLOURS
OF_VERDICTS = {"converges": GREEN, "cycles": BLUE, "diverges": RED, "rests": PURPLE, "undecided": GREY}
MARKERS = "osD^v<>PX*hp"
ACROSS = 4
SEEN = 2.2
"""Times the start, as far as the plane of paths is seen."""
EDGE = 1.4
"""As far as eigenvalues are seen."""
PATHS = (
    "θ and ψ from the start (dot), by gradient descent and by each variant's own optimizers. The verdict is of "
    "gradient descent, the cross is the equilibrium; the data lie at 0."
)
EIGENVALUES = (
    "Left, eigenvalues λ of the map of one period under gradient descent: what lies within the circle converges. "
    "Right, ln λ / h, which a small rate h brings to those of the vector field: what lies left of zero does."
)
NAMED, LETTERS = 4, 56
"""So many of those who share eigenvalues are named, in lines of so many letters."""


def draw_paths(found: Sequence[Dynamics], seed: int, start: float) -> tuple[Figure, str]:
    """Draw the paths of a seed, a panel for each variant, all of one scale, with a caption; ψ: the mean of weights."""
    figure, places = panels(len(found), ACROSS, height=2.4, more=0.7, sharex=True, sharey=True)
    for number, (axes, each) in enumerate(zip(places, found, strict=True)):
        _draw_path(axes, each, seed, start)
        is_lowest = number >= len(found) - ACROSS
        axes.tick_params(labelbottom=is_lowest)
        axes.set_xlabel("θ, the generator's point" if is_lowest else "")
        axes.set_ylabel("" if number % ACROSS else "ψ, the slope of D")
    legend_below(figure, places)
    return figure, PATHS


def _draw_path(axes: Axes, each: Dynamics, seed: int, start: float) -> None:
    for optimizers, colour, width in ((OWN_OPTIMIZERS, ORANGE, 0.8), (GRADIENT_DESCENT, BLUE, 1.1)):
        path, _ = each.paths[optimizers, seed]
        axes.plot(path[:, 0], path[:, 1:].mean(1), color=colour, linewidth=width, label=optimizers)
    axes.plot(start, start, "o", color="black", markersize=3)
    if each.place is not None:
        axes.plot(each.place[0], each.place[1:].mean(), "+", color="black", markersize=8)
    verdict = each.verdict((GRADIENT_DESCENT, seed))
    describe_axes(axes, "\n".join(filter(None, [each.variant, " ".join(each.settings), verdict])), "", "")
    axes.title.set(color=OF_VERDICTS[verdict], fontsize=8)
    axes.set(xlim=(-SEEN * start, SEEN * start), ylim=(-SEEN * start, SEEN * start), aspect="equal")


def draw_eigenvalues(found: Sequence[Dynamics], rate: float) -> tuple[Figure, str]:
    """Draw the eigenvalues λ, and ln λ / rate, with a caption; variants that share them share a mark."""
    groups: dict[tuple[complex, ...], list[Dynamics]] = {}
    for each in found:
        if each.values.size:
            key = sorted({complex(round(v.real, 5), abs(round(v.imag, 5))) for v in each.values}, key=str)
            groups.setdefault(tuple(key), []).append(each)
    figure, (left, right) = panels(2, 2, height=3.9, more=0.11 * len(groups))
    for number, members in enumerate(groups.values()):
        label = ", ".join(each.name for each in members[:NAMED])
        label += f" and {len(members) - NAMED} more" if members[NAMED:] else ""
        values = members[0].values.astype(complex)
        logs = np.log(values[values != 0]) / rate
        for axes, marks in ((left, values), (right, logs)):
            style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            axes.plot(marks.real, marks.imag, ls="", ms=6, alpha=0.8, label=fill(label, LETTERS), **style)
    turn = np.linspace(0, 2 * math.pi, 200)
    left.plot(np.cos(turn), np.sin(turn), color=GREY, linewidth=0.8, zorder=1)
    right.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    describe_axes(left, "", "real part of λ", "imaginary part of λ")
    describe_axes(right, "", "real part of ln λ / h", "imaginary part of ln λ / h")
    left.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal")
    right.set(xlim=(-2, 1), ylim=(-3, 3))
    legend_below(figure, [left], columns=2)
    far = [each.name for each in found if abs(each.values).max(initial=0) > EDGE]
    return figure, EIGENVALUES + (f" Outside the picture: {', '.join(far)}." if far else "")
