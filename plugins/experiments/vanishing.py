"""How the gradient of a fixed generator vanishes, or grows, while a fresh discriminator learns to tell its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import ganbench as gb
from ganbench import Curve, Curves, after_epochs, all_are, ends_of, mean_decades, with_interval

USUAL, MOST_EPOCHS = 4000, 1_000_000
SATURATING, NONSATURATING = LOSSES = ("log(1-D)", "-log D")
SHOWN = (0, 10, 100, 1000, 10_000)
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
PAPER = "Arjovsky & Bottou 2017"
DECAYS = f"Under log(1-D) the norm decays after 1, 10 and 25 epochs alike ({PAPER}, figure 2, as Weng 2017 quotes it)."
AT_BEST = f"In the best case it decays by 5 orders of magnitude after 4,000 updates of D ({PAPER}, figure 2)."
GROWS = f"Under -log D the norm grows ({PAPER}, figure 3, from memory, unchecked)."
VARIES = f"Under -log D its variance grows as well ({PAPER}, figure 3, from memory, unchecked)."
VARIED = "the scatter of neighbouring looks is {:.3g} to {:.3g} times as large in the second half of them."
D = "the backbone's, anew each time, in training mode, Adam 2e-4 (0.5, 0.999); under own the variant's own D and step"
PROTOCOL = {"D": D, "G": "fixed, in training mode", "loss": "through logits, of one fixed batch of latents"}
NORMS = "Norm of the gradient of all of G's weights. Of several seeds: geometric means, 95 % Student-t intervals."
COMPARED = ("what is otherwise", "log(1-D) before", "after", "decades", "change", "decades of -log D", "from the top")


@dataclass(frozen=True)
class Config:
    """Options.

    at: epochs of training after which to look (figure 2).
    iterations: updates of each fresh D (figure 2).
    factors: whether to measure as well what the fall after the fewest epochs depends on (ours).
    sweep: options of the runs to compare after the fewest epochs, as in dcgan.width=32,64 (ours).
    """

    at: tuple[float, ...] = (1.0, 10.0, 25.0)
    iterations: gb.Count = USUAL
    factors: bool = False
    sweep: str = ""

    def __post_init__(self) -> None:
        if not self.at or not all(0 < epoch <= MOST_EPOCHS for epoch in self.at):
            found = ",".join(f"{epoch:g}" for epoch in self.at[:5])
            raise ValueError(f"at={found}: name epochs above 0 and at most {MOST_EPOCHS:,}, as in 1,10,25")


class Vanishing(gb.Experiment):
    name = "vanishing"
    summary = "how G's gradient vanishes or grows while a fresh D is trained against it"
    paper = f"{PAPER}, arXiv:1701.04862, figures 2 and 3"
    config: Config = Config()
    variants = ("dcgan",)
    makes_runs = True

    def runs(self, options: Any, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        if "budget" in asked:
            raise gb.UserError("--budget: vanishing trains for the epochs that vanishing.at names; leave it out")
        at, swept = sorted(options.at), options.sweep.partition("=")[0].strip()
        shared = {"dataset": "mnist", "seeds": 1, "metrics": ("grad-norm-g",), "marks": 1, **asked}
        whole = {**shared, "budget": f"{at[-1]!r}-epochs", "keep": [epoch / at[-1] for epoch in at]}
        others = [text for text in shared.get("set", ()) if text.partition("=")[0].strip() != swept]
        more = {**shared, "budget": f"{at[0]!r}-epochs", "keep": [1.0], "set": others, "sweep": [options.sweep]}
        return [whole, more] if swept else [whole]

    def find(self, lab: gb.Lab) -> gb.Finding:
        factors, iterations = FACTORS if lab.options.factors else {}, lab.options.iterations
        probed = gb.probe_runs(lab, lab.options.at, iterations, factors, option="vanishing.at")
        plain = {key: found for key, found in probed.curves.items() if key[0] not in FACTORS}
        epoch = next(iter(plain))[1]
        early = {key: found for key, found in probed.curves.items() if key[1] == epoch and key[2] in LOSSES}
        tables = [_norms(plain, iterations)]
        figures = {"gradients": (gb.draw_probed(plain, by=1), "The norm of G's gradient while a fresh D is trained.")}
        if len({label for label, _, _ in early}) > 1:
            tables.append(_compared(early))
            figures["factors"] = gb.draw_probed(early, by=0), f"What the norm depends on, {after_epochs(epoch)}."
        spec, images = lab.runs[0].record.spec, len(lab.runs[0].data.train.images)
        protocol = {**PROTOCOL, "batch": spec.batch, "images an epoch": images, "data": spec.data[:12]}
        protocol |= {"seeds": sorted({run.record.spec.seed for run in lab.runs})}
        claims = _claims(plain, early, iterations)
        return gb.Finding(tables, probed.rows, claims, figures, protocol, probed.left_out)


def _told(curves: Sequence[Curve], at: Sequence[float]) -> list[str]:
    return [*(f"{gb.mean_norm(curves, after):.3g}" for after in at), with_interval([c.decades for c in curves], "+.2f")]


def _norms(curves: Curves, iterations: int) -> gb.Table:
    at = [*(number for number in SHOWN if number < iterations), iterations]
    columns = ["variant", "epochs", "loss of G", *(f"{number:,} updates of D" for number in at), "decades"]
    rows = [[name, f"{epoch:g}", loss, *_told(found, at)] for (name, epoch, loss), found in curves.items()]
    return gb.Table("Gradient of G against a fresh D", columns, rows, NORMS)


def _changes(early: Curves) -> dict[str, float]:
    """Return by how many decades the fall differs from the first one."""
    falls = {label: mean_decades(found) for (label, _, loss), found in early.items() if loss == SATURATING}
    return {label: fall - next(iter(falls.values())) for label, fall in falls.items()}


def _compared(early: Curves) -> gb.Table:
    (base, epoch, _), rows = next(iter(early)), []
    for label, change in _changes(early).items():
        fall, rise = (early[label, epoch, loss] for loss in LOSSES)
        top = np.mean([gb.from_top(curve) for curve in fall])
        rows.append([label, *_told(fall, (0, np.inf)), f"{change:+.2f}", *_told(rise, ()), f"{top:+.2f}"])
    note = f"{after_epochs(epoch).capitalize()}; each differs in one thing from {base}. Top: the highest look."
    return gb.Table("What the fall depends on", COMPARED, rows, note)


def _means(curves: Curves, loss: str) -> dict[str, float]:
    return {f"{k[0]}, {after_epochs(k[1])}": mean_decades(found) for k, found in curves.items() if k[2] == loss}


def _claims(plain: Curves, early: Curves, iterations: int) -> list[gb.Claim]:
    falls, rises = (_means(plain, loss) for loss in LOSSES)
    ratios = [gb.scatter_grows(curve) for key, found in plain.items() for curve in found if key[2] == NONSATURATING]
    why = "Why was not measured: --set vanishing.factors=true does."
    if changes := sorted(list(_changes(early).items())[1:], key=lambda each: -abs(each[1])):
        told = ", ".join(f"{label} {change:+.2f}" for label, change in changes)
        why = f"By so many decades the fall {after_epochs(next(iter(early))[1])} changes with: {told}."
    known, best = iterations >= USUAL, min(falls.values())
    all_known = known and bool(np.isfinite([*falls.values()]).all())
    fall, rise = ends_of(falls, "decades"), ends_of(rises, "decades")
    at_best = f"{best:+.2f} decades at best after {iterations:,} updates."
    not_so, less = f"It does not fall after each number of epochs. {why}", f"This is {5 + best:.1f} decades less. {why}"
    varied = VARIED.format(np.min(ratios), np.max(ratios))
    return [
        all_are(DECAYS, fall, [*falls.values()], lambda decades: decades < 0, known=known, reason=not_so),
        all_are(AT_BEST, at_best, [best], lambda decades: decades <= -4.5, known=all_known, reason=less),
        all_are(GROWS, rise, [*rises.values()], lambda decades: decades > 0, known=known, reason=why),
        all_are(VARIES, varied, ratios, lambda ratio: ratio > 1, known=known, reason=why),
    ]


@gb.hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [Vanishing()]
