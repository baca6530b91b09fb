"""Whether a discriminator forgets what it could tell: D of one mark on the samples of G at every other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

import ganbench as gb
from ganbench import Claim, Finding, JudgedMarks, Lab, Made, Table, UserError

Found = Mapping[str, Mapping[int, JudgedMarks]]
LIANG = "Liang et al. 2018, arXiv:1811.11083, abstract"
THANH_TUNG = "Thanh-Tung & Tran 2020, arXiv:1807.04015, abstract"
PENALISED = ("wgan-gp", "r1")
COLUMNS = {
    "own": "own samples",
    "older": "older",
    "newer": "newer",
    "forgetting": "forgetting",
    "worst": "worst pair",
    "own_train": "own, training images",
}
NOTE = (
    "AUC of D on held-out real images against samples of G at D's own mark, at earlier and at later ones; forgetting: "
    "what D had on old samples when they were new, less what it has. Means over seeds ± half-widths of 95 % Student-t "
    "intervals."
)
MATRICES = "AUC of D (rows) on samples of G (columns), means over seeds; left of the diagonal G is older than D."
AGES = "AUC by how much older than D the samples are, means over marks, then over seeds with 95 % intervals."


@dataclass(frozen=True)
class Config:
    """Options.

    marks: looks at each run, evenly spread over its budget; `--marks` says the same.
    samples: of G at each mark, and held-out real images at most.
    statistics: by which D's batch norm works: those it keeps ("running"), or those of a batch of real images or of
        samples alone, of the size of the run's ("batch").
    """

    marks: gb.Count = 8
    samples: gb.Count = 1000
    statistics: Literal["running", "batch"] = "running"


class Forgetting(gb.Experiment):
    """AUC of D at mark i on samples of G at mark j, for all i and j: see `ganbench.JudgedMarks`."""

    name = "forgetting"
    summary = "D of each mark judges the samples of G at every other: what it knew and knows no more"
    paper = "Liang et al. 2018, arXiv:1811.11083; Thanh-Tung & Tran 2020, arXiv:1807.04015"
    config: Config = Config()
    variants = ("gan", "lsgan", "hinge", "wgan-gp", "r1")
    makes_runs = True

    def runs(self, options: Config, asked: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        marks = asked.get("marks", options.marks)
        keep = [k / marks for k in range(1, marks)]
        request = {"variants": self.variants, "dataset": ["digits"], "budget": "100k-images", "seeds": 3}
        return [{**request, "metrics": ["grad-norm-g"], **asked, "marks": 1, "keep": keep or None}]

    def find(self, lab: Lab) -> Finding:
        options, left_out, kept = lab.options, dict(lab.failed), list[list[float]]()

        def judge(made: Made) -> JudgedMarks:
            shares = list(made.shares)
            lab.tell(f"the discriminators of {made.record.spec.variant}, seed {made.record.spec.seed}")
            key = {"run": made.record.spec.id, "shares": shares}
            seen = JudgedMarks(**lab.once(key, partial(gb.judge_marks, made, options.samples, options.statistics)))
            kept.append(shares)
            if shares != kept[0]:
                raise UserError("its weights were kept at other shares of the budget than those of the first run")
            return seen

        rows = gb.short_rows(lab.rows)
        found = gb.measure_runs(rows, judge, left_out)
        measured = [
            {"variant": label, "method": made.record.spec.variant, "seed": made.record.spec.seed, **pair}
            for label, runs in found.items()
            for made, seen in runs
            for pair in seen.pairs()
        ]
        if not measured:
            raise UserError(f"{self.name}: nobody has a part: {'; '.join(dict.fromkeys(left_out.values()))}")
        protocol = gb.protocol_of_marks(options.samples, measured[0]["real"], options.statistics)
        turned = ", ".join(sorted({row["variant"] for row in measured if row["sign"] < 0}))
        notes = [f"D is low for real images, and was turned round: {turned}"] if turned else []
        tried = {label: lab.tried(runs) for label, runs in rows.items()}
        seen = {label: {made.record.spec.seed: marks for made, marks in runs} for label, runs in found.items()}
        figures = {"matrices": (maps(seen), MATRICES), "ages": (ages(measured), AGES)}
        return Finding([table(seen, tried)], measured, claims_of(seen), figures, protocol, left_out, notes)


def table(found: Found, tried: Mapping[str, int]) -> Table:
    lines = []
    for label, runs in found.items():
        summaries = [seen.summary() for seen in runs.values()]
        cells = [gb.with_interval([each[key] for each in summaries], ".3f") for key in COLUMNS]
        lines.append([label, gb.of_all(len(runs), tried[label]), *cells])
    return Table("What D can tell", ["variant", "runs", *COLUMNS.values()], lines, NOTE)


def claims_of(found: Found) -> list[Claim]:
    lost = {label: {seed: seen.summary()["forgetting"] for seed, seen in of.items()} for label, of in found.items()}
    said, what = f"{LIANG}: D loses the ability to remember samples of earlier instances of G.", "forgetting in AUC"
    claims = [gb.above_zero(said, {label: [*of.values()] for label, of in lost.items()}, what, ".3f")]
    said = f"{THANH_TUNG}: gradient penalties prevent forgetting, of which gan has more than"
    both = [name for name in PENALISED if lost.keys() >= {"gan", name}]
    claims += [gb.compared(f"{said} {name}.", lost["gan"], lost[name], ".3f") for name in both]
    return [claim for claim in claims if claim]


def maps(found: Found) -> Figure:
    figure, places = gb.panels(len(found), 3, height=2.6, more=0.5)
    for axes, (label, runs) in zip(places, found.items(), strict=True):
        mean, shares = np.mean([seen.matrix for seen in runs.values()], axis=0), next(iter(runs.values())).shares
        ticks = [f"{share:.0%}" if share in gb.few(shares) else "" for share in shares]
        texts = [[f"{value:.2f}".lstrip("0") for value in row] for row in mean[::-1]] if len(mean) <= 10 else []
        drawn = gb.heat_map(axes, mean[::-1], ticks[::-1], ticks, (0, 1), texts)
        axes.set_box_aspect(1)
        axes.set_title(f"{label}, {len(runs)} run{'s' * (len(runs) > 1)}", fontsize=9, parse_math=False)
    figure.supxlabel("samples of G at this share of the budget", fontsize=9)
    figure.supylabel("judged by D at this share", fontsize=9)
    figure.colorbar(drawn, ax=places, label="AUC (0.5: chance)", shrink=0.8, aspect=30)
    return figure


def ages(measured: Sequence[Mapping[str, Any]]) -> Figure:
    at = {share: k for k, share in enumerate(sorted({row["D_at"] for row in measured}))}
    rows = [{**row, "age": at[row["D_at"]] - at[row["G_at"]]} for row in measured]
    age = "age of the samples, in marks (below 0: newer than D)"
    figure, (axes,) = gb.draw_measured(rows, "age", age, {"auc": "AUC of D (0.5: chance)"}, height=4.0)
    axes.axhline(0.5, color=gb.GREY, linestyle=(0, (3, 2)), linewidth=0.8)
    axes.axvline(0, color=gb.GREY, linewidth=0.5)
    return figure


@gb.hookimpl
def ganbench_experiments() -> list[gb.Experiment]:
    return [Forgetting()]
