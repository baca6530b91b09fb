"""What D says once it is trained to the end, beside its optimum and the divergence that its bound is of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Annotated, Any, TypeAlias

import torch
from annotated_types import Gt, Le
from matplotlib.figure import Figure
from scipy.stats import t as student
from torch import Tensor
from torch.special import ndtr

import ganbench as gb
from ganbench import F_DIVERGENCES, Claim, Finding, Lab, Table, TrainedOnLine, UserError, hookimpl

Ratio: TypeAlias = Callable[[Tensor], Tensor]
Distance = Annotated[float, Gt(0), Le(12)]
TINY = 1e-6
READS: Mapping[str, tuple[str, Ratio]] = {
    **dict.fromkeys(("gan", "gan-minimax", "pacgan", "fgan"), ("jensen-shannon", lambda v: v)),
    "lsgan": ("least-squares", lambda v: v.clamp(TINY, 1 - TINY).logit()),
    "hinge": ("total-variation", lambda v: v),
    "fgan divergence=kl": ("kl", lambda v: v - 1),
    "fgan divergence=reverse-kl": ("reverse-kl", lambda v: v),
    "fgan divergence=pearson": ("pearson", lambda v: (1 + v / 2).clamp(min=TINY).log()),
    "fgan divergence=hellinger": ("hellinger", lambda v: 2 * v),
    "fgan divergence=total-variation": ("total-variation", lambda v: v),
}
"""The divergence whose bound D raises, and log(p/q) as D's output says it."""
CRITICS: Mapping[str, Callable[[Tensor, Tensor], Tensor] | None] = {
    "wgan-gp": lambda gap, between: 1 + gap / (20 * between),
    "wgan-lp": lambda gap, between: 1 + gap / (20 * between),
    "wgan-div": lambda gap, between: (gap / (12 * between)) ** 0.2,
    "wgan": None,
}
"""How steeply the optimal critic falls, by F_p - F_q and the density of the points between, where that is known.

It maximises ∫ -D' (F_p - F_q) less the penalty, 10 (|D'| - 1)² or 2 |D'|⁶, point by point (derived here).
"""


@dataclass(frozen=True)
class Config:
    """Options.

    look: the distance at which D is looked at, in deviations of the two Gaussians.
    distances: at which bounds are taken.
    steps: of training at each distance.
    batch: of real points.
    rate: of D's Adam at first.
    tolerance: by how much what D says may be off, a root mean square or a share of points.
    """

    look: Distance = 2.0
    distances: tuple[Distance, ...] = (1.0, 2.0, 4.0)
    steps: gb.Count = 240
    batch: gb.Count = 256
    rate: gb.Positive = 0.01
    tolerance: gb.Positive = 0.05


def critic_form(row: str, x: Tensor, distance: float) -> Tensor | None:
    """Return how steeply the optimal critic falls at points, None where it has no closed form."""
    form, far = CRITICS[row], x > distance / 2  # where 1 less a probability would lose its digits
    gap = torch.where(far, ndtr(distance - x) - ndtr(-x), ndtr(x) - ndtr(x - distance))
    return form(gap, gb.density_between(x, distance)) if form else None


