"""Where generated points lie over training, and how many of the modes they reach: the film of ring and grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import ganbench as gb
from ganbench import Claim, Finding, Lab, Table, UserError

Rows = Sequence[Mapping[str, Any]]
METRICS = {"modes": "modes found", "high-quality": "share of high quality"}
UNROLLED = ("unrolled.generator_lr=1e-3", "unrolled.discriminator_lr=1e-4", "unrolled.betas=0.5,0.999")
FORM = (".3g", ".2g")
METZ, LIN = "Metz et al. 2017, figure 2 (from memory, unchecked)", "Lin et al. 2018, table 1"
COMPARED = (
    ("ring", "unrolled 5", "unrolled 0", f"{METZ}: more modes by unrolling."),
    ("grid", "unrolled 5", "unrolled 0", "The same of the grid, of which they say nothing: more modes by unrolling."),
    ("ring", "pacgan 2", "gan", f"{LIN}: 7.9 ± 0.1 modes with packs of two, 6.3 ± 0.5 without, of 8."),
    ("grid", "pacgan 2", "gan", f"{LIN}: 23.8 ± 0.7 modes with packs of two, 17.3 ± 0.8 without, of 25."),
)
"""Data set, the row that is to end with more modes, the other, and who says so."""
PROTOCOL = {
    "weights": "raw, never averaged, in frames and in counts",
    "counted": "by the metrics modes and high-quality of each mark; where most lie, of 2500 samples",
}
CURVES = "Means over seeds with 95 % intervals; dashed: what as many real points score in expectation."
NOTE = "Means over seeds ± half-widths of 95 % Student-t intervals; without one there is one run."


@dataclass(frozen=True)
class Config:
    """Options.

    frames: looks at each run, evenly spread over its budget; `--marks` says the same. Films show eight at most.
    points: samples drawn in each frame.
    """

    frames: gb.Count = 5
    points: gb.Count = 1000


class ModeCollapse(gb.Experiment):
    """Unrolled GAN has the rates of its authors' notebook ("Unrolled GAN demo" of poolio/unrolled_gan), with its five
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
        names, frames = list(asked.get("variants") or self.variants), asked.get("marks", options.frames)
        settings = [] if "backbone" in asked else ["mlp.width=128", "mlp.depth=2"]
        settings += UNROLLED if "unrolled" in names else ()
        is_deep = any(text.strip().startswith("unrolled.steps=") for text in asked.get("set", ()))
        request = {"dataset": ["ring", "grid"], "backbone": "mlp", "budget": "2500-updates", "batch": 128, "seeds": 3}
        looks = {"marks": frames, "samples": 2500, "score": "raw", "set": settings}
        looks["metrics"] = list(dict.fromkeys([*METRICS, *asked.get("metrics", ())]))
        looks["keep"] = [k / frames for k in range(1, frames)] or None
        looks["sweep"] = ["unrolled.steps=0,5"] if "unrolled" in names and not is_deep else []
        return [{**request, **asked, **looks, "variants": sorted(names, key=lambda name: name == "unrolled")}]

    def find(self, lab: Lab) -> Finding:
        left_out, figures, notes = dict(lab.failed), dict[str, Any](), list[str]()
        measured, tables = list[dict[str, Any]](), list[Table]()
        for dataset in dict.fromkeys(made.record.spec.dataset for made in lab.runs):
            whole = {name: runs for name, runs in lab.rows.items() if runs[0].record.spec.dataset == dataset}
            rows = gb.short_rows(whole)
            lab.tell(f"the film of {dataset}")
            found = gb.measure_runs(rows, lambda made: gb.modes_over(made, tuple(METRICS)), left_out)
            counted = [
                {"dataset": dataset, "variant": label, "seed": spec.seed, "method": method_of(spec), **row}
                for label, runs in found.items()
                for spec, of in ((made.record.spec, of) for made, of in runs)
                for row in of
            ]
            measured += counted
            if not counted:
                continue
            notes += [f"{label} on {dataset}: {name}" for label, name in zip(rows, whole, strict=True)]
            runs = {label: gb.of_all(len(found.get(label, ())), lab.tried(of)) for label, of in rows.items()}
            tables.append(table(dataset, runs, counted))
            first = {label: runs[0][0] for label, runs in found.items()}
            figures[f"film-{dataset}"] = gb.modes_film(first, counted, lab.options.points)
            figures[f"modes-{dataset}"] = gb.draw_measured(counted, "share", "share of the budget", METRICS)[0], CURVES
        if not measured:
            raise UserError(f"{self.name} counts modes of points: {'; '.join(dict.fromkeys(left_out.values()))}")
        protocol = {**PROTOCOL, "frame": f"the first {lab.options.points} samples of the evaluation"}
        return Finding(tables, measured, claims_of(measured), figures, protocol, left_out, notes)


