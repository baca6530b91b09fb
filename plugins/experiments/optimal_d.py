"""What D says once it is trained to the end, beside its optimum and the divergence that its bound is of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le

import ganbench as gb
from ganbench import Claim, Finding, Lab, Optimum, Table, UserError, by_seed, hookimpl, with_interval

Distance = Annotated[float, Gt(0), Le(12)]
TINY = 1e-6
OPTIMA: Mapping[str, Optimum] = {
    **dict.fromkeys(("gan", "gan-minimax", "pacgan", "fgan"), Optimum("jensen-shannon", lambda v: v)),
    "lsgan": Optimum("least-squares", lambda v: v.clamp(TINY, 1 - TINY).logit()),
    "hinge": Optimum("total-variation", lambda v: v),
    "fgan divergence=kl": Optimum("kl", lambda v: v - 1),
    "fgan divergence=reverse-kl": Optimum("reverse-kl", lambda v: v),
    "fgan divergence=pearson": Optimum("pearson", lambda v: (1 + v / 2).clamp(min=TINY).log()),
    "fgan divergence=hellinger": Optimum("hellinger", lambda v: 2 * v),
    "fgan divergence=total-variation": Optimum("total-variation", lambda v: v),
    **dict.fromkeys(("wgan-gp", "wgan-lp"), Optimum(fall=lambda gap, between: 1 + gap / (20 * between))),
    "wgan-div": Optimum(fall=lambda gap, between: (gap / (12 * between)) ** 0.2),
    "wgan": Optimum(),
}
"""By row. A critic maximises ∫ -D' (F_p - F_q) less the penalty, 10 (|D'| - 1)² or 2 |D'|⁶, point by point."""
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
"""By divergence, from memory, unchecked, but for what is derived here."""


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


def claims_of(found: Sequence[Mapping[str, Any]], look: float, tolerance: float) -> list[Claim]:
    claims = list[Claim | None]()
    for kind, said in SAID.items():
        names = dict.fromkeys(each["name"] for each in found if each["of"] == kind)
        offs = {name: list(by_seed(found, "off", name=name, distance=look).values()) for name in names}
        claims.append(gb.at_most(f"{said}.", offs, tolerance, f"off it at θ = {look:g}"))
    if found:
        worst = max(found, key=lambda each: (math.isnan(each["value"]), each["value"] - each["truth"]))
        excess = f"the largest excess is {worst['value'] - worst['truth']:.2g}"
        text = f"{excess}, of {worst['name']} at θ = {worst['distance']:g}."
        holds = all(each["value"] <= each["truth"] + 1e-6 for each in found)
        claims.append(Claim("What D says is a lower bound, whatever D is (Nowozin et al. 2016, eq. 4).", text, holds))
    return [claim for claim in claims if claim]


def table_of(found: Sequence[Mapping[str, Any]], lost: Mapping[str, str], at: Sequence[float], look: float) -> Table:
    """Return the table of all rows, those with no optimum that is known too; `lost`: how many seeds failed, by row."""
    of = {each["name"]: each["of"] for each in found}
    truths = {(each["of"], each["distance"]): f"{each['truth']:.3g}" for each in found}
    cells, rows = [("off", look), *(("value", distance) for distance in at)], list[list[str]]()
    for row, failed in lost.items():
        numbers = [list(by_seed(found, key, name=row, distance=distance).values()) for key, distance in cells]
        rows.append([row, of.get(row, "-"), *(with_interval(each, ".3g") for each in numbers), failed])
    rows += [["exact", kind, "-", *(truths[kind, d] for d in at), "-"] for kind in dict.fromkeys(of.values())]
    note = (
        "Off: root mean square of p/(p + q) as D says it less its optimum, over both densities, or of a critic's "
        "slope between them; of the sign of p - q, the share of points for which it is wrong. Bounds of wasserstein: "
        "E D(x) - E D(G(z)) by the largest slope of D. Mean ± 95 % (Student's t) over seeds; of one seed no interval."
    )
    columns = ["row", "bound of", f"D off at {look:g}", *(f"bound at {distance:g}" for distance in at), "failed"]
    return Table("Trained discriminators", columns, rows, note)


class OptimalD(gb.Experiment):
    name = "optimal-d"
    summary = "what D says once it is trained to the end, beside its optimum and the exact divergences"
    paper = "Goodfellow et al. 2014, proposition 1; Arjovsky et al. 2017, example 1"
    config: Config = Config()

    def find(self, lab: Lab) -> Finding:
        options = lab.options
        look, every = options.look, sorted({*options.distances, options.look})
        x = torch.linspace(-6, every[-1] + 6, 1601, dtype=torch.float64)
        rows = (*lab.variants, *(row for row in OPTIMA if row.split()[0] in lab.variants and " " in row))
        distances = {row: every if row in OPTIMA else [look] for row in rows}
        how = {"batch": options.batch, "steps": options.steps, "rate": options.rate}
        outputs, failed = gb.outputs_on_line(lab, distances, x, **how)
        if not outputs:
            why = "; ".join(f"{row}: {next(iter(of.values()))}" for row, of in failed.items())
            raise UserError(f"optimal-d: nobody has a D that judges points; {why}")
        found, curves, means = list[dict[str, Any]](), list[dict[str, Any]](), dict[str, torch.Tensor]()
        for row, of_row in outputs.items():
            means[row] = torch.stack([said[look] for said in of_row.values()]).mean(0)
            for seed, said in of_row.items():
                for distance, v in said.items() if row in OPTIMA else ():
                    place = {"of": OPTIMA[row].of, "name": row, "seed": seed, "distance": distance}
                    found.append({**place, **OPTIMA[row].judge(x, v, distance)._asdict(), "x": None})
                place = {"of": "D(x)", "name": row, "seed": seed, "distance": look}
                shown = zip(x[::20].tolist(), said[look][::20].tolist(), strict=True)
                curves += [{**place, "value": v, "truth": None, "off": None, "x": at} for at, v in shown]
        caption = f"D once trained, real data N(0, 1), G N({look:g}, 1); mean over seeds. In grey the optimum."
        figures = {"optimum": (gb.draw_outputs(means, OPTIMA, x, look), caption)}
        if found:
            caption = "The bound that a trained D gives, with the exact divergence in grey; bands: 95 % over seeds."
            figures["bounds"] = (gb.draw_beside(found, "distance", "value", ("distance θ", "bound by D")), caption)
        lost = {row: f"{len(failed.get(row, {}))} of {len(lab.seeds)}" for row in outputs}
        left_out = {row: next(iter(of.values())) for row, of in failed.items() if row not in outputs}
        notes = [f"{row}, seed {k}: {why}" for row, of in failed.items() if row in outputs for k, why in of.items()]
        notes.append("Papers are cited from memory, unchecked; what is derived here is said to be.")
        protocol = {
            "real": "N(0, 1)", "G": "N(θ, 1), fixed", "D": "perceptron 32-32, tanh", "optimizer": "Adam 0.5, 0.99",
            "rate": f"{options.rate:g}, then a tenth", "seeds": list(lab.seeds), "dtype": "float32, sums float64",
        }  # fmt: skip
        claims = claims_of(found, look, options.tolerance)
        tables = [table_of(found, lost, every, look)]
        return Finding(tables, [*found, *curves], claims, figures, protocol, left_out, notes)


@hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [OptimalD()]
