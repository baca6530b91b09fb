"""Which variants converge on the Dirac-GAN, whose generator is a point θ and whose discriminator a slope ψ."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from matplotlib.figure import Figure
from scipy.stats import t as student
from torch.optim import SGD

from ganbench import (
    Claim,
    Count,
    Dirac,
    DiracMap,
    Experiment,
    Finding,
    Lab,
    Positive,
    Table,
    UserError,
    dirac_data,
    equilibrium,
    hookimpl,
)

GD, OWN, NEVER = "gradient descent", "own optimizers", ("cycles", "diverges")
RESTING, THERE, CHANGED, CLOSE, THINNED, EDGE = 1e-6, 1e-9, 0.1, 1e-6, 100, 1.4
COLOURS = {
    "converges": "#009E73",
    "cycles": "#0072B2",
    "diverges": "#D55E00",
    "rests": "#CC79A7",
    "undecided": "#555555",
}
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^v<>PX*hp"
COLUMNS = ("variant", "updates", "verdict", "|λ|", "left", "a step", "own optimizers", "left")
NOTE = """|λ|: spectral radius of the map of one period at the equilibrium, nothing where none was found. left: the
largest distance from it in the last quarter of the steps, as a share of that in the first. a step: by what one
multiplies the distance at last. converges: |λ| < 1 and the distance shrinks; cycles: |λ| = 1; diverges: |λ| > 1,
so that it leaves the equilibrium, or the distance grows; rests: it stands still elsewhere. Of """
NOTES = """\
The harness performs updates in the order in which a variant yields them: in turns where a loss is computed after
the move before, at once where all gradients are of the beginning of a period.
Own optimizers: with rates `times` as large as the variant's and schedules at their beginning, judged by distance alone.
Of the paper's places, the abstract and the authors' DiracGAN.ipynb were read; lemmas are from memory, unchecked.
"""
TRAJECTORIES = """θ and ψ from the start (dot), by gradient descent and by each variant's own optimizers. The verdict is
of gradient descent, the cross is the equilibrium."""
EIGENVALUES = """Left, eigenvalues λ of the map of one period under gradient descent: what lies within the circle
converges. Right, ln λ / h, which a small rate h brings to those of the vector field: what lies left of zero does."""


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
    steps: Count = 600
    times: Positive = 100.0
    start: Positive = 1.0
    batch: Count = 64
    draws: Annotated[int, Ge(2)] = 8
    also: str = ""


class Row(NamedTuple):
    """A variant with options of its own. `radius`: |λ| by the rate, where a closed form says it."""

    variant: str
    settings: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    said: str = ""
    radius: Callable[[float], float] | None = None

    @property
    def name(self) -> str:
        return " ".join([self.variant, *self.settings])


def damped(h: float, damping: float) -> float:
    """Return |λ| of ψ ← ψ - h (θ/2 + damping · ψ), then θ ← θ + h ψ/2."""
    D, G = np.array([[1, 0], [-h / 2, 1 - h * damping]]), np.array([[1, h / 2], [0, 1]])
    return float(abs(np.linalg.eigvals(G @ D)).max())


def penalised(gamma: float, on: str, times: int) -> Row:
    said = f"zero-centred penalties converge (abstract); on {on} samples γ = {gamma:g} damps ψ by {times * gamma:g}"
    settings = (f"penalty={gamma:g}", *(() if on == "real" else (f"on={on}",)))
    return Row("r1", settings, ("converges",), f"{said} (lemma 3.3).", lambda h: damped(h, times * gamma))


# Options as in DiracGAN.ipynb of Mescheder et al. 2018; λ of WGAN-GP is half of the notebook's.
SAID = (
    Row("gan-minimax", (), NEVER, "GAN does not converge; |λ| = 1 in turns (lemma 2.4).", lambda h: 1.0),
    Row("gan", (), NEVER,
        "The non-saturating GAN has the same eigenvalues, |λ| = 1 (appendix); its distance shrinks by a term of "
        "fourth order, d(θ² + ψ²)/dt = -2θψ tanh(θψ/2) (by hand).", lambda h: 1.0),
    Row("gan", ("simultaneous=true",), ("diverges",),
        "Of updates at once |λ| = √(1 + h²/4), so that the equilibrium repels (lemma 2.3).",
        lambda h: math.hypot(1, h / 2)),
    Row("wgan", ("clip=1",), NEVER, "WGAN does not converge (abstract); |λ| = 1 within the box.", lambda h: 1.0),
    Row("wgan-gp", ("penalty=0.35",), NEVER, "WGAN-GP does not converge (abstract)."),
    penalised(0.3, "real", 1), penalised(1.0, "real", 1), penalised(0.3, "fake", 1), penalised(0.3, "both", 2),
    Row("instance-noise", ("deviation=0.7",), ("converges",),
        "Instance noise converges (abstract); it damps ψ by σ²/2 (lemma 3.2).", lambda h: damped(h, 0.7**2 / 2)),
    Row("consensus", ("penalty=1",), ("converges",),
        "Consensus optimisation converges; it damps θ and ψ by γ/4 (appendix).",
        lambda h: math.hypot(1 - h / 4, h / 2)),
)  # fmt: skip


@dataclass
class Found:
    """What was found of a row. `paths`: by optimizers and seed, with why they ended; `values`: the eigenvalues."""

    row: Row
    period: int
    updates: str
    paths: dict[tuple[str, int], tuple[np.ndarray, str]]
    place: np.ndarray | None
    values: np.ndarray
    spread: float
    tolerance: float

    @property
    def radius(self) -> float:
        return float(abs(self.values).max()) if self.values.size else math.nan

    def quarters(self, key: tuple[str, int]) -> list[float]:
        """Return the largest distance from the equilibrium in each quarter of a path."""
        far = np.linalg.norm(self.paths[key][0] - (0 if self.place is None else self.place), axis=1)
        return [math.nan if self.paths[key][1] else float(part.max()) for part in np.array_split(far, 4)]

    def left(self, key: tuple[str, int]) -> float:
        """Return the last quarter's distance as a share of the first's."""
        return self.quarters(key)[3] / self.quarters(key)[0]

    def factor(self, key: tuple[str, int]) -> float:
        """Return by what a step multiplies the distance, from the third quarter to the last."""
        *_, before, last = self.quarters(key)
        return (last / before) ** (4 / (self.period * len(self.paths[key][0]))) if before else 0.0

    def verdict(self, key: tuple[str, int]) -> str:
        """Judge by |λ| and the path, by the path alone under own optimizers and where there is no equilibrium."""
        (path, ended), left, radius = self.paths[key], self.left(key), self.radius if key[0] == GD else math.nan
        far = np.linalg.norm(path[-1] - (0 if self.place is None else self.place))
        if not ended and far > THERE and np.linalg.norm(path[-1] - path[-2]) <= RESTING * far:
            return "rests"
        if ended or left > 1 + CHANGED or radius > 1 + self.tolerance:
            return "diverges"
        shrinks = left < 1 - CHANGED
        if math.isnan(radius):
            return ("converges" if key[0] == OWN else "undecided") if shrinks else "cycles"
        return "cycles" if radius >= 1 - self.tolerance else "converges" if shrinks else "undecided"

    def words(self, of: str) -> str:
        """Return the verdict of all seeds, or how many have which; how many are no longer finite."""
        counts = Counter(self.verdict(key) for key in self.paths if key[0] == of)
        ended = sum(bool(how) for key, (_, how) in self.paths.items() if key[0] == of)
        told = "/".join(counts) if len(counts) == 1 else ", ".join(f"{word} {n}" for word, n in counts.items())
        return told + (f" ({ended} of {counts.total()} not finite)" if ended else "")


def look(lab: Lab, row: Row) -> Found:
    """Walk and differentiate. Raises `UserError` where a variant has no part."""
    options = lab.options

    def mapped(seed: int, **chosen: Any) -> DiracMap:
        shared = {"seed": seed, "batch": options.batch, "settings": row.settings, "double": True}
        return DiracMap(lab.course(row.variant, dirac_data(16 * options.batch), Dirac(), **shared, **chosen))

    plain = {"optimizers": lambda player, weights: SGD(weights, options.rate)}
    maps = [mapped(seed, **plain) for seed in range(2)]
    start, period = np.full(maps[0].size, options.start), maps[0].course.period
    if options.steps < 8 * period:
        raise UserError(f"its updates repeat after {period} steps, so it needs {8 * period} of them or more")
    updates = order(maps[0], start, options.rate)
    is_random = not np.array_equal(maps[0](start), maps[1](start), equal_nan=True)
    maps = maps + [mapped(seed, **plain) for seed in range(2, options.draws)] if is_random else maps[:1]
    paths = {(GD, seed): mapped(seed, **plain).walk(start, options.steps) for seed in lab.seeds}
    if not any(ended or np.ptp(path[:, 1:], 0).any() for path, ended in paths.values()):
        raise UserError("its slope ψ never moves, as where a norm leaves nothing but its sign")
    paths |= {(OWN, seed): mapped(seed, times=options.times).walk(start, options.steps) for seed in lab.seeds}
    path = paths[GD, lab.seeds[0]][0]
    tolerance = max(1e-9, 1e-3 * options.rate**2)
    place = equilibrium(maps, path[-len(path) // 4 :].mean(0))
    slopes = np.array([] if place is None else [each.jacobian(place) for each in maps])
    if place is None or not np.isfinite(slopes).all():
        return Found(row, period, updates, paths, place, np.array([]), 0.0, tolerance)
    spread = np.std([abs(np.linalg.eigvals(each)).max() for each in slopes]) / len(slopes) ** 0.5
    return Found(row, period, updates, paths, place, np.linalg.eigvals(slopes.mean(0)), float(spread), tolerance)


def order(plane: DiracMap, start: np.ndarray, rate: float) -> str:
    """Say how many updates a period has, and whether all are of gradients at its beginning."""
    plane.put(start)
    found = plane.course.gradients()
    counts = ", ".join(f"{len(found[player])} {player}" for player in sorted(found))
    if set(found) != {"G", "D"}:
        return counts
    pulls = [sum(one[0].cpu().numpy().ravel() for one in found[player]) for player in ("G", "D")]
    at_once = np.allclose(plane(start), start - rate * np.concatenate(pulls), rtol=0, atol=1e-12, equal_nan=True)
    return f"{counts}, {'at once' if at_once else 'in turns'}"


def over(values: Sequence[float], form: str) -> str:
    """Return the mean with its 95 % Student interval, which one seed has not."""
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5 if values[1:] else None
    return f"{np.mean(values):{form}}" + ("" if half is None else f" ± {half:.1g}")


def rows_of(variants: Sequence[str]) -> list[Row]:
    """Return a row for each variant as it is, then those that something is said of with options of its own."""
    said = {(row.variant, row.settings): row for row in SAID}
    plain = [said.get((name, ()), Row(name)) for name in variants]
    return plain + [row for row in SAID if row.settings and row.variant in variants]


class Convergence(Experiment):
    name = "convergence"
    summary = "which variants converge where a point learns a point: the Dirac-GAN"
    paper = "Mescheder et al. 2018, arXiv:1801.04406"
    config: Config = Config()

    @np.errstate(all="ignore")  # what is not finite is shown
    def find(self, lab: Lab) -> Finding:
        options, found, left_out = lab.options, list[Found](), dict[str, str]()
        also = [Row(words[0], tuple(words[1:])) for text in options.also.split(";") if (words := text.split())]
        for row in [*also, *rows_of(lab.variants)]:
            lab.tell(row.name)
            try:
                found.append(look(lab, row))
            except UserError as error:
                if row in also:
                    raise UserError(f"convergence.also: {row.name}: {error}") from None
                left_out[row.name] = str(error)
        if not found:
            raise UserError("; ".join(f"{name} has no part: {reason}" for name, reason in left_out.items()))
        seeds = f"{len(lab.seeds)} seeds" if lab.seeds[1:] else "one seed, so without intervals"
        table = Table(
            "Where each comes to from one start", COLUMNS, [line(each) for each in found], flat(NOTE + seeds + ".")
        )
        far = [each.row.name for each in found if abs(each.values).max(initial=0) > EDGE]
        told = flat(EIGENVALUES) + (f" Outside the picture: {', '.join(far)}." if far else "")
        figures = {
            "trajectories": (trajectories(found, lab.seeds[0], options.start), flat(TRAJECTORIES)),
            "eigenvalues": (eigenvalues(found, options.rate), told),
        }
        protocol = {
            "data": "the point 0",
            "dtype": "float64",
            "seeds": list(lab.seeds),
            "tolerance": found[0].tolerance,
        }
        claims = [claim(each, options.rate) for each in found if each.row.said]
        return Finding([table], list(measured(found)), claims, figures, protocol, left_out, [flat(NOTES)])


def flat(text: str) -> str:
    return " ".join(text.split())


def line(found: Found) -> list[str]:
    """Return a row of the table."""
    keys = {of: [key for key in found.paths if key[0] == of] for of in (GD, OWN)}
    left = {of: over([found.left(key) for key in keys[of]], ".3g") for of in keys}
    radius = f"{found.radius:.6g}" + (f" ± {2 * found.spread:.1g}" if found.spread else "")
    factor = over([found.factor(key) for key in keys[GD]], ".4f")
    verdicts = [found.words(GD), "–" if math.isnan(found.radius) else radius, left[GD], factor]
    return [found.row.name, found.updates, *verdicts, found.words(OWN), left[OWN]]


def claim(found: Found, rate: float) -> Claim:
    """Put what is said of a row beside what was found."""
    row, words, left = found.row, found.words(GD), np.mean([found.left(key) for key in found.paths if key[0] == GD])
    right = row.radius(rate) if row.radius else math.nan
    off = abs(found.radius - right) if row.radius else 0.0
    agrees = all(found.verdict(key) in row.verdicts for key in found.paths if key[0] == GD)
    close = off <= CLOSE + 4 * found.spread
    said = f"{row.name}: {row.said}" + (f" At h = {rate:g}, {right:.6f}." if row.radius else "")
    text = f"{words}; |λ| = {found.radius:.6f}; {left:.2g} of the distance is left."
    why = [] if agrees else [f"It {words}, where {' or '.join(row.verdicts)} was said."]
    why += [] if close else [f"|λ| is off by {off:.2g}; why was not measured."]
    return Claim(said, text, agrees and close, " ".join(why))


def measured(found: Sequence[Found]) -> Iterator[dict[str, Any]]:
    """Yield every number: eigenvalues, and of each path some hundred places and what it comes to."""
    for each in found:
        of_row = {"variant": each.row.variant, "settings": " ".join(each.row.settings), "updates": each.updates}
        for value in each.values:
            yield {"kind": "eigenvalue", **of_row, **EMPTY, "real": float(value.real), "imaginary": float(value.imag)}
        for key, (path, ended) in each.paths.items():
            of_path = {**of_row, **EMPTY, "optimizers": key[0], "seed": key[1]}
            ends = {"left": each.left(key), "factor": each.factor(key), "ended": ended}
            yield {"kind": "verdict", **of_path, "verdict": each.verdict(key), "radius": each.radius, **ends}
            for number in range(0, len(path), max(1, len(path) // THINNED)):
                theta, psi = float(path[number, 0]), float(path[number, 1:].mean())
                yield {"kind": "place", **of_path, "step": number * each.period, "theta": theta, "psi": psi}


EMPTY: dict[str, Any] = dict.fromkeys(
    ("optimizers", "seed", "step", "theta", "psi", "real", "imaginary", "verdict", "radius", "left", "factor", "ended")
)


def trajectories(found: Sequence[Found], seed: int, start: float) -> Figure:
    """Draw a panel for each row, all of one scale."""
    across = min(5, len(found))
    down = -(-len(found) // across)
    figure = Figure(figsize=(max(4.0, 1.85 * across), 2.1 * down + 0.9), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, each in zip(panels, found, strict=False):
        for of, colour, width in ((OWN, "#E69F00", 0.8), (GD, "#0072B2", 1.1)):
            path = each.paths[of, seed][0]
            axes.plot(path[:, 0], path[:, 1:].mean(1), color=colour, linewidth=width, label=of)
        axes.plot(start, start, "o", color="black", markersize=3)
        place = each.place if each.place is not None else np.full(2, math.nan)
        axes.plot(place[0], place[1:].mean(), "+", color="black", markersize=8)
        verdict = each.verdict((GD, seed))
        axes.set_title("\n".join(filter(None, [each.row.variant, " ".join(each.row.settings), verdict])), fontsize=8)
        axes.title.set_color(COLOURS[verdict])
        axes.set(xlim=(-2.2 * start, 2.2 * start), ylim=(-2.2 * start, 2.2 * start), aspect="equal")
        axes.grid(visible=True, color="#E8E8E8", linewidth=0.5)
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(found) - across) : len(found)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("θ, where the generator puts its point; the data lie at 0", fontsize=9)
    figure.supylabel("ψ, the slope of the discriminator", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    return figure


def eigenvalues(found: Sequence[Found], rate: float) -> Figure:
    """Draw the eigenvalues, and their logarithms in units of the rate; rows that share them share a mark."""
    groups: dict[tuple[complex, ...], list[Found]] = {}
    for each in found:
        if each.values.size:
            key = tuple(sorted({complex(round(v.real, 5), abs(round(v.imag, 5))) for v in each.values}, key=str))
            groups.setdefault(key, []).append(each)
    figure = Figure(figsize=(9, 4.6 + 0.09 * len(groups)), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, members in enumerate(groups.values()):
        names, values = [each.row.name for each in members], members[0].values.astype(complex)
        label = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if names[4:] else "")
        style: dict[str, Any] = {"color": PALETTE[number % len(PALETTE)], "marker": MARKERS[number % len(MARKERS)]}
        left.plot(values.real, values.imag, linestyle="", markersize=6, alpha=0.8, label=label, **style)
        logs = np.log(values[values != 0]) / rate
        right.plot(logs.real, logs.imag, linestyle="", markersize=6, alpha=0.8, **style)
    turn = np.linspace(0, 2 * math.pi, 200)
    left.plot(np.cos(turn), np.sin(turn), color="#555555", linewidth=0.8, zorder=1)
    left.set(
        xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal", xlabel="real part of λ", ylabel="imaginary part of λ"
    )
    right.axvline(0, color="#555555", linewidth=0.8, zorder=1)
    right.set(xlim=(-2, 1), ylim=(-3, 3), xlabel="real part of ln λ / h", ylabel="imaginary part of ln λ / h")
    for axes in (left, right):
        axes.grid(visible=True, color="#E8E8E8", linewidth=0.5)
        axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7)
    return figure


@hookimpl
def ganbench_experiments() -> list[Experiment]:
    return [Convergence()]
