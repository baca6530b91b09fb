"""Films of points in the plane: what runs generate at shares of their budget, over the real points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ganbench.contract.experiments import Made
from ganbench.scoring.samples import samples_at
from ganbench.toolbox.drawn import COLOURS

if TYPE_CHECKING:  # they take a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

WIDTH = 8.0
"""Inches of a figure."""
REAL, SHOWN = "#C4C4C4", 1000
"""The colour of real points, and how many of them are drawn."""
BEYOND = 1.4
"""A frame reaches so many times as far from the mean of the real points as the farthest of them, by coordinate."""


def draw_film(
    runs: Mapping[str, Made], shares: Sequence[float], n: int, said: Mapping[tuple[str, float], str]
) -> Figure:
    """Draw a row of frames for each run, by its name: the first `n` points of its evaluation at each share, real ones
    beneath in grey; 0 is before its first step.

    `said`: what stands above a frame, by the name of the run and the share. There too stands the share of points that
    lie beyond the edges of the frame, so that none are missing unseen, or that the weights of this share were not kept.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 0.6 + 8.2 / (len(shares) + 1) * len(runs)), layout="constrained")
    places = figure.subplots(len(runs), len(shares), squeeze=False, sharex=True, sharey=True)
    for row, (name, made) in zip(places, runs.items(), strict=True):
        row[0].set_ylabel("\n".join(name.split()), fontsize=8, parse_math=False)
        for axes, share in zip(row, shares, strict=True):
            kept = not share or share in made.shares
            points = samples_at(made, share, n).images if kept else None
            text = said.get((name, share), "") if kept else "not kept"
            _draw_frame(axes, made.data.test.images[:SHOWN], points, text)
    for axes, share in zip(places[-1], shares, strict=True):
        axes.set_xlabel(f"{share:.0%}", fontsize=8)
    figure.supxlabel("share of the budget (each frame: x₁ across, x₂ up)", fontsize=9)
    return figure


def _draw_frame(axes: Axes, real: Tensor, points: Tensor | None, said: str) -> None:
    grey = real.double().numpy()
    middle = grey.mean(0)
    reach = BEYOND * float(abs(grey - middle).max())
    axes.scatter(grey[:, 0], grey[:, 1], s=5, color=REAL, linewidths=0)
    axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
    axes.set_box_aspect(1)
    axes.tick_params(labelsize=6)
    parts = [said] if said else []
    if points is not None:
        made = points.double().numpy()
        axes.scatter(made[:, 0], made[:, 1], s=1.5, color=COLOURS[0], linewidths=0)
        outside = float((abs(made - middle) > reach).any(1).mean())
        parts += [f"{outside:.0%} outside"] if outside else []
    axes.set_title(", ".join(parts), fontsize=7, pad=2)