def measure(row: str, x: Tensor, v: Tensor, distance: float) -> dict[str, float | None]:
    """Return the bound that a trained D gives, the truth, and by how much D itself is off: the root mean square of
    p/(p + q) or of a critic's slope, or the share of points for which a sign is wrong.
    """
    step = float(x[1] - x[0])
    log_p, log_q = gb.log_normal(x, 0.0), gb.log_normal(x, distance)
    if row in READS:
        name, read = READS[row]
        ratio, best = read(v), log_p - log_q
        said, truth = (each.sign() / 2 if name == "total-variation" else each.sigmoid() for each in (ratio, best))
        weights = (log_p.exp() + log_q.exp()) * step / 2
        bounds = [gb.variational_bound(F_DIVERGENCES[name], log_p, log_q, r, step).item() for r in (ratio, best)]
        square = (weights * (said - truth).square()).sum()
        wrong = square if name == "total-variation" else square.sqrt()
        return {"value": bounds[0], "truth": bounds[1], "off": wrong.item()}
    slopes, form = v.diff() / step, critic_form(row, (x[1:] + x[:-1]) / 2, distance)
    gap = (v * (log_p.exp() - log_q.exp())).sum() * step
    weights = gb.density_between((x[1:] + x[:-1]) / 2, distance) * step
    off = None if form is None else (weights * (slopes + form).square()).sum().sqrt().item()
    return {"value": (gap / slopes.abs().max()).item(), "truth": distance, "off": off}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean over seeds and the half width of its 95 % interval, NaN of one seed."""
    n = len(values)
    return fmean(values), stdev(values) / math.sqrt(n) * float(student.ppf(0.975, n - 1)) if n > 1 else math.nan


def worded(values: Sequence[float | None]) -> str:
    known = [each for each in values if each is not None]
    mean, half = interval(known) if known else (math.nan, math.nan)
    return "–" if not known else f"{mean:.3g}" + (f" ± {half:.1g}" if half == half else "")


def drawn_outputs(outputs: Mapping[str, Tensor], x: Tensor, look: float) -> Figure:
    """Draw what each D says, the mean over seeds, beside its optimum: kinds of optima one below the other."""
    log_p, log_q = gb.log_normal(x, 0.0), gb.log_normal(x, look)
    kinds: dict[str, list[str]] = {}
    for row in outputs:
        signs = row in READS and READS[row][0] == "total-variation"
        kinds.setdefault(
            "sign" if signs else "ratio" if row in READS else "slope" if row in CRITICS else "", []
        ).append(row)
    titles = {
        "ratio": ("p / (p + q), as D says it", "p / (p + q)"),
        "sign": ("the sign of p - q, as D says it", "D(x) of its largest"),
        "slope": ("critics: how steeply D falls (dotted: the closed form)", "-dD/dx, of its largest or 1"),
        "": ("others: D less its mean, in its deviations", "D(x)"),
    }
    figure = Figure(figsize=(8.2, 3 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), 2, squeeze=False, width_ratios=(5, 2.4))
    for (axes, aside), (kind, rows) in zip(
        grid, sorted(kinds.items(), key=lambda k: list(titles).index(k[0])), strict=True
    ):
        if kind in ("ratio", "sign"):
            best = (log_p - log_q).sigmoid() if kind == "ratio" else (log_p - log_q).sign()
            axes.plot(x, best, color="#C4C4C4", linewidth=5, label="the optimum", zorder=1)
        for row, stroke in zip(rows, gb.strokes(len(rows)), strict=True):
            y, form = outputs[row], critic_form(row, x, look) if kind == "slope" else None
            if kind == "ratio":
                y = READS[row][1](y).sigmoid()
            elif kind == "slope":
                y = -torch.gradient(y, spacing=(x,))[0]
                y = y if form is not None else y / y.max()
            elif kind == "sign":
                y = y / y.abs().max()
            elif kind == "":
                y = (y - y.mean()) / y.std()
            axes.plot(x, y, label=row, **stroke)
            if form is not None:
                axes.plot(x, form, **{**stroke, "linestyle": ":", "linewidth": 3, "alpha": 0.5})
        gb.describe_axes(axes, titles[kind][0], "x", titles[kind][1])
        if kind == "slope":
            axes.set_ylim(-0.3, 2)
        gb.list_beside(aside, axes, 34)
    return figure


def drawn_bounds(found: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the bounds of trained discriminators beside the truth, a panel for each divergence."""
    kinds = list(dict.fromkeys(each["of"] for each in found))
    lines = math.ceil(len(kinds) / 3)
    figure = Figure(figsize=(8.6, 3.4 * lines), layout="constrained")
    grid = figure.subplots(lines, 3, squeeze=False).flat
    for kind, axes in zip(kinds, grid, strict=False):
        members = [each for each in found if each["of"] == kind]
        truth = sorted({(each["distance"], each["truth"]) for each in members})
        axes.plot(*zip(*truth, strict=True), color="#C4C4C4", linewidth=5, label="exact", zorder=1)
        rows = list(dict.fromkeys(each["name"] for each in members))
        for row, stroke in zip(rows, gb.strokes(len(rows)), strict=True):
            by = {
                d: interval([e["value"] for e in members if e["name"] == row and e["distance"] == d]) for d, _ in truth
            }
            axes.errorbar(
                list(by), *zip(*by.values(), strict=True), label=row, marker="o", markersize=3, capsize=2, **stroke
            )
        if truth[-1][1] > 20:
            axes.set_yscale("log")
        gb.describe_axes(axes, kind, "distance θ", "bound by D")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7, frameon=False)
    for axes in grid:
        axes.axis("off")
    return figure