def method_of(spec: Any) -> str:
    """Name what a paper speaks of: the variant, with its number of imagined steps or of samples in a pack."""
    of = {"unrolled": "steps", "pacgan": "packing"}.get(spec.variant)
    return f"{spec.variant} {spec.config['variant'][of]}" if of else str(spec.variant)


def table(dataset: str, runs: Mapping[str, str], counted: Rows) -> Table:
    shares = gb.few(row["share"] for row in counted if row["share"])
    shown = [*((share, "modes") for share in shares), (shares[-1], "high-quality")]
    columns = ["variant", "runs", *(f"{100 * share:.0f} %" for share in shares), "high-quality at the end"]
    rows = [
        [label, of, *(gb.mean_of(counted, key, *FORM, variant=label, share=share) for share, key in shown)]
        for label, of in runs.items()
    ]
    return Table(f"Modes of {dataset}, of {counted[0]['modes_there']}, at shares of the budget", columns, rows, NOTE)


def claims_of(measured: Rows) -> list[Claim]:
    rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in measured:
        if row["modes"] is not None:
            rows.setdefault((row["dataset"], row["method"]), []).append(row)
    known = {key: of for key, of in rows.items() if len({row["variant"] for row in of}) == 1}  # else: which is theirs?
    ends = {key: {row["seed"]: row["modes"] for row in of} for key, of in known.items()}  # shares rise: the last stays
    none, five, found = ("ring", "unrolled 0"), ("ring", "unrolled 5"), list[Claim]()
    if none in known and five in known:
        found = [is_few(known[none]), is_all([*ends[five].values()], known[five][0]["modes_there"])]
    for dataset, one, other, said in COMPARED:
        if (above := ends.get((dataset, one))) and (below := ends.get((dataset, other))):
            found.append(gb.compared(said, above, below, *FORM, most=known[dataset, one][0]["modes_there"]))
    return found


def is_few(rows: Rows) -> Claim:
    most, there = max(row["modes"] for row in rows), rows[0]["modes_there"]
    moved = [one["main_mode"] != other["main_mode"] for one, other in pairwise(rows) if one["seed"] == other["seed"]]
    holds = most <= there / 2 and any(moved)
    said = f"{METZ}: without unrolling G sits on few modes of the ring, and moves from one to another."
    found = f"at most {most:g} of {there} modes at any mark; the mode next to most samples was another {sum(moved)} of "
    found += f"{len(moved)} times from one mark to the next."
    return Claim(said, found, holds if moved else None, "" if holds else "Few is taken as at most half.")


def is_all(ends: Sequence[float], there: int) -> Claim:
    said, why = f"{METZ}: with unrolling G covers the ring.", "Whether a longer budget would do was not measured."
    found = f"all {there} modes at the end of {sum(n == there for n in ends)} of {len(ends)} runs, in the mean "
    return gb.all_are(said, f"{found}{gb.with_interval(ends, *FORM)}.", ends, lambda n: n == there, reason=why)


@gb.hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [ModeCollapse()]
