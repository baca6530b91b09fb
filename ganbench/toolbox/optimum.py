"""The optimal D between two Gaussians of a line, N(0, 1) and N(distance, 1), and how far a trained one is from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.special import ndtr

from ganbench.toolbox.divergences import F_DIVERGENCES, density_between, log_normal, variational_bound
from ganbench.toolbox.drawn import BEHIND, describe_axes, list_beside, panels, strokes

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure

RATIO, SIGN, SLOPE, UNKNOWN = "ratio", "sign", "slope", "unknown"
"""What of D has an optimum: log(p/q) that it says, its sign alone, a critic's slope; or nothing that is known."""
TITLES = {
    RATIO: ("p / (p + q), as D says it", "p / (p + q)"),
    SIGN: ("the sign of p - q, as D says it", "D(x) of its largest"),
    SLOPE: ("critics: how steeply D falls (dotted: the closed form)", "-dD/dx, of its largest or 1"),
    UNKNOWN: ("others: D less its mean, in its deviations", "D(x)"),
}
"""Of the panels with outputs, and of what goes up there."""


class Judged(NamedTuple):
    """What a trained D came to.

    `value`: the bound that it gives; `truth`: the divergence; `off`: by how much D itself is off its optimum, None
    where that is not known. It is the root mean square of p/(p + q), over both densities, or of a critic's slope
    between them; of a sign the share of points for which it is wrong.
    """

    value: float
    truth: float
    off: float | None


@dataclass(frozen=True)
class Optimum:
    """What D's outputs say once they are optimal.

    `of`: the divergence whose bound D raises, of `F_DIVERGENCES` or wasserstein. `ratio`: log(p/q) as an output says
    it, of total variation its sign alone; None of a critic. `fall`: how steeply the optimal critic falls, by F_p - F_q
    and the density of the points between (`density_between`); None where that is not known.
    """

    of: str = "wasserstein"
    ratio: Callable[[Tensor], Tensor] | None = None
    fall: Callable[[Tensor, Tensor], Tensor] | None = None

    @property
    def kind(self) -> str:
        """What of D has an optimum."""
        return SLOPE if self.ratio is None else SIGN if self.of == "total-variation" else RATIO

    def steepness(self, x: Tensor, distance: float) -> Tensor | None:
        """Return how steeply the optimal critic falls at points `[n]`, None where there is no closed form."""
        if self.fall is None:
            return None
        far = x > distance / 2  # where 1 less a probability would lose its digits
        gap = torch.where(far, ndtr(distance - x) - ndtr(-x), ndtr(x) - ndtr(x - distance))
        return self.fall(gap, density_between(x, distance))

    def shown(self, x: Tensor, v: Tensor) -> Tensor:
        """Return what is drawn of outputs `v` at equidistant points `x`, as `TITLES` say."""
        if self.ratio is not None:
            return v / v.abs().max() if self.kind == SIGN else self.ratio(v).sigmoid()
        fall = -torch.gradient(v, spacing=(x,))[0]
        return fall / fall.max() if self.fall is None else fall

    def judge(self, x: Tensor, v: Tensor, distance: float) -> Judged:
        """Judge a D by its outputs `v` at equidistant points `x`, both `[n]` in float64, that reach beyond both."""
        step, log_p, log_q = float(x[1] - x[0]), log_normal(x, 0.0), log_normal(x, distance)
        if self.ratio is None:
            return self._critic(x, v, (v * (log_p.exp() - log_q.exp())).sum() * step, distance)
        ratio, best = self.ratio(v), log_p - log_q
        said, truth = (each.sign() / 2 if self.kind == SIGN else each.sigmoid() for each in (ratio, best))
        square = ((log_p.exp() + log_q.exp()) * step / 2 * (said - truth).square()).sum()
        off = square if self.kind == SIGN else square.sqrt()
        bounds = [variational_bound(F_DIVERGENCES[self.of], log_p, log_q, r, step).item() for r in (ratio, best)]
        return Judged(bounds[0], bounds[1], off.item())

    def _critic(self, x: Tensor, v: Tensor, gap: Tensor, distance: float) -> Judged:
        between, step = (x[1:] + x[:-1]) / 2, float(x[1] - x[0])
        slopes, best = v.diff() / step, self.steepness(between, distance)
        weights = density_between(between, distance) * step
        off = None if best is None else (weights * (slopes + best).square()).sum().sqrt().item()
        return Judged((gap / slopes.abs().max()).item(), distance, off)


def draw_outputs(outputs: Mapping[str, Tensor], optima: Mapping[str, Optimum], x: Tensor, distance: float) -> Figure:
    """Draw what each D says at equidistant points, by row, beside its optimum: a line of panels for each kind."""
    of = {row: optima[row].kind if row in optima else UNKNOWN for row in outputs}
    kinds = [kind for kind in TITLES if kind in of.values()]
    figure, places = panels(2 * len(kinds), 2, height=2.9, more=0.0, width_ratios=(5, 2.4))
    for kind, axes, aside in zip(kinds, places[::2], places[1::2], strict=True):
        ratio = log_normal(x, 0.0) - log_normal(x, distance)
        if kind in (RATIO, SIGN):
            axes.plot(x, ratio.sigmoid() if kind == RATIO else ratio.sign(), label="the optimum", **BEHIND)
        rows = [row for row, its in of.items() if its == kind]
        for row, stroke in zip(rows, strokes(len(rows)), strict=True):
            v, optimum = outputs[row], optima.get(row)
            axes.plot(x, optimum.shown(x, v) if optimum else (v - v.mean()) / v.std(), label=row, **stroke)
            if optimum and (best := optimum.steepness(x, distance)) is not None:
                axes.plot(x, best, **{**stroke, "linestyle": ":", "linewidth": 3, "alpha": 0.5})
        describe_axes(axes, TITLES[kind][0], "x", TITLES[kind][1])
        if kind == SLOPE:
            axes.set_ylim(-0.3, 2)
        list_beside(aside, axes, 30)
    return figure
