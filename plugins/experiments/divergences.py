"""How hard each objective pulls its generator, by what D says of a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

import ganbench as gb
from ganbench import Claim, Dirac, Finding, Form, Lab, Pull, Table, UserError, dirac_data, hookimpl, pull_where_rejected

CUT_OFF = 10.0
"""Beyond which `fgan` cuts off raw outputs, where an activation is an exponential or its conjugate has one."""

REJECTED = gb.F_PULLS["gan"][0]
"""σ(-D)."""


def of_f(name: str, k: int) -> Form:
    """Return one of the pulls of an f-GAN, with no pull beyond where outputs are cut off."""
    form, most = gb.F_PULLS[name][k], CUT_OFF if name in ("kl", "reverse-kl", "hellinger") else np.inf
    return lambda v: np.where(np.abs(v) <= most, form(np.clip(v, -most, most)), 0.0)


SAID: Mapping[str, Mapping[str, Form]] = {
    "log(1 - D) pulls by σ(D) and saturates where D rejects the samples (Goodfellow et al. 2014, §3).": (
        dict.fromkeys(("gan-minimax", "unrolled steps=0"), expit)
    ),
    "-log D pulls by σ(-D), most where D rejects the samples (Goodfellow et al. 2014, §3), whatever penalty is on D. "
    "With real data at D = 0 so do relativistic losses, averaged ones twice (Jolicoeur-Martineau 2019).": (
        dict.fromkeys(("gan", "dragan", "r1", "pacgan", "fgan", "rgan", "r3gan", "ragan halved=true"), REJECTED)
    ),
    "Least squares pull by c - D: more with the distance, and back from beyond the target (Mao et al. 2017, eq. 2). "
    "Of σ(D), as later comparisons had it, they saturate.": {
        "lsgan": lambda v: 1 - v,
        "lsgan fake_target=-1 generator_target=0": lambda v: -v,
        "lsgan output=sigmoid": lambda v: expit(-v) ** 2 * expit(v),
        "rgan loss=squares": lambda v: 2 * (1 - v),
    },
    "-D pulls by 1 everywhere: the hinge (Lim & Ye 2017, eq. 10), critics (Arjovsky et al. 2017, algorithm 1).": (
        dict.fromkeys(("hinge", "sngan", "wgan", "wgan-gp", "wgan-lp", "wgan-div"), np.ones_like)
    ),
    "In practice G raises E T and is pulled by g_f'(D) (Nowozin et al. 2016, §3.2).": (
        {f"fgan divergence={name}": of_f(name, 0) for name in gb.F_PULLS}
    ),
    "In the saddle point G lowers the bound and is pulled by (f* ∘ g_f)'(D) (Nowozin et al. 2016, eq. 6).": (
        {f"fgan divergence={name} generator=saddle": of_f(name, 1) for name in gb.F_PULLS}
    ),
}
"""What a source says (from memory, unchecked), with -dL/dD in closed form for each row that it is said of."""
TAUGHT: Sequence[Form] = (lambda v: -expit(v), lambda v: -expit(-v), lambda v: v - 1)
"""Gradients of minimax, -log D and least squares, to compare others with."""


@dataclass(frozen=True)
class Config:
    """Options.

    span: outputs of D from minus this to this.
    points: how many of them on each side of 0.
    rows: variants with settings that take part beside the variants as they are, as '["lsgan output=sigmoid"]'.
    """

    span: gb.Positive = 6.0
    points: gb.Count = 20
    rows: tuple[str, ...] = (*(row for forms in SAID.values() for row in forms if " " in row), "ragan loss=hinge")

    def __post_init__(self) -> None:
        for row in self.rows:
            if not row.strip() or any("=" not in word for word in row.split()[1:]):
                raise ValueError(f"a row is a variant with settings, 'lsgan output=sigmoid', but one is {row!r}")


def compared(slopes: Mapping[str, np.ndarray], at: np.ndarray) -> list[Claim]:
    """Compare with the closed forms of the rows that take part."""
    found = []
    for said, forms in SAID.items():
        off = {
            row: float(np.max(np.abs(slopes[row] + form(at)) / (1 + np.abs(form(at)))))
            for row, form in forms.items()
            if row in slopes
        }
        far = [f"{row} is off by {each:.2g} of 1 + its size" for row, each in off.items() if not each <= gb.COINCIDE]
        if off:
            ends = "; ".join(f"{row} {-slopes[row][0]:.3g} and {-slopes[row][-1]:.3g}" for row in off)
            text = f"the pull at D = {at[0]:g} and {at[-1]:g} is {ends}; off by {max(off.values()):.1g} at most."
            found.append(Claim(said, text, not far, f"{'; '.join(far)}; why was not measured." if far else ""))
    return found


class Divergences(gb.Experiment):
    name = "divergences"
    summary = "the gradient that each objective gives its generator, by D's output for a sample"
    paper = "Goodfellow et al. 2014, §3; Mao et al. 2017; Nowozin et al. 2016"
    config: Config = Config()

    def find(self, lab: Lab) -> Finding:
        half, found, left_out = np.linspace(0, lab.options.span, lab.options.points + 1), list[Pull](), {}
        at = np.concatenate([-half[:0:-1], half])
        for row in dict.fromkeys((*lab.variants, *(" ".join(row.split()) for row in lab.options.rows))):
            name, *settings = row.split()
            try:
                if name not in lab.variants:
                    raise UserError("its variant was not asked for")
                lab.tell(f"the pull of {row}")
                course = lab.course(name, dirac_data(1024), Dirac(), settings=settings, double=True)
                found.append(gb.measure_pull(row, course, at))
            except UserError as error:
                left_out[row] = str(error)
        if not found:
            raise UserError(f"divergences: nobody fits; {'; '.join(f'{row}: {why}' for row, why in left_out.items())}")
        shown = (0, len(half) - 1, -1)
        pulls = sorted(gb.join_pulls(found), key=lambda pull: pull_where_rejected(at, pull.slopes), reverse=True)
        rows = [
            [", ".join(p.rows), *(f"{p.slopes[k]:.4g}" for k in shown), pull_where_rejected(at, p.slopes)]
            for p in pulls
        ]
        columns = ["objective", *(f"D = {at[k]:g}" for k in shown), "where D rejects"]
        measured: list[Mapping[str, str | float]] = [
            {"row": p.rows[0], "output": float(x), "gradient": float(slope), "loss": float(loss)}
            for p in found
            for x, slope, loss in zip(at, p.slopes, p.losses, strict=True)
        ]
        table = Table("Gradient dL/dD of G's loss", columns, rows, "Rows in one line coincide at every output.")
        caption = (
            "What pulls G, and the loss whose slope that is, by D's output for its samples; real data lie at D = 0. In "
            "grey -σ(D), -σ(-D) and D - 1. What leaves a panel goes on in the CSV."
        )
        protocol = {"outputs": len(at), "from": -half[-1], "to": half[-1], "dtype": "float64", "same": gb.COINCIDE}
        notes = [
            "Nothing is trained: no seeds, no intervals. Papers are cited from memory, unchecked. "
            + (pull_where_rejected.__doc__ or "").split("\n\n")[-1].strip()
        ]
        claims = compared({p.rows[0]: p.slopes for p in found}, at)
        return Finding(
            [table],
            measured,
            claims,
            {"gradients": (gb.draw_pulls(pulls, at, TAUGHT), caption)},
            protocol,
            left_out,
            notes,
        )


@hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [Divergences()]
