"""Where generated points lie over training, and how many of the modes they reach: the film of ring and grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ganbench import (
    Claim,
    Count,
    Experiment,
    Finding,
    Lab,
    Made,
    Table,
    UserError,
    derive,
    hookimpl,
    mean_with_interval,
    seeded,
)

CHUNK = 256  # an evaluation draws so many at a time: a frame shows the first samples of what was counted
WIDEST = 8
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
METRICS = ("modes", "high-quality")
UNROLLED = ("unrolled.generator_lr=1e-3", "unrolled.discriminator_lr=1e-4", "unrolled.betas=0.5,0.999")
DEPTHS = "unrolled.steps=0,5"
Row = tuple[str, str]
COMPARED = (
    (
        "ring",
        "unrolled 5",
        "unrolled 0",
        "Metz et al. 2017, figure 2 (from memory, unchecked): more modes by unrolling.",
    ),
    ("grid", "unrolled 5", "unrolled 0", "The same of the grid, of which they say nothing: more modes by unrolling."),
    (
        "ring",
        "pacgan 2",
        "gan",
        "Lin et al. 2018, table 1: 7.9 ± 0.1 modes with packs of two, 6.3 ± 0.5 without, of 8.",
    ),
    (
        "grid",
        "pacgan 2",
        "gan",
        "Lin et al. 2018, table 1: 23.8 ± 0.7 modes with packs of two, 17.3 ± 0.8 without, of 25.",
    ),
)
"""Data set, the row that is to end with more modes, the other, and who says so."""


@dataclass(frozen=True)
class Config:
    """Options.

    frames: looks at each run, evenly spread over its budget; `--marks` says the same. Films show eight at most.
    points: samples drawn in each frame.
    """

    frames: Count = 5
    points: Count = 1000


class ModeCollapse(Experiment):
    """Lost modes as pictures and as numbers.

    Unrolled GAN has the rates of its authors' notebook ("Unrolled GAN demo" of poolio/unrolled_gan), with its five
    imagined steps and with none, so that unrolling alone is the difference; others have their defaults. The networks
    are as wide and as deep as there (128 units, two layers), with ReLU for tanh.
    """

    name = "mode-collapse"
    summary = "points made over training on ring and grid, and how many modes they reach"
    paper = "Metz et al. 2017, arXiv:1611.02163; Lin et al. 2018, arXiv:1712.04086"
    config: Config = Config()
    variants = ("gan", "unrolled", "pacgan", "wgan-gp", "r3gan")
    makes_runs = True

    def runs(self, options: Config, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        names, settings = list(asked.get("variants") or self.variants), list(asked.get("set", ()))
        frames = asked.get("marks", options.frames)
        request = {
            "dataset": ["ring", "grid"],
            "backbone": "mlp",
            "budget": "2500-updates",
            "batch": 128,
            "seeds": 3,
            **asked,
            "marks": frames,
            "metrics": list(dict.fromkeys([*METRICS, *asked.get("metrics", ())])),
            "samples": 2500,
            "score": "raw",
            "keep": [k / frames for k in range(1, frames)] or None,
        }
        parts = [([name for name in names if name != "unrolled"], [], []), (["unrolled"], UNROLLED, [DEPTHS])]
        if "backbone" not in asked:
            parts = [(part, [*own, "mlp.width=128", "mlp.depth=2"], sweep) for part, own, sweep in parts]
        found = []
        for part, own, sweep in parts:
            if not set(part) & set(names):
                continue
            told = [text for text in settings if _owner(text) in part or _owner(text) not in names]
            mine = {_key(text) for text in told}
            own, sweep = ([text for text in each if _key(text) not in mine] for each in (own, sweep))
            found.append({**request, "variants": part, "set": [*own, *told], "sweep": sweep})
        return found

    def find(self, lab: Lab) -> Finding:
        left_out, figures = dict(lab.failed), dict[str, tuple[Figure, str]]()
        measured, tables, notes = list[dict[str, Any]](), list[Table](), list[str]()
        for dataset in dict.fromkeys(made.record.spec.dataset for made in lab.runs):
            rows = {name: runs for name, runs in lab.rows.items() if runs[0].record.spec.dataset == dataset}
            data = next(iter(rows.values()))[0].data
            if data.modes is None or data.train.images.ndim != 2:
                left_out[dataset] = "it has no points in the plane whose modes are known, as ring and grid have"
                continue
            lab.tell(f"the film of {dataset}")
            notes += [f"{label} on {dataset}: {name}" for label, name in zip(_short(rows), rows, strict=True)]
            rows = _short(rows)
            counted = [each for label, runs in rows.items() for made in runs for each in _measured(made, label)]
            tables.append(_table(dataset, rows, counted))
            figures |= {f"film-{dataset}": _film(rows, counted, lab.options.points)}
            figures |= {f"modes-{dataset}": _curves(rows, counted)}
            measured += counted
        if not measured:
            raise UserError(f"{self.name} counts modes of points: {'; '.join(left_out.values())}")
        protocol = {
            "weights": "raw, never averaged, in frames and in counts",
            "intervals": "95 % Student t over seeds",
            "frame": f"the first {lab.options.points} samples of the evaluation",
            "counted": "by the metrics modes and high-quality of each mark; where most lie, of 2500 samples",
        }
        if lab.failed:
            notes.append(f"Runs that have no end and no part: {len(lab.failed)}; means are over the others")
        return Finding(tables, measured, _claims(measured), figures, protocol, left_out, notes)


def _key(text: str) -> str:
    return text.partition("=")[0].strip()


def _owner(text: str) -> str:
    return _key(text).rpartition(".")[0]


def _short(rows: Mapping[str, Sequence[Made]]) -> dict[str, Sequence[Made]]:
    """Name rows by their variant and by what not all rows of that variant have in their names."""
    found = {}
    for name, runs in rows.items():
        variant, *facts = name.split()
        like = [set(other.split()) for other in rows if other.split()[0] == variant]
        found[" ".join([variant, *(fact for fact in facts if not all(fact in other for other in like))])] = runs
    return found


def _measured(made: Made, label: str) -> list[dict[str, Any]]:
    """Return a row for each share of the budget: what the marks counted, and the mode next to most samples."""
    record, known = made.record, made.data.modes
    assert known is not None
    marks = {round(mark.share, 6): mark.raw or mark.values for mark in record.curve}
    rows = []
    for share in [0.0, *made.shares]:
        found = {name: value for name in METRICS if (value := marks.get(round(share, 6), {}).get(name))}
        near = torch.bincount(known.assign(_points(made, share, record.spec.seed, 2500))[0], minlength=known.count)
        row: dict[str, Any] = {"dataset": record.spec.dataset, "variant": label, "seed": record.spec.seed}
        row |= {
            "method": _method(record.spec),
            "share": share,
            "modes_there": known.count,
            "main_mode": int(near.argmax()),
        }
        row["main_share"] = float(near.max() / near.sum())
        for name in METRICS:
            row |= {name: found[name].value if name in found else None}
            row |= {f"{name}_of_real": found[name].reference if name in found else None}
        rows.append(row)
    return rows


def _method(spec: Any) -> str:
    """Name what a paper speaks of: the variant, with its number of imagined steps or of samples in a pack."""
    of = {"unrolled": "steps", "pacgan": "packing"}.get(spec.variant)
    return f"{spec.variant} {spec.config['variant'][of]}" if of else str(spec.variant)


def _points(made: Made, share: float, seed: int, n: int) -> Tensor:
    """Draw the first samples of the run's evaluation at a share of its budget, on the host."""
    variant = made.at(share) if share else made.fresh().eval()
    with torch.no_grad(), seeded(chosen := derive(seed, "evaluate")):
        torch.manual_seed(chosen)  # that of the device too
        return torch.cat([variant.sample(min(CHUNK, n - start)) for start in range(0, n, CHUNK)]).cpu()


