"""Generators of runs that were kept on their way, and how their gradient changes while a fresh D is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ganbench.contract.experiments import Lab, Made
from ganbench.contract.types import Curve
from ganbench.errors import UserError
from ganbench.toolbox.drawn import describe_axes, legend_below, panels, strokes

if TYPE_CHECKING:  # it takes a second to import
    from matplotlib.figure import Figure

Curves: TypeAlias = "dict[tuple[str, float, str], list[Curve]]"
"""By what was probed (runs by their name, or what was otherwise with the first), epochs and loss of G; one a seed."""


@dataclass
class Probed:
    """What was found of runs. `rows`: every norm, a mapping a look; `left_out`: by run and seed, why it has no part."""

    curves: Curves = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def probe_runs(
    lab: Lab,
    epochs: Sequence[float],
    iterations: int,
    factors: Mapping[str, Mapping[str, Any]],
    *,
    option: str,
) -> Probed:
    """Train `iterations` updates of a fresh D against each run's G as it was after so many epochs.

    Raises `UserError` where no run can be probed. `factors`: by a label, what is done otherwise with the first run (all
    its seeds) after the fewest epochs, as `Made.probe` is asked for it, and `longer`, times as many updates; `option`:
    which names the epochs, for messages.
    """
    probed, first = Probed(left_out=dict(lab.failed)), ""
    for run in lab.runs:
        spec = run.record.spec
        name = " ".join([spec.variant, *(f"{k}={v}" for k, v in spec.shown_options.items()), spec.dataset])
        try:
            looks = list(kept_after(run, epochs, option=option).items())
        except UserError as error:
            probed.left_out[f"{name} seed {spec.seed}"] = str(error)
            continue
        first = first or name
        more = [(label, *looks[0]) for label in factors] if name == first else []
        for label, epoch, share in [*((name, *look) for look in looks), *more]:
            factor = label if label in factors else ""
            lab.tell(f"{name}, {after_epochs(epoch)}: {factor or 'a fresh D'}")
            try:
                for loss, curve in probe_once(lab, run, share, iterations, **factors.get(label, {})).items():
                    probed.curves.setdefault((label, epoch, loss), []).append(curve)
                    probed.rows += _rows(run, epoch, factor, loss, curve)
            except UserError as error:
                probed.left_out[f"{name} seed {spec.seed}" + (f": {factor}" if factor else "")] = str(error)
    if not probed.curves:
        raise UserError("; ".join(f"{name}: {reason}" for name, reason in probed.left_out.items()))
    return probed


def kept_after(run: Made, epochs: Sequence[float], *, option: str) -> dict[float, float]:
    """Return those of some epochs whose weights a run kept, in order, with their shares of its budget.

    Raises `UserError` where there are none, which names the `option` that asks for them.
    """
    rounding = 0.51 / len(run.data.train.images)  # a budget is of whole images
    shares = [(share, run.epochs(share)) for share in run.shares]
    found = {e: share for e in sorted(set(epochs)) for share, of in shares if np.isclose(of, e, 1e-3, rounding)}
    if not found:
        there = ", ".join(f"{run.epochs(share):.4g}" for share in run.shares) or "none"
        raise UserError(f"its weights were kept after other epochs ({there}), which {option} may name")
    return found


def probe_once(
    lab: Lab, run: Made, share: float, iterations: int, *, longer: int = 1, **asked: Any
) -> dict[str, Curve]:
    """Probe a run, or remember it: equal weights of a run with another budget give the same. Raises as `Made.probe`."""
    if asked or longer > 1:  # and the variant's own D is not asked
        asked = {"latents": run.record.spec.batch, **asked}
    iterations, content = longer * iterations, {**run.record.spec.content(), "budget": ""}
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


def after_epochs(epochs: float) -> str:
    """Say after how many epochs."""
    return f"after {epochs:g} epoch{'s' * (epochs != 1)}"


def mean_decades(curves: Sequence[Curve]) -> float:
    """Return by how many powers of ten the norm changed, the mean over curves."""
    return float(np.mean([curve.decades for curve in curves]))


def mean_norm(curves: Sequence[Curve], after: float) -> float:
    """Return the geometric mean of norms after so many updates of D, 0 where one is 0."""
    with np.errstate(divide="ignore"):
        return float(np.exp(np.mean(np.log([curve.after(after) for curve in curves]))))


def from_top(curve: Curve) -> float:
    """Return by how many powers of ten the norm changed from its highest look to the last; -inf where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.log10(np.divide(curve.norms[-1], max(curve.norms))))


def scatter(curve: Curve, half: int) -> float:
    """Return how far norms lie from the middle of their neighbours, in the first (0) or second (1) half of the looks.

    The standard deviation of noise that is independent from look to look; NaN where there are fewer than three.
    """
    norms = np.array_split(np.array(curve.norms), 2)[half]
    between = norms[1:-1] - (norms[2:] + norms[:-2]) / 2
    return float(np.sqrt(np.mean(between**2) / 1.5)) if len(between) else float("nan")


def scatter_grows(curve: Curve) -> float:
    """Return how many times as large the scatter of norms is in the second half of the looks as in the first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(scatter(curve, 1), scatter(curve, 0)))


def draw_probed(curves: Curves, *, by: int) -> Figure:
    """Draw norms over updates of D, a panel a loss and a line of panels a label.

    `by`: what has a colour, epochs (1), or labels (0), which then have one line of panels an epoch.
    """
    from matplotlib.ticker import NullFormatter

    down = list(dict.fromkeys(key[1 - by] for key in curves))
    losses, hues = (list(dict.fromkeys(key[k] for key in curves)) for k in (2, by))
    figure, places = panels(len(down) * len(losses), len(losses), height=2.7, more=1, sharex=True, sharey="row")
    for key, found in curves.items():
        axes = places[down.index(key[1 - by]) * len(losses) + losses.index(key[2])]
        stroke = strokes(len(hues))[hues.index(key[by])]
        for curve in found:
            label = after_epochs(key[1]) if by else key[0]
            axes.plot(np.add(curve.iterations, 1), curve.norms, label=label, **stroke)
        title = f"{key[0]}\n{key[2]}" if by and len(down) > 1 else f"loss of G: {key[2]}"
        describe_axes(axes, title, "updates of the fresh D, plus 1", "norm of G's gradient")
        axes.set(xscale="log", yscale="log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in places:  # at last: a scale that is set shows labels again
        axes.label_outer()
    legend_below(figure, places, columns=3)
    return figure
