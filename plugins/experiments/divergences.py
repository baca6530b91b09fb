"""How hard each objective pulls its generator, by what D says of a sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from matplotlib.figure import Figure

from ganbench import (
    PSI,
    THETA,
    Count,
    Dirac,
    Experiment,
    Finding,
    Lab,
    Positive,
    Table,
    UserError,
    dirac_data,
    hookimpl,
)


@dataclass(frozen=True)
class Config:
    """Options.

    span: outputs of D from minus this to this.
    points: how many of them.
    """

    span: Positive = 6.0
    points: Count = 61


class Divergences(Experiment):
    name = "divergences"
    summary = "the gradient that each objective gives the generator, by D's output for a sample"
    paper = "the curves by which minimax, non-saturating and least squares are taught"
    config: Config = Config()

    def find(self, lab: Lab) -> Finding:
        measured, left_out, rows = [], {}, []
        at = torch.linspace(-lab.options.span, lab.options.span, lab.options.points, dtype=torch.float64)
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        for name in lab.variants:
            try:
                course = lab.course(name, dirac_data(1024), Dirac(), double=True)
                slopes = []
                for x in at.tolist():
                    course.restart({THETA: torch.tensor([x]), PSI: torch.ones(1, 1)})
                    slopes.append(course.gradients()["G"][0][0].item())
            except (UserError, KeyError, TypeError, IndexError) as error:
                left_out[name] = str(error)
                continue
            axes.plot(at, slopes, label=name)
            rows.append([name, *(f"{slopes[k]:.4g}" for k in (0, len(slopes) // 2, -1))])
            measured += [
                {"variant": name, "output": x, "gradient": s} for x, s in zip(at.tolist(), slopes, strict=True)
            ]
        axes.legend(ncols=3, fontsize=6)
        table = Table("Gradient of G", ["variant", "D = -6", "D = 0", "D = 6"], rows)
        return Finding([table], measured, [], {"gradients": (figure, "Gradient by D's output")}, {}, left_out)


@hookimpl
def ganbench_experiments() -> list[Experiment]:
    return [Divergences()]