def _text(values: Sequence[float | None]) -> str:
    known = [each for each in values if each is not None]
    mean, half = mean_with_interval(known) if known else (math.nan, None)
    return (f"{mean:.3g}" if known else "–") + ("" if half is None else f" ± {half:.2g}")


def _some(shares: Sequence[float]) -> list[float]:
    """Return at most as many shares as a picture has room for, first and last among them."""
    order = sorted(set(shares))
    return [order[round(k)] for k in np.linspace(0, len(order) - 1, min(len(order), WIDEST))]


def _at(counted: Sequence[Mapping[str, Any]], label: str, share: float, key: str) -> list[Any]:
    return [each[key] for each in counted if each["variant"] == label and each["share"] == share]


def _table(dataset: str, here: Mapping[str, Sequence[Made]], counted: Sequence[Mapping[str, Any]]) -> Table:
    shares = _some([each["share"] for each in counted if each["share"]])
    rows = []
    for label, runs in here.items():
        cells = [_text(_at(counted, label, share, "modes")) for share in shares]
        rows.append([label, str(len(runs)), *cells, _text(_at(counted, label, shares[-1], "high-quality"))])
    columns = ["variant", "runs", *(f"{share:.0%}".replace("%", " %") for share in shares), "high-quality at the end"]
    there = counted[0]["modes_there"]
    note = "Means over seeds ± half-widths of 95 % Student-t intervals; without one there is one run."
    return Table(f"Modes of {dataset}, of {there}, at shares of the budget", columns, rows, note)


