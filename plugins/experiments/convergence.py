"""Which variants converge on the Dirac-GAN, whose generator is a point θ and whose discriminator a slope ψ."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le

import ganbench as gb
from ganbench import GRADIENT_DESCENT as GD, OWN_OPTIMIZERS as OWN, VERDICTS, Dynamics, damped_radius, with_interval

CLOSE, NEVER = 1e-6, ("cycles", "diverges")
COLUMNS = ("variant", "updates", "verdict", "|λ|", "left", "a step", "own optimizers", "left")
NOTE = (
    "|λ|: spectral radius of the map of one period at the equilibrium, nothing where none was found. left: the largest "
    "distance from it in the last quarter of the steps, as a share of that in the first. a step: by what one "
    f"multiplies the distance at last. {VERDICTS} Of "
)
NOTES = (
    "Updates are performed in the order in which a variant yields them: in turns, or at once where all gradients are "
    "of the beginning of a period. Own optimizers have `times` the variant's rates, and are judged by distance "
    "alone. The paper's abstract and DiracGAN.ipynb were read; what is of lemmas is from memory, unchecked."
)


@dataclass(frozen=True)
class Config:
    """Options.

    rate: h, of both players, in gradient descent (ours; 0.2 in the authors' DiracGAN.ipynb).
    steps: batches served along a trajectory (ours; 500 in DiracGAN.ipynb).
    times: the rates of own optimizers are multiplied by it, for θ and ψ have further to go than a weight (ours).
    start: where θ and ψ begin (DiracGAN.ipynb).
    batch: real samples in a batch, which makes a difference to noise alone.
    draws: seeds over whose mean an update that draws noise is differentiated.
    also: rows besides, "r1 penalty=3; gan simultaneous=true".
    """

    rate: Annotated[float, Ge(1e-3), Le(1.0)] = 0.05
    steps: gb.Count = 600
    times: gb.Positive = 100.0
    start: gb.Positive = 1.0
    batch: gb.Count = 64
    draws: Annotated[int, Ge(2)] = 8
    also: str = ""


class Row(NamedTuple):
    """A variant with options of its own. `radius`: |λ| by the rate, where a closed form says it."""

    variant: str
    settings: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    said: str = ""
    radius: Callable[[float], float] | None = None


def penalised(gamma: float, on: str, times: int) -> Row:
    said = f"zero-centred penalties converge (abstract); on {on} samples γ = {gamma:g} damps ψ by {times * gamma:g}"
    settings = (f"penalty={gamma:g}", *(() if on == "real" else (f"on={on}",)))
    return Row("r1", settings, ("converges",), f"{said} (lemma 3.3).", lambda h: damped_radius(h, times * gamma))


# Options as in DiracGAN.ipynb of Mescheder et al. 2018; λ of WGAN-GP is half of the notebook's.
SAID = (
    Row("gan-minimax", (), NEVER, "GAN does not converge; |λ| = 1 in turns (lemma 2.4).", lambda h: 1.0),
    Row("gan", (), NEVER,
        "The non-saturating GAN has the same eigenvalues, |λ| = 1 (appendix); its distance shrinks by a term of "
        "fourth order, d(θ² + ψ²)/dt = -2θψ tanh(θψ/2) (by hand).", lambda h: 1.0),
    Row("gan", ("simultaneous=true",), ("diverges",),
        "Of updates at once |λ| = √(1 + h²/4), so that it repels (lemma 2.3).", lambda h: math.hypot(1, h / 2)),
    Row("wgan", ("clip=1",), NEVER, "WGAN does not converge (abstract); |λ| = 1 within the box.", lambda h: 1.0),
    Row("wgan-gp", ("penalty=0.35",), NEVER, "WGAN-GP does not converge (abstract)."),
    penalised(0.3, "real", 1), penalised(1.0, "real", 1), penalised(0.3, "fake", 1), penalised(0.3, "both", 2),
    Row("instance-noise", ("deviation=0.7",), ("converges",),
        "Instance noise converges (abstract); it damps ψ by σ²/2 (lemma 3.2).", lambda h: damped_radius(h, 0.7**2 / 2)),
    Row("consensus", ("penalty=1",), ("converges",),
        "Consensus converges; it damps θ and ψ by γ/4 (appendix).", lambda h: math.hypot(1 - h / 4, h / 2)),
)  # fmt: skip


def rows_of(variants: Sequence[str]) -> list[Row]:
    """Return a row for each variant as it is, then those that something is said of with options of its own."""
    said = {(row.variant, row.settings): row for row in SAID}
    plain = [said.get((name, ()), Row(name)) for name in variants]
    return plain + [row for row in SAID if row.settings and row.variant in variants]


class Convergence(gb.Experiment):
    name = "convergence"
    summary = "which variants converge where a point learns a point: the Dirac-GAN"
    paper = "Mescheder et al. 2018, arXiv:1801.04406"
    config: Config = Config()

    @np.errstate(all="ignore")  # what is not finite is shown
    def find(self, lab: gb.Lab) -> gb.Finding:
        options, found, left_out = lab.options, list[tuple[Row, Dynamics]](), dict[str, str]()
        asked = {name: value for name, value in vars(options).items() if name != "also"}
        also = [Row(words[0], tuple(words[1:])) for text in options.also.split(";") if (words := text.split())]
        for row in [*also, *rows_of(lab.variants)]:
            title = " ".join([row.variant, *row.settings])
            lab.tell(title)
            try:
                found.append((row, gb.dynamics_of(lab, row.variant, row.settings, **asked)))
            except gb.UserError as error:
                if row in also:
                    raise gb.UserError(f"convergence.also: {title}: {error}") from None
                left_out[title] = str(error)
        if not found:
            raise gb.UserError("; ".join(f"{name} has no part: {reason}" for name, reason in left_out.items()))
        moves = [dynamics for _, dynamics in found]
        seeds = f"{len(lab.seeds)} seeds." if lab.seeds[1:] else "one seed, so without intervals."
        table = gb.Table("Where each comes to from one start", COLUMNS, [line(each) for each in moves], NOTE + seeds)
        claims = [claim(row, dynamics, options.rate) for row, dynamics in found if row.said]
        figures = {"trajectories": gb.draw_paths(moves, lab.seeds[0], options.start)}
        figures["eigenvalues"] = gb.draw_eigenvalues(moves, options.rate)
        protocol = {"data": "the point 0", "dtype": "float64", "seeds": [*lab.seeds], "tolerance": moves[0].tolerance}
        rows = [row for each in moves for row in each.rows()]
        return gb.Finding([table], rows, claims, figures, protocol, left_out, [NOTES])


def line(found: Dynamics) -> list[str]:
    gd, own = ([found.left(key) for key in found.of(optimizers)] for optimizers in (GD, OWN))
    radius = f"{found.radius:.6g}" + (f" ± {2 * found.spread:.1g}" if found.spread else "")
    factor = with_interval([found.factor(key) for key in found.of(GD)], ".4f", ".1g")
    verdict = [found.verdicts(GD), "–" if math.isnan(found.radius) else radius, with_interval(gd, ".3g", ".1g"), factor]
    return [found.name, found.updates, *verdict, found.verdicts(OWN), with_interval(own, ".3g", ".1g")]


def claim(row: Row, found: Dynamics, rate: float) -> gb.Claim:
    """Put what is said of a row beside what was found."""
    words, left = found.verdicts(GD), np.mean([found.left(key) for key in found.of(GD)])
    right = row.radius(rate) if row.radius else math.nan
    off = abs(found.radius - right) if row.radius else 0.0
    agrees = all(found.verdict(key) in row.verdicts for key in found.of(GD))
    close = off <= CLOSE + 4 * found.spread
    said = f"{found.name}: {row.said}" + (f" At h = {rate:g}, {right:.6f}." if row.radius else "")
    text = f"{words}; |λ| = {found.radius:.6f}; {left:.2g} of the distance is left."
    why = [] if agrees else [f"It {words}, where {' or '.join(row.verdicts)} was said."]
    why += [] if close else [f"|λ| is off by {off:.2g}; why was not measured."]
    return gb.Claim(said, text, agrees and close, " ".join(why))


@gb.hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [Convergence()]