SAID = {
    "jensen-shannon": "D's optimum is log p/q, σ(D) = p/(p + q) (Goodfellow et al. 2014, proposition 1)",
    "least-squares": "D's optimum is p/(p + q) (Mao et al. 2017, eq. 5)",
    "total-variation": "D's optimum has the sign of p - q (Lim & Ye 2017; Nowozin et al. 2016, table 2)",
    "kl": "D's optimum is 1 + log p/q (Nowozin et al. 2016, table 2)",
    "reverse-kl": "g_f(D)'s optimum is -q/p, D's log p/q (Nowozin et al. 2016, table 2)",
    "pearson": "D's optimum is 2 (p/q - 1) (Nowozin et al. 2016, table 2)",
    "hellinger": "D's optimum is ½ log p/q (Nowozin et al. 2016, table 2)",
    "wasserstein": "The optimal critic's slope is 1 between the data (Gulrajani et al. 2017, proposition 1), and at "
    "a finite penalty 1 + (F_p - F_q) / 2λr, of a power 6 ((F_p - F_q) / 12r)^(1/5) (derived here; r their density)",
}


def claims_of_trained(found: Sequence[Mapping[str, Any]], look: float, tolerance: float) -> list[Claim]:
    claims = []
    for kind, said in SAID.items():
        offs: dict[str, list[float]] = {}
        for each in found:
            if each["of"] == kind and each["distance"] == look and each["off"] is not None:
                offs.setdefault(each["name"], []).append(each["off"])
        far = [row for row, off in offs.items() if not fmean(off) <= tolerance]
        text = "; ".join(f"{row} {worded(off)}" for row, off in offs.items())
        reason = (
            f"{', '.join(far)}: more than {tolerance:g}; whether longer training mends it was not measured."
            if far
            else ""
        )
        if offs:
            claims.append(Claim(f"{said}.", f"off it at θ = {look:g}: {text}.", not far, reason))
    if found:
        worst = max(found, key=lambda each: (math.isnan(each["value"]), each["value"] - each["truth"]))
        excess = f"the largest excess is {worst['value'] - worst['truth']:.2g}"
        text = f"{excess}, of {worst['name']} at θ = {worst['distance']:g}."
        holds = all(each["value"] <= each["truth"] + 1e-6 for each in found)
        claims.append(Claim("What D says is a lower bound, whatever D is (Nowozin et al. 2016, eq. 4).", text, holds))
    return claims