def _film(here: Mapping[str, Sequence[Made]], counted: Sequence[Mapping[str, Any]], points: int) -> tuple[Figure, str]:
    """Draw the first run of each variant: a row each, the real points in grey beneath."""
    shares = _some([each["share"] for each in counted])
    figure = Figure(figsize=(8, 0.6 + 8.2 / (len(shares) + 1) * len(here)), layout="constrained")
    places = figure.subplots(len(here), len(shares), squeeze=False, sharex=True, sharey=True)
    for row, (label, runs) in zip(places, here.items(), strict=True):
        made = runs[0]
        real = made.data.test.images[:1000].double().numpy()
        middle, reach = real.mean(0), 1.4 * float(abs(real - real.mean(0)).max())
        row[0].set_ylabel("\n".join(label.split()), fontsize=8)
        for axes, share in zip(row, shares, strict=True):
            axes.scatter(*real.T, s=5, color="#C4C4C4", linewidths=0)
            axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
            axes.set_box_aspect(1)
            axes.tick_params(labelsize=6)
            if share and share not in made.shares:
                axes.set_title("not kept", fontsize=7)
                continue
            fakes = _points(made, share, made.record.spec.seed, points).double().numpy()
            axes.scatter(*fakes.T, s=1.5, color=COLOURS[0], linewidths=0)
            (modes,) = _at(counted, label, share, "modes")[:1]
            outside = float((abs(fakes - middle) > reach).any(1).mean())
            said = [] if modes is None else [f"{modes:.0f} mode" + "s" * (modes != 1)]
            said += [f"{outside:.0%} outside"] if outside else []
            axes.set_title(", ".join(said), fontsize=7, pad=2)
    for axes, share in zip(places[-1], shares, strict=True):
        axes.set_xlabel(f"{share:.0%}", fontsize=8)
    figure.supxlabel("share of the budget (each frame: x₁ across, x₂ up)", fontsize=9)
    first = next(iter(here.values()))[0].record.spec.seed
    return figure, (
        f"Samples (blue) over real points (grey), seed {first} where a variant has it. Above each frame: modes with a "
        "sample of high quality, and the share of samples beyond its edges."
    )


