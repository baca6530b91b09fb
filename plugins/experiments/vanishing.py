"""How the gradient of a fixed generator vanishes, or grows, while a fresh discriminator learns to tell its samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy.stats import t as student

from ganbench import Claim, Count, Curve, Experiment, Finding, Lab, Made, Table, UserError, hookimpl

USUAL, MOST_EPOCHS = 4000, 1_000_000
SATURATING, NONSATURATING = LOSSES = ("log(1-D)", "-log D")
SHOWN = (0, 10, 100, 1000, 10_000)
"""The table shows the norms after so many updates of D, and after the last."""
FACTORS: Mapping[str, Mapping[str, Any]] = {
    "loss of 1 latent": {"latents": 1},
    "loss of 512 latents": {"latents": 512},
    "another seed of the probe": {"seed": 10_007},
    "float64 and so other latents": {"double": True},
    "running statistics in D": {"running": True},
    "no batch norm in D": {"norm": "none"},
    "4 times the updates of D": {"longer": 4},
}
"""What one may do otherwise where the paper does not say, as `Made.probe` is asked for it."""
STROKES = ("-", "--", ":")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PAPER = "Arjovsky & Bottou 2017"
D = "the backbone's, anew each time, in training mode, Adam 2e-4 (0.5, 0.999); under own the variant's own D and step"
Curves = dict[tuple[str, float, str], list[Curve]]
"""By what was probed (runs by their name, or what was otherwise with the first), epochs and loss; one a seed."""


@dataclass(frozen=True)
class Config:
    """Options.

    at: epochs of training after which to look (figure 2).
    iterations: updates of each fresh D (figure 2).
    factors: whether to measure as well what the fall after the fewest epochs depends on (ours).
    sweep: options of the runs to compare after the fewest epochs, as in dcgan.width=32,64 (ours).
    """

    at: tuple[float, ...] = (1.0, 10.0, 25.0)
    iterations: Count = USUAL
    factors: bool = False
    sweep: str = ""

    def __post_init__(self) -> None:
        if not self.at or not all(0 < epoch <= MOST_EPOCHS for epoch in self.at):
            found = ",".join(f"{epoch:g}" for epoch in self.at[:5])
            raise ValueError(f"at={found}: name epochs above 0 and at most {MOST_EPOCHS:,}, as in 1,10,25")


class Vanishing(Experiment):
    """A variant is trained, its G fixed, and D's that start anew are trained against it."""

    name = "vanishing"
    summary = "how G's gradient vanishes or grows while a fresh D is trained against it"
    paper = f"{PAPER}, arXiv:1701.04862, figures 2 and 3"
    config: Config = Config()
    variants = ("dcgan",)
    makes_runs = True

    def runs(self, options: Any, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        if "budget" in asked:
            raise UserError("--budget: vanishing trains for the epochs that vanishing.at names; leave it out")
        at, swept = sorted(options.at), options.sweep.partition("=")[0].strip()
        shared = {"dataset": "mnist", "seeds": 1, "metrics": ("grad-norm-g",), "marks": 1, **asked}
        whole = {**shared, "budget": f"{at[-1]!r}-epochs", "keep": [epoch / at[-1] for epoch in at]}
        others = [text for text in shared.get("set", ()) if text.partition("=")[0].strip() != swept]
        more = {**shared, "budget": f"{at[0]!r}-epochs", "keep": [1.0], "set": others, "sweep": [options.sweep]}
        return [whole, more] if swept else [whole]

    def find(self, lab: Lab) -> Finding:
        curves, measured, left_out, first = Curves(), list[dict[str, Any]](), dict(lab.failed), ""
        for run in lab.runs:
            spec = run.record.spec
            name = " ".join([spec.variant, *(f"{k}={v}" for k, v in spec.shown_options.items()), spec.dataset])
            try:
                looks = list(_kept(run, lab.options.at).items())
            except UserError as error:
                left_out[f"{name} seed {spec.seed}"] = str(error)
                continue
            first = first or name
            more = [(label, *looks[0]) for label in FACTORS] if lab.options.factors and name == first else []
            for label, epoch, share in [*((name, *look) for look in looks), *more]:
                lab.tell(f"{name}, {_after(epoch)}: {label if label in FACTORS else 'a fresh D'}")
                try:
                    for loss, curve in _probed(lab, run, share, **FACTORS.get(label, {})).items():
                        curves.setdefault((label, epoch, loss), []).append(curve)
                        measured += _rows(run, epoch, label if label in FACTORS else "", loss, curve)
                except UserError as error:
                    left_out[f"{name} seed {spec.seed}" + f": {label}" * (label in FACTORS)] = str(error)
        if not curves:
            raise UserError("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
        plain = {key: found for key, found in curves.items() if key[0] not in FACTORS}
        epoch = next(iter(plain))[1]
        early = {key: found for key, found in curves.items() if key[1] == epoch and key[2] in LOSSES}
        compared = len({label for label, _, _ in early}) > 1
        tables = [_norms(plain, lab.options.iterations), *([_compared(early)] if compared else [])]
        figures = {"gradients": (_drawn(plain, by=1), "The norm of G's gradient while a fresh D is trained.")}
        if compared:
            figures["factors"] = _drawn(early, by=0), f"What the norm depends on, {_after(epoch)}."
        spec = lab.runs[0].record.spec
        protocol: dict[str, Any] = {
            "D": D,
            "G": "fixed, in training mode",
            "loss": "through logits, of one fixed batch of latents",
        }
        protocol |= {"batch": spec.batch, "images an epoch": len(lab.runs[0].data.train.images), "data": spec.data[:12]}
        protocol |= {"seeds": sorted({run.record.spec.seed for run in lab.runs})}
        claims = _claims(plain, early, lab.options.iterations)
        return Finding(tables, measured, claims, figures, protocol, left_out)


def _after(epochs: float) -> str:
    return f"after {epochs:g} epoch{'s' * (epochs != 1)}"


def _kept(run: Made, at: Sequence[float]) -> dict[float, float]:
    """Return those of some epochs whose weights a run kept, in order, with their shares of its budget."""
    found = {e: share for e in sorted(set(at)) for share in run.shares if np.isclose(run.epochs(share), e, 1e-3, 0)}
    if not found:
        there = ", ".join(f"{run.epochs(share):.4g}" for share in run.shares) or "none"
        raise UserError(f"its weights were kept after other epochs ({there}), which vanishing.at may name")
    return found


def _probed(lab: Lab, run: Made, share: float, *, longer: int = 1, **asked: Any) -> dict[str, Curve]:
    """Probe a run, or remember it: equal weights of a run with another budget give the same."""
    if asked or longer > 1:  # and the variant's own D is not asked
        asked = {"latents": run.record.spec.batch, **asked}
    iterations, content = longer * lab.options.iterations, {**run.record.spec.content(), "budget": ""}
    key = {"run": content, "weights": run.fingerprint(share), "iterations": iterations, **asked}

    def compute() -> dict[str, list[Sequence[float]]]:
        found = run.probe(share, iterations, **asked)
        return {loss: [curve.iterations, curve.norms] for loss, curve in found.items()}

    return {loss: Curve(*curve) for loss, curve in lab.once(key, compute, by_options=False).items()}


def _rows(run: Made, epoch: float, factor: str, loss: str, curve: Curve) -> Iterator[dict[str, Any]]:
    spec = run.record.spec
    facts = {key: getattr(spec, key) for key in ("variant", "dataset", "size", "backbone", "batch", "seed", "id")}
    facts |= {"options": " ".join(f"{k}={v}" for k, v in spec.shown_options.items())}
    for iteration, norm in zip(curve.iterations, curve.norms, strict=True):
        yield {**facts, "epoch": epoch, "factor": factor, "loss": loss, "iteration": iteration, "grad_norm": norm}


def _mean(curves: Sequence[Curve]) -> float:
    return float(np.mean([curve.decades for curve in curves]))


def _decades(curves: Sequence[Curve]) -> str:
    found, n = [curve.decades for curve in curves], len(curves)
    half = f" ± {student.ppf(0.975, n - 1) * np.std(found, ddof=1) / n**0.5:.2f}" if n > 1 else ""
    return f"{_mean(curves):+.2f}{half}"


def _norm(curves: Sequence[Curve], after: float) -> str:
    with np.errstate(divide="ignore"):
        return f"{np.exp(np.mean(np.log([curve.after(after) for curve in curves]))):.3g}"


def _norms(curves: Curves, iterations: int) -> Table:
    at = [*(number for number in SHOWN if number < iterations), iterations]
    columns = ["variant", "epochs", "loss of G", *(f"{number:,} updates of D" for number in at), "decades"]
    rows = [[n, f"{e:g}", loss, *(_norm(c, x) for x in at), _decades(c)] for (n, e, loss), c in curves.items()]
    note = "Norm of the gradient of all of G's weights. Of several seeds: geometric means, 95 % Student-t intervals."
    return Table("Gradient of G against a fresh D", columns, rows, note)


def _changes(early: Curves) -> dict[str, float]:
    """Return by how many decades the fall differs from the first one."""
    falls = {label: _mean(found) for (label, _, loss), found in early.items() if loss == SATURATING}
    return {label: fall - next(iter(falls.values())) for label, fall in falls.items()}


def _compared(early: Curves) -> Table:
    (base, epoch, _), rows = next(iter(early)), []
    for label, change in _changes(early).items():
        fall, rise = (early[label, epoch, loss] for loss in LOSSES)
        cells = [_norm(fall, 0), _norm(fall, np.inf), _decades(fall), f"{change:+.2f}", _decades(rise)]
        with np.errstate(divide="ignore"):
            top = np.mean([np.log10(curve.norms[-1] / max(curve.norms)) for curve in fall])
        rows.append([label, *cells, f"{top:+.2f}"])
    columns = [
        "what is otherwise",
        "log(1-D) before",
        "after",
        "decades",
        "change",
        "decades of -log D",
        "from the top",
    ]
    note = f"{_after(epoch).capitalize()}. Each row differs in one thing from the first, which is {base} as above. "
    note += "From the top: decades of log(1-D) from its highest look to the last."
    return Table("What the fall depends on", columns, rows, note)


def _scatter(curve: Curve, half: int) -> float:
    """Return how far norms lie from the middle of their neighbours, in the first or second half of the looks."""
    norms = np.array_split(np.array(curve.norms), 2)[half]
    between = norms[1:-1] - (norms[2:] + norms[:-2]) / 2
    return float(np.sqrt(np.mean(between**2) / 1.5)) if len(between) else np.nan


def _claims(plain: Curves, early: Curves, iterations: int) -> list[Claim]:
    falls, rises = ({f"{k[0]}, {_after(k[1])}": _mean(c) for k, c in plain.items() if k[2] == loss} for loss in LOSSES)
    rising = [curve for key, found in plain.items() for curve in found if key[2] == NONSATURATING]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.divide([_scatter(curve, 1) for curve in rising], [_scatter(curve, 0) for curve in rising])
    best, known = min(falls.values()), iterations >= USUAL
    changes = sorted(list(_changes(early).items())[1:], key=lambda each: -abs(each[1]))
    why = "Why was not measured: --set vanishing.factors=true does."
    if changes:
        told = ", ".join(f"{label} {change:+.2f}" for label, change in changes)
        why = f"By so many decades the fall {_after(next(iter(early))[1])} changes with: {told}."

    def claim(said: str, found: str, *, holds: bool, known: bool = True, reason: str = "") -> Claim:
        return Claim(said, found, True if holds else False if known else None, "" if holds or not known else reason)

    return [
        claim(
            f"Under log(1-D) the norm decays after 1, 10 and 25 epochs alike ({PAPER}, figure 2, as quoted by "
            "Weng 2017, From GAN to WGAN).",
            _ends(falls),
            holds=all(fall < 0 for fall in falls.values()),
            known=known and bool(np.isfinite([*falls.values()]).all()),
            reason=f"It does not fall after each number of epochs. {why}",
        ),
        claim(
            f"In the best case it decays by 5 orders of magnitude after 4,000 updates of D ({PAPER}, figure 2).",
            f"{best:+.2f} decades at best after {iterations:,} updates.",
            holds=best <= -4.5,
            known=known and bool(np.isfinite(best)),
            reason=f"This is {5 + best:.1f} decades less. {why}",
        ),
        claim(
            f"Under -log D the norm grows ({PAPER}, figure 3, from memory, unchecked).",
            _ends(rises),
            holds=all(rise > 0 for rise in rises.values()),
            known=known and bool(np.isfinite([*rises.values()]).all()),
            reason=why,
        ),
        claim(
            f"Under -log D its variance grows as well ({PAPER}, figure 3, from memory, unchecked).",
            f"the scatter of neighbouring looks is {ratios.min():.3g} to {ratios.max():.3g} times as large in the "
            "second half of them as in the first.",
            holds=bool((ratios > 1).all()),
            known=known and bool(np.isfinite(ratios).all()),
            reason=why,
        ),
    ]


def _ends(decades: Mapping[str, float]) -> str:
    """Name the least and the greatest change."""
    ordered = sorted(decades, key=lambda name: decades[name])
    ends = dict.fromkeys([ordered[0], ordered[-1]])
    return " to ".join(f"{decades[name]:+.2f} decades ({name})" for name in ends)


def _drawn(curves: Curves, *, by: int) -> Figure:
    """Draw a panel a loss and a row a variant. `by`: what has a colour, epochs (1), or labels (0) in one row."""
    rows = list(dict.fromkeys(key[1 - by] for key in curves))
    losses, hues = (list(dict.fromkeys(key[k] for key in curves)) for k in (2, by))
    figure = Figure(figsize=(8, 1 + 2.7 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), len(losses), squeeze=False, sharex=True, sharey="row")
    lines: dict[str, Any] = {}
    for key, found in curves.items():
        axes, hue = panels[rows.index(key[1 - by])][losses.index(key[2])], hues.index(key[by])
        for curve in found:
            x, stroke = np.add(curve.iterations, 1), STROKES[hue // 7 % 3]
            (line,) = axes.plot(x, curve.norms, stroke, color=COLOURS[hue % 7], linewidth=1)
            lines[_after(key[1]) if by else key[0]] = line
        axes.set(xscale="log", yscale="log", xlabel="updates of the fresh D, plus 1")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{key[0]}\n{key[2]}" if by and len(rows) > 1 else f"loss of G: {key[2]}", fontsize=8)
        axes.grid(visible=True, color="#E8E8E8", linewidth=0.5)
    for row in panels:
        row[0].set_ylabel("norm of G's gradient")
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


@hookimpl
def ganbench_experiments() -> list[Experiment]:
    return [Vanishing()]