class OptimalD(gb.Experiment):
    name = "optimal-d"
    summary = "what D says once it is trained to the end, beside its optimum and the exact divergences"
    paper = "Goodfellow et al. 2014, proposition 1; Arjovsky et al. 2017, example 1"
    config: Config = Config()

    def find(self, lab: Lab) -> Finding:
        options, found, outputs = lab.options, list[dict[str, Any]](), dict[str, dict[int, Tensor]]()
        every = sorted({*options.distances, options.look})
        x = torch.linspace(-6, every[-1] + 6, 1601, dtype=torch.float64)
        failed: dict[str, dict[int, str]] = {}
        for row in (*lab.variants, *(row for row in READS if row.split()[0] in lab.variants and " " in row)):
            for seed in lab.seeds:
                lab.tell(f"D of {row}, seed {seed}")
                try:
                    course = TrainedOnLine(
                        lab, row, seed=seed, batch=options.batch, steps=options.steps, rate=options.rate
                    )
                    judged = {d: course.at(d, x) for d in (every if row in READS or row in CRITICS else [options.look])}
                except UserError as error:
                    failed.setdefault(row, {})[seed] = str(error)
                    continue
                outputs.setdefault(row, {})[seed] = judged[options.look]
                of = READS[row][0] if row in READS else "wasserstein"
                for distance, v in judged.items() if row in READS or row in CRITICS else ():
                    found.append(
                        {"of": of, "name": row, "seed": seed, "distance": distance, **measure(row, x, v, distance)}
                    )
        if not outputs:
            why = "; ".join(f"{row}: {next(iter(of.values()))}" for row, of in failed.items())
            raise UserError(f"optimal-d: nobody has a D that judges points; {why}")
        rows = []
        for row in outputs:
            mine = [each for each in found if each["name"] == row]
            bounds = [[each["value"] for each in mine if each["distance"] == d] for d in every]
            offs = [each["off"] for each in mine if each["distance"] == options.look]
            lost = f"{len(failed.get(row, {}))} of {len(lab.seeds)}"
            rows.append([row, mine[0]["of"] if mine else "–", worded(offs), *map(worded, bounds), lost])
        truths = {(each["of"], each["distance"]): each["truth"] for each in found}
        for of in dict.fromkeys(each["of"] for each in found):
            rows.append(["exact", of, "–", *(f"{truths[of, d]:.3g}" for d in every), "–"])
        measured: list[Mapping[str, Any]] = [{**each, "x": None} for each in found]
        for row, each_seed in outputs.items():
            for seed, v in each_seed.items():
                place = {"of": "D(x)", "name": row, "seed": seed, "distance": options.look}
                measured += [
                    {**place, "value": value, "truth": None, "off": None, "x": at}
                    for at, value in zip(x[::20].tolist(), v[::20].tolist(), strict=True)
                ]
        columns = ["row", "bound of", f"D off at {options.look:g}", *(f"bound at {d:g}" for d in every), "failed"]
        note = (
            "Off: root mean square of p/(p + q) as D says it less its optimum, over both densities, or of a critic's "
            "slope between them; of the sign of p - q, the share of points for which it is wrong. Bounds of "
            "wasserstein: E D(x) - E D(G(z)) by the largest slope of D. "
            + (
                f"Mean ± 95 % (Student's t) over {len(lab.seeds)} seeds."
                if len(lab.seeds) > 1
                else "One seed: no interval."
            )
        )
        figures = {
            "optimum": (
                drawn_outputs(
                    {row: torch.stack([*each.values()]).mean(0) for row, each in outputs.items()}, x, options.look
                ),
                f"D once trained, real data N(0, 1), G N({options.look:g}, 1); mean over seeds. In grey the optimum.",
            )
        }
        if found:
            caption = "The bound that a trained D gives, with the exact divergence in grey; bars: 95 % over seeds."
            figures["bounds"] = (drawn_bounds(found), caption)
        left_out = {row: next(iter(of.values())) for row, of in failed.items() if row not in outputs}
        notes = [
            f"{row}, seed {seed}: {why}" for row, of in failed.items() if row in outputs for seed, why in of.items()
        ]
        protocol = {
            "real": "N(0, 1)", "G": "N(θ, 1), fixed", "D": "perceptron 32-32, tanh", "optimizer": "Adam 0.5, 0.99",
            "rate": f"{options.rate:g}, then a tenth", "seeds": list(lab.seeds), "dtype": "float32, sums float64",
        }  # fmt: skip
        table = Table("Trained discriminators", columns, rows, note)
        claims = claims_of_trained(found, options.look, options.tolerance)
        return Finding([table], measured, claims, figures, protocol, left_out, notes)


@hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [OptimalD()]