def _curves(here: Mapping[str, Sequence[Made]], counted: Sequence[Mapping[str, Any]]) -> tuple[Figure, str]:
    figure = Figure(figsize=(8, 3.6 + 0.2 * (len(here) // 3)), layout="constrained")
    for axes, key, title in zip(figure.subplots(1, 2), METRICS, ("modes found", "share of high quality"), strict=True):
        for number, label in enumerate(here):
            known = {each["share"]: label for each in counted if each["variant"] == label and each[key] is not None}
            line = [(share, *mean_with_interval(_at(counted, label, share, key))) for share in known]
            if not line:
                continue
            x, mean, half = zip(*line, strict=True)
            low, high = ([m + sign * (h or 0) for m, h in zip(mean, half, strict=True)] for sign in (-1, 1))
            colour, stroke = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
            axes.plot(x, mean, stroke, color=colour, marker="o", markersize=3, label=label if key == "modes" else "")
            axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
        if real := [each[f"{key}_of_real"] for each in counted if each[f"{key}_of_real"] is not None]:
            axes.axhline(real[0], color="#555555", linestyle=(0, (3, 2)), linewidth=0.8)
            axes.set_ylim(0, 1.08 * real[0])
        axes.set(xlabel="share of the budget", ylabel=title, xlim=(0, 1.02))
        axes.grid(color="#E8E8E8", linewidth=0.5)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure, "Means over seeds with 95 % intervals; dashed: what as many real points score in expectation."


def _claims(measured: Sequence[Mapping[str, Any]]) -> list[Claim]:
    modes: dict[Row, dict[int, float]] = {}
    for each in measured:  # shares rise: the last one stays
        if each["modes"] is not None:
            modes.setdefault((each["dataset"], each["method"]), {})[each["seed"]] = each["modes"]
    for row in list(modes):  # a paper's row must be one of ours
        if len({each["variant"] for each in measured if (each["dataset"], each["method"]) == row}) > 1:
            del modes[row]
    found, none, five = [], ("ring", "unrolled 0"), ("ring", "unrolled 5")
    if none in modes and five in modes:
        rows = [each for each in measured if (each["dataset"], each["method"]) == none and each["modes"] is not None]
        most, there = max(each["modes"] for each in rows), rows[0]["modes_there"]
        pairs = [(a, b) for a, b in pairwise(rows) if a["seed"] == b["seed"]]
        moved = sum(a["main_mode"] != b["main_mode"] for a, b in pairs)
        found.append(
            Claim(
                "Metz et al. 2017, figure 2 (from memory, unchecked): without unrolling G sits on few modes of "
                "the ring, and moves from one to another.",
                f"at most {most:g} of {there} modes at any mark; the mode next to most samples was another "
                f"{moved} of {len(pairs)} times from one mark to the next.",
                most <= there / 2 and moved > 0 if pairs else None,
                "" if most <= there / 2 and moved else "Few is taken as at most half.",
            )
        )
        covered = sum(value == there for value in modes[five].values())
        found.append(
            Claim(
                "The same figure (from memory, unchecked): with unrolling G covers the ring.",
                f"all {there} modes at the end of {covered} of {len(modes[five])} runs, in the mean "
                f"{_text([*modes[five].values()])}.",
                covered == len(modes[five]),
                "" if covered == len(modes[five]) else "Whether a longer budget would do was not measured.",
            )
        )
    for dataset, above, below, said in COMPARED:
        if {(dataset, above), (dataset, below)} <= modes.keys():
            there = next(each["modes_there"] for each in measured if each["dataset"] == dataset)
            found.append(_compared(said, modes[dataset, above], modes[dataset, below], there))
    return found


def _compared(said: str, above: Mapping[int, float], below: Mapping[int, float], there: int) -> Claim:
    """Judge whether one row ends with more modes than another, by the interval of the differences seed by seed."""
    gaps = [above[seed] - below[seed] for seed in above.keys() & below.keys()]
    if not gaps:
        return Claim(said, "no seed has both.", None)
    mean, half = mean_with_interval(gaps)
    found = f"{_text([*above.values()])} against {_text([*below.values()])}; difference by seed {_text(gaps)}."
    if half is None:
        return Claim(said, found, None, "One seed has no interval.")
    holds = True if mean > half else False if mean < 0 else None
    reason = "The interval of the difference reaches zero or lies below."
    if min(below.values()) == there:
        reason = f"There is no room: the second finds all {there} in every run."
    return Claim(said, found, holds, "" if holds else reason)


@hookimpl
def ganbench_experiments() -> list[Experiment]:
    return [ModeCollapse()]
