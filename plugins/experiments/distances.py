"""How far two densities are apart by each divergence, and how that moves with their distance, exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from annotated_types import Gt, Le
from matplotlib.figure import Figure

import ganbench as gb
from ganbench import Claim, Finding, Lab, Table, hookimpl

Values: TypeAlias = Sequence[Mapping[str, tuple[float, float]]]
KERNELS = {
    "MMD² (rational quadratic)": lambda x, y: gb.rational_quadratic_kernel(x, y, (0.2, 0.5, 1.0, 2.0, 5.0)),
    "MMD² (Gaussian)": gb.gaussian_kernel,
}

FAR = 6.0
"""Deviations, from which on Gaussians are far apart."""


@dataclass(frozen=True)
class Config:
    """Options.

    span: distances from 0 to this; in deviations of the Gaussians.
    points: how many of them beside 0.
    """

    span: Annotated[float, Gt(0), Le(12)] = 8.0
    points: gb.Count = 80


def drawn_exact(exact: Mapping[str, Values], at: Sequence[float]) -> Figure:
    """Draw each divergence and its slope by the distance; what is infinite is named."""
    figure, places = gb.panels(3 * len(exact), 3, height=3.2, more=0.0, width_ratios=(3, 3, 1.9))
    for left, right, aside, (case, values) in zip(places[::3], places[1::3], places[2::3], exact.items(), strict=True):
        for name, stroke in zip(values[0], gb.strokes(len(values[0])), strict=True):
            begin = 1 if math.isnan(values[0][name][1]) else 0  # a kink or a jump at 0
            left.plot(at[begin:], [each[name][0] for each in values[begin:]], label=name, **stroke)
            left.plot(at[:begin], [each[name][0] for each in values[:begin]], marker="o", markersize=4, **stroke)
            right.plot(at, [each[name][1] for each in values], **stroke)
        left.set_ylim(-1.6, 8)
        right.set_ylim(-0.5, 3)
        infinite = ", ".join(name for name, (value, _) in values[-1].items() if math.isinf(value))
        title = f"{case}" + (f"\n∞: {infinite}" if infinite else "")
        gb.describe_axes(left, title, "distance θ", "divergence")
        gb.describe_axes(right, "its slope", "distance θ", "d divergence / dθ")
        gb.list_beside(aside, left, 26)
    return figure


def claims_of_exact(exact: Mapping[str, Values], at: Sequence[float]) -> list[Claim]:
    """Compare with what the papers say, which are cited from memory, unchecked."""
    lines, gaussians = (values[1:] for values in exact.values())  # the first is of distance 0
    last, js = gaussians[-1], {v["jensen-shannon"] for v in lines}
    slopes = [v["wasserstein"] for v in (*lines, *gaussians)]
    mmd = max(v[name][0] for v in (*lines, *gaussians) for name in KERNELS)
    infinite = all(math.isinf(v[name][0]) for v in lines for name in ("kl", "reverse-kl", "pearson"))
    js_far = 2 * math.log(2) - last["jensen-shannon"][0] < 0.05 and last["jensen-shannon"][1] < 0.05
    return [
        Claim(
            "Of supports that do not meet, JS is log 2 whatever the distance, its slope 0, KL is infinite (Arjovsky "
            "et al. 2017, example 1).",
            f"{', '.join(f'{value:.4f}, slope {slope:g}' for value, slope in js)}: 2 log 2, since here it "
            "is the sum of both KL and not half of it.",
            len(js) == 1 and all(abs(v - 2 * math.log(2)) < 1e-9 and s == 0 for v, s in js) and infinite,
        ),
        Claim(
            "W is |θ|, and its slope 1 (Arjovsky et al. 2017, example 1).",
            f"slopes from {min(s for _, s in slopes):.6f} to {max(s for _, s in slopes):.6f} in both cases.",
            all(abs(s - 1) < 1e-9 for _, s in slopes),
        ),
        Claim(
            "Of Gaussians far apart, JS comes to its largest and its slope to 0, so that G has nothing to learn from "
            "(Arjovsky & Bottou 2017, theorem 2.4); KL's slope is θ / σ².",
            f"at θ = {at[-1]:g} JS is {last['jensen-shannon'][0]:.4g} of {2 * math.log(2):.4g}, slope "
            f"{last['jensen-shannon'][1]:.2g}; KL's slope {last['kl'][1]:.4g}.",
            js_far and abs(last["kl"][1] - at[-1]) < 1e-6 if at[-1] >= FAR else None,
        ),
        Claim(
            "MMD² is bounded by twice the kernel's largest value (Gretton et al. 2012).",
            f"{mmd:.3g} of 10 at most.",
            mmd <= 10,
        ),
    ]


class Distances(gb.Experiment):
    name = "distances"
    summary = "each divergence and its slope, by the distance of two supports and of two Gaussians"
    paper = "Arjovsky et al. 2017, example 1 and figure 1"
    config: Config = Config()
    variants = ("gan",)

    def find(self, lab: Lab) -> Finding:
        at = [lab.options.span * k / lab.options.points for k in range(lab.options.points + 1)]
        exact: dict[str, Values] = {
            "parallel lines, as in example 1": [gb.distances_of_lines(d, KERNELS) for d in at],
            "Gaussians of deviation 1": [gb.distances_of_gaussians(d, 1.0, KERNELS) for d in at],
        }
        measured = [
            {"of": case, "divergence": name, "distance": d, "value": value, "slope": slope}
            for case, values in exact.items()
            for d, each in zip(at, values, strict=True)
            for name, (value, slope) in each.items()
        ]
        shown = sorted({len(at) // 8 or 1, len(at) // 2, len(at) - 1})
        tables = [
            Table(
                f"{case}: value and slope",
                ["divergence", *(f"θ = {at[k]:g}" for k in shown)],
                [[name, *(f"{values[k][name][0]:.4g}, {values[k][name][1]:.3g}" for k in shown)] for name in values[0]],
                "nan: a slope of what is infinite, or of what is not continuous there." if case[0] == "p" else "",
            )
            for case, values in exact.items()
        ]
        caption = (
            "Divergences and their slopes by the distance θ. jensen-shannon is the sum of both KL, so that it ends at "
            "2 log 2; gan is the same less 2 log 2. Of these Gaussians kl is reverse-kl. A point "
            "marks 0 where there is no slope. What leaves a panel goes on in the CSV."
        )
        protocol = {
            "distances": len(at),
            "span": at[-1],
            "dtype": "float64",
            "sums": "over 4001 points; Gauss-Legendre",
        }
        notes = [
            "Nothing is trained and nobody takes part: no seeds, no intervals.",
            "Papers are cited from memory, unchecked.",
            "least-squares: ∫ (p - q)² / (p + q), Pearson's χ² between p + q and 2q, which LSGAN's D measures.",
        ]
        figures = {"distances": (drawn_exact(exact, at), caption)}
        return Finding(tables, measured, claims_of_exact(exact, at), figures, protocol, {}, notes)


@hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [Distances()]
